"""Sort a folder of photos by material with the packaged model: the whole of it.

python examples/sort_a_folder.py photos/
"""

import sys
from collections import Counter
from pathlib import Path

import beltsight

model = beltsight.load()
photos = sorted(Path(sys.argv[1]).rglob("*.jpg"))
counts: Counter[str] = Counter()
for prediction in model.stream(photos, on_error="record"):
    if prediction.error:
        print(f"{prediction.path}: {prediction.error}")
        continue
    material = prediction.tasks["material"]
    counts[material.label] += 1
    print(f"{prediction.path}: {material.label} ({material.confidence:.0%})")
print(dict(counts))
