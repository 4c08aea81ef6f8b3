"""What the share of the average was chosen by: validation photos under each share.

python studies/default_model/shares.py    # after the step 'finish'; 5 minutes on two cores
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # read when numpy is loaded

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import beltsight
from beltsight.scene.damage import change_photo
from beltsight.train.run import load_network

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.contamination.figures import auc  # noqa: E402
from studies.contamination.photos import load_plan, photos_to_ask  # noqa: E402
from studies.default_model.run import BELTS, FINISHED, averaged_weights  # noqa: E402
from studies.runner import REPOSITORY, arguments, data_folder, write_json  # noqa: E402

SHARES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)
CHANGES: Mapping[str, float] = {"warmth": 130, "noise": 28}
CLEAN = "clean"
_BATCH = 64
Asked = tuple[Sequence[beltsight.Sample], NDArray[np.uint8]]
Logits = dict[str, NDArray[np.float32]]


def asked_photos(out: Path, model: beltsight.Model) -> dict[str, Asked]:
    """Samples and their prepared photos by the name of the set; kinds of dirt as ``dirt KIND``."""
    plain = beltsight.load_dataset(data_folder("trashnet")).select("val").samples
    photos = [np.asarray(Image.open(sample.path).convert("RGB")) for sample in plain]
    found: dict[str, Asked] = {"plain": (plain, _prepared(model, photos))}
    for name, amount in CHANGES.items():
        changed = [change_photo(p, name, amount, seed).photo for seed, p in enumerate(photos)]
        found[name] = plain, _prepared(model, changed)
    learned = beltsight.load_dataset(out / FINISHED).select("val").samples
    belt = [sample for sample in learned if BELTS in sample.path.relative_to(out).parts]
    found["belts"] = belt, _prepared(model, [sample.path for sample in belt])
    for kind, samples in _soiled():
        found[f"dirt {kind}"] = samples, _prepared(model, [sample.path for sample in samples])
    return found


def _soiled() -> Iterator[tuple[str, list[beltsight.Sample]]]:
    """Validation items with dirt of one kind each, as studies/contamination has them."""
    plan = load_plan(HERE.parent / "contamination" / "photos.toml")
    folder = REPOSITORY / "runs" / "contamination" / "photos"
    table = photos_to_ask(data_folder("trashnet"), folder, plan, "all-kinds", "val", ())
    by_kind: dict[str, list[beltsight.Sample]] = defaultdict(list)
    for sample in beltsight.load_dataset(table).samples:
        by_kind[sample.path.relative_to(folder / "ask" / "val").parts[0]].append(sample)
    return ((kind, by_kind[kind]) for kind in plan.kinds)


def _prepared(model: beltsight.Model, photos: Sequence[Any]) -> NDArray[np.uint8]:
    return np.stack([model.prepare(photo) for photo in photos])


@torch.no_grad()
def ask(network: torch.nn.Module, photos: NDArray[np.uint8]) -> Logits:
    """Logits (N, C) per task."""
    parts = [
        network(torch.from_numpy(photos[start : start + _BATCH].copy()))
        for start in range(0, len(photos), _BATCH)
    ]
    return {task: torch.cat([part[task] for part in parts]).numpy() for task in parts[0]}


def share_right(
    samples: Sequence[beltsight.Sample], logits: NDArray[np.float32], classes: Sequence[str]
) -> float:
    """The share of samples whose material is the likeliest one."""
    told = [classes[place] for place in logits.argmax(1)]
    right = [t == s.labels["material"] for t, s in zip(told, samples, strict=True)]
    return float(np.mean(right))


def figures(model: beltsight.Model, asked: Mapping[str, Asked], said: Mapping[str, Logits]) -> Any:
    """Materials right by set, those with dirt as a mean of kinds, and the AUC of dirt."""
    tasks = {task.name: task.classes for task in model.tasks}
    right = {
        name: share_right(asked[name][0], logits["material"], tasks["material"])
        for name, logits in said.items()
    }
    kinds = [name for name in said if name.startswith("dirt ")]
    areas = []
    for name in kinds:
        level = torch.softmax(torch.from_numpy(said[name]["contamination"]), 1).numpy()
        score = 1 - level[:, tasks["contamination"].index(CLEAN)]
        clean = np.array([s.labels["contamination"] == CLEAN for s in asked[name][0]])
        areas.append(auc(list(score[clean]), list(score[~clean]))["value"])
    told = {name: round(share, 4) for name, share in right.items() if name not in kinds}
    return {**told, "dirty": round(mean(right[k] for k in kinds), 4), "auc": round(mean(areas), 4)}


def main() -> None:
    """Print and keep the figures of each share."""
    out = arguments(__doc__ or "").parse_args().out or REPOSITORY / "runs" / "default_model"
    torch.set_num_threads(2)
    network = load_network(out / "finish")
    model = beltsight.load(out / "finish" / "model.onnx")
    asked = asked_photos(out, model)
    result: dict[str, Any] = {"n": {name: len(samples) for name, (samples, _) in asked.items()}}
    for share in SHARES:
        network.load_state_dict(averaged_weights(out, share)[0])
        said = {name: ask(network, photos) for name, (_, photos) in asked.items()}
        result[f"{share}"] = figures(model, asked, said)
        print(share, result[f"{share}"], flush=True)
    write_json(HERE / "results" / "shares.json", result)


if __name__ == "__main__":
    main()
