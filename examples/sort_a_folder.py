"""Sort a folder of photos by material with the packaged model: the whole of it.

python examples/sort_a_folder.py photos/
"""

import sys
from collections import Counter
from pathlib import Path

import beltsight

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
    sys.exit("expected a folder of photos: python examples/sort_a_folder.py photos/")
photos = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix.lower() in ENDINGS)
model = beltsight.load()
counts: Counter[str] = Counter()
for prediction in model.stream(photos, on_error="record"):
    if prediction.error:
        print(f"{prediction.path}: {prediction.error}")
        continue
    material = prediction.tasks["material"]
    counts[material.label] += 1
    print(f"{prediction.path}: {material.label} ({material.confidence:.0%})")
print(dict(counts))
