"""Compare scores of strangeness on photos that the packaged model was not made for.

python studies/novelty/run.py     # 5 minutes on one thread; embeddings are kept in runs/novelty
"""

from __future__ import annotations

import hashlib
import sys
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import beltsight

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.novelty.scores import Table, Training, all_scores  # noqa: E402
from studies.runner import REPOSITORY, arguments, data_folder, write_json  # noqa: E402

FALSE_ALARM = 0.01
UNKNOWN = {
    "Set5": "super-resolution/set5",
    "Set14": "super-resolution/set14",
    "plates": "super-resolution/plates",
    "EuroSAT": "super-resolution/eurosat",
    "resins": "resins/test",
    "organic": "organic-recyclable/test/organic",
}
# Not unknown: the model's own materials, photographed by others. It shows the other side.
FOREIGN = {"recyclables of others": "organic-recyclable/test/recyclable"}
Outputs = tuple[Table, Table]


def embed(model: beltsight.Model, paths: list[Path], file: Path) -> Outputs:
    """Embeddings and material logits of the photos that can be read; kept in a file."""
    identity = asked_of(model, paths)
    if file.exists():
        with np.load(file) as kept:
            if "identity" in kept and str(kept["identity"]) == identity:
                return kept["embedding"].astype(np.float64), kept["material"].astype(np.float64)
    names = ["embedding", "material"]
    found = [
        outputs
        for _, outputs in model.stream_outputs(paths, names, on_error="record")
        if isinstance(outputs, dict)
    ]
    arrays = {name: np.array([outputs[name] for outputs in found]) for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        file,
        embedding=arrays["embedding"],
        material=arrays["material"],
        identity=identity,
    )
    return arrays["embedding"].astype(np.float64), arrays["material"].astype(np.float64)


def asked_of(model: beltsight.Model, paths: list[Path]) -> str:
    """A digest of the model, the photos' bytes and the version that prepares them."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    parts = [beltsight.__version__, model.hash, *digests]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def photos(folder: str) -> list[Path]:
    return sorted(p for p in data_folder(folder).rglob("*") if p.suffix in (".jpg", ".png"))


def labels_of(dataset: beltsight.Dataset, model: beltsight.Model) -> NDArray[np.int64]:
    classes = next(task.classes for task in model.tasks if task.name == "material")
    return np.array([classes.index(s.labels["material"]) for s in dataset.samples], np.int64)


def figures(known: Table, strange: dict[str, Table]) -> dict[str, Any]:
    """AUC per set, and the share above the threshold that 1 % of known photos pass."""
    rank = min(len(known), ceil((len(known) + 1) * (1 - FALSE_ALARM)))
    threshold = np.sort(known)[rank - 1]
    rows: dict[str, Any] = {
        name: {
            "auc": round(
                float(
                    roc_auc_score(
                        np.repeat([0, 1], [len(known), len(scores)]),
                        np.concatenate([known, scores]),
                    )
                ),
                4,
            ),
            "called_novel": round(float((scores > threshold).mean()), 4),
        }
        for name, scores in strange.items()
    }
    rows["mean_auc"] = round(float(np.mean([rows[name]["auc"] for name in UNKNOWN])), 4)
    return rows


def main(cache: Path) -> None:
    model = beltsight.load(threads=1)
    dataset = beltsight.load_dataset(data_folder("trashnet"))
    parts = {split: dataset.select(split) for split in ("train", "val")}  # never test
    tables = {
        split: embed(model, [s.path for s in part.samples], cache / f"{split}.npz")
        for split, part in parts.items()
    }
    others = {
        name: embed(model, photos(folder), cache / f"{name}.npz")
        for name, folder in {**UNKNOWN, **FOREIGN}.items()
    }
    temperature = next(task.temperature for task in model.card.tasks if task.name == "material")
    training = Training(*tables["train"], labels_of(parts["train"], model))
    rows = {}
    for name, score in all_scores(training, temperature).items():
        strange = {other: score(*arrays) for other, arrays in others.items()}
        rows[name] = figures(score(*tables["val"]), strange)
        print(f"{rows[name]['mean_auc']:.3f}  {name}", flush=True)
    counts = {"train": len(training.labels), "val": len(tables["val"][0])}
    write_json(
        HERE / "results" / "auc.json",
        {
            "model_sha256": model.hash,
            "false_alarm": FALSE_ALARM,
            "n": {**counts, **{name: len(arrays[0]) for name, arrays in others.items()}},
            "scores": rows,
        },
    )
    write_table(HERE / "README.md", rows)


def write_table(readme: Path, rows: dict[str, dict[str, Any]]) -> None:
    """The AUCs between the marks of the README."""
    names = [*UNKNOWN, *FOREIGN]
    lines = [f"| score | {' | '.join(names)} | mean of six |", "|---|" + "---|" * (len(names) + 1)]
    for score, row in sorted(rows.items(), key=lambda item: -item[1]["mean_auc"]):
        cells = [f"{row[name]['auc']:.3f}" for name in names]
        lines.append(f"| {score} | {' | '.join(cells)} | {row['mean_auc']:.3f} |")
    start, end = "<!-- results -->", "<!-- /results -->"
    before, _, rest = readme.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    text = f"{before}{start}\n" + "\n".join(lines) + f"\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    given = arguments(__doc__ or "").parse_args()
    main(given.out or REPOSITORY / "runs" / "novelty")
