"""Figures of README.md that no step of run.py gives; nothing is decided by them.

python studies/default_model/compare.py elsewhere        # clean photos of other sets called dirty
python studies/default_model/compare.py versions OLD     # test photos won and lost against a file

OLD is an earlier packaged model: git show COMMIT:src/beltsight/assets/trashnet-mobilenetv2.onnx.
The second looks at the test split, for the comparison in README.md alone, and is written into
the ledger.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import beltsight

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from studies.runner import data_folder, note_look

MOST, SEED = 600, 0


def elsewhere() -> None:
    """How many clean photos are called dirty."""
    model = beltsight.load()
    trashnet = beltsight.load_dataset(data_folder("trashnet")).select("val")
    sets = {"trashnet, val": [sample.path for sample in trashnet.samples]}
    for name in ("resins", "plastic-scanner"):
        photos = sorted(data_folder(name).rglob("*.jpg"))
        random.Random(SEED).shuffle(photos)
        sets[name] = photos[:MOST]
    for name, photos in sets.items():
        answers = [one.tasks["contamination"].label for one in model.predict(photos)]
        dirty = sum(label != "clean" for label in answers)
        print(f"{name}: {dirty} of {len(photos)} called dirty")


def versions(old: Path) -> None:
    """How many test photos one model gets right and the other does not."""
    data = data_folder("trashnet")
    samples = beltsight.load_dataset(data).select("test").samples
    models = beltsight.load(old), beltsight.load()
    paths = [sample.path for sample in samples]
    right = [
        [
            answer.tasks["material"].label == sample.labels["material"]
            for answer, sample in zip(model.predict(paths), samples, strict=True)
        ]
        for model in models
    ]
    lost = sum(before and not after for before, after in zip(*right, strict=True))
    won = sum(after and not before for before, after in zip(*right, strict=True))
    figure = f"{sum(right[0])} and {sum(right[1])} right: {lost} lost, {won} won"
    against = f"material, {figure} against {models[0].hash[:12]} (default_model/compare.py)"
    note_look(models[1].hash, data.name, len(samples), against)
    print(f"{figure}, of {len(samples)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["elsewhere"]:
        elsewhere()
    elif len(sys.argv) == 3 and sys.argv[1] == "versions":
        versions(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
