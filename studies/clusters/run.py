"""Correct answers by clusters of embeddings: chosen and judged inside validation; see README.md.

python studies/clusters/run.py            # every model that is here; what has its result is kept
python studies/clusters/run.py --test     # and one look at test for models that it helps, if any
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy is loaded

import numpy as np

import beltsight

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.clusters.correction import (  # noqa: E402
    Answers,
    Clustering,
    Marks,
    all_settings,
    choose,
    folded,
    nested,
    right_by_setting,
)
from studies.novelty.run import embed, labels_of  # noqa: E402
from studies.runner import REPOSITORY, arguments, data_folder, note_look, write_json  # noqa: E402
from studies.tables import difference, fill_markers, mcnemar, percent  # noqa: E402

SETTINGS = all_settings(
    clusters=(6, 12, 24, 48, 96),
    weights=(0.1, 0.2, 0.3, 0.5),
    below=(0.5, 0.6, 0.7, 0.8, 0.9),
    majorities=(0.6, 0.8, 0.95),
)
DIVISIONS = 10
RESULTS = "val.json"


def answers(model: beltsight.Model, data: Path, split: str, cache: Path) -> Answers:
    """What a model says of a split; kept in a file."""
    dataset = beltsight.load_dataset(data).select(split)
    paths = [sample.path for sample in dataset.samples]
    embeddings, logits = embed(model, paths, cache / f"{model.hash[:16]}-{split}.npz")
    labels = labels_of(dataset, model)
    if len(labels) != len(embeddings):
        raise SystemExit(f"{data}: not every photo of {split} opens; see 'beltsight check'")
    return Answers(embeddings, model.probabilities("material", logits.astype(np.float32)), labels)


def paired(after: Marks, before: Marks) -> dict[str, Any]:
    """Right before and after on the same photos, won and lost, with their test and interval."""
    won, lost, p = mcnemar(after.astype(float), before.astype(float))
    gap = difference(after[None].astype(float), before[None].astype(float))
    return {
        "n": len(before),
        "right": int(before.sum()),
        "right_corrected": int(after.sum()),
        "won": won,
        "lost": lost,
        "mcnemar_p": p,
        "difference": gap.mean,
        "interval": [gap.low, gap.high],
    }


def study_one(train: Answers, val: Answers, divisions: int = DIVISIONS) -> dict[str, Any]:
    """What the correction gives on validation, chosen without the photos that it is judged on.

    Args:
        train: what the model learned from.
        val: what it is judged on.
        divisions: of validation into folds. The first counts; the others say how far another
            division would move it.
    """
    clustering = Clustering(train)
    before = val.probabilities.argmax(axis=1) == val.labels
    right, chosen = nested(clustering, SETTINGS, val, seed=0)
    gains = [int(right.sum() - before.sum())]
    for seed in range(1, divisions):
        again, _ = nested(clustering, SETTINGS, val, seed)
        gains.append(int(again.sum() - before.sum()))
    every = folded(clustering, SETTINGS, val, seed=0)
    best = int(every.sum(axis=1).argmax())
    found = paired(right, before)
    return {
        **found,
        "chosen": [setting.to_record() for setting in chosen],
        "gains_over_divisions": gains,
        "best_in_hindsight": {
            **SETTINGS[best].to_record(),
            "won": int((every[best] & ~before).sum()),
            "lost": int((before & ~every[best]).sum()),
        },
        # Said before any figure was seen: the interval must lie above 0, and divisions agree.
        "helps": found["interval"][0] > 0 and float(np.mean(gains)) > 0,
    }


def measure_on_test(
    model: beltsight.Model, data: Path, train: Answers, val: Answers, cache: Path
) -> dict[str, Any]:
    """One look at test: the setting that all of validation chooses, clusters of all of it."""
    clustering = Clustering(train)
    setting = choose(clustering, SETTINGS, val, seed=0)
    test = answers(model, data, "test", cache)
    right = right_by_setting(clustering, [setting], val, test)[0]
    found = paired(right, test.probabilities.argmax(axis=1) == test.labels)
    accuracy = found["right_corrected"] / found["n"]
    note_look(model.hash, data.name, found["n"], f"material accuracy {accuracy:.4f} (by clusters)")
    return {**found, "setting": setting.to_record()}


def model_files(runs: Path) -> dict[str, Path | None]:
    """The packaged model, and those that the study of TrashNet left."""
    trained = {file.parent.name: file for file in sorted(runs.glob("*/model.onnx"))}
    return {"packaged": None, **trained}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--test", action="store_true", help="look at test where it helps")
    given = parser.parse_args()
    cache = given.out or REPOSITORY / "runs" / "clusters"
    data, file = data_folder("trashnet"), HERE / "results" / RESULTS
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name, path in model_files(REPOSITORY / "runs" / "trashnet").items():
        model = beltsight.load(path, threads=1)
        kept = results.get(name, {})
        is_new = kept.get("model_sha256") != model.hash
        looks = given.test and not is_new and kept["helps"] and "test" not in kept
        if not is_new and not looks:
            continue
        train, val = (answers(model, data, split, cache) for split in ("train", "val"))
        if is_new:
            kept = {"model_sha256": model.hash, **study_one(train, val)}
        if given.test and kept["helps"] and "test" not in kept:
            kept["test"] = measure_on_test(model, data, train, val, cache)
        results[name] = kept
        write_json(file, {name: results[name] for name in sorted(results)})
        print(f"{name}: {kept['right']} -> {kept['right_corrected']} of {kept['n']}", flush=True)
    fill_markers(HERE / "README.md", "results", results_text(results))


def results_text(results: dict[str, dict[str, Any]]) -> str:
    """The table of the README."""
    rows = [
        "| model | validation | corrected | won : lost | McNemar p | in points, 95 % interval "
        f"| net over {DIVISIONS} divisions | best of {len(SETTINGS)} in hindsight | helps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in sorted(results.items(), key=lambda item: (item[0] != "packaged", item[0])):
        low, high = (100 * end for end in found["interval"])
        gains, best = found["gains_over_divisions"], found["best_in_hindsight"]
        cells = [
            name,
            percent(found["right"] / found["n"]),
            percent(found["right_corrected"] / found["n"]),
            f"{found['won']} : {found['lost']}",
            f"{found['mcnemar_p']:.2g}",
            f"{100 * found['difference']:+.1f} ({low:+.1f} to {high:+.1f})",
            f"{min(gains):+d} to {max(gains):+d}, mean {np.mean(gains):+.1f}",
            f"{best['won']} : {best['lost']}",
            "yes" if found["helps"] else "no",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    kinds = Counter(each["kind"] for found in results.values() for each in found["chosen"])
    said = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return "\n".join(rows) + f"\n\nChosen in the folds, over all models: {said}."


if __name__ == "__main__":
    main()
