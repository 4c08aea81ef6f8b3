"""What decisions cost on test photos with simulated dirt; see README.md.

python studies/decision/run.py            # the packaged model and the default policy
python studies/decision/run.py --quick    # a few validation photos, printed
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import beltsight
from beltsight.model import DEFAULT_MODEL
from beltsight.policy_cost import (
    Routing,
    ignore_contamination,
    mean_cost,
    realised_costs,
    route_all,
    true_routes,
)
from beltsight.reliability import check_calibration

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.contamination.photos import make_set  # noqa: E402
from studies.runner import REPOSITORY, arguments, data_folder, note_look, write_json  # noqa: E402
from studies.tables import fill_markers, percent  # noqa: E402

COPIES, SEED = 2, 11
WAYS = {
    "policy": "the policy: least expected cost",
    "most-probable": "the most probable answers",
    "blind": "the policy, blind to contamination",
}
Probabilities = Mapping[str, NDArray[np.float64]]


def soiled_photos(out: Path, split: str, keep: int | None) -> beltsight.Dataset:
    """Photos with simulated dirt, made once; of ``keep`` photos where few are wanted."""
    data, name = data_folder("trashnet"), f"{split}-{keep or 'all'}"
    if keep:
        data = _slice(data, out, split, keep)
    options = ["--split", split, "--copies", str(COPIES), "--seed", str(SEED)]
    return beltsight.load_dataset(out / make_set(data, out, f"soiled-{name}", options))


def _slice(data: Path, out: Path, split: str, keep: int) -> Path:
    """A folder of about so many photos, evenly drawn."""
    samples = beltsight.load_dataset(data).select(split).samples
    folder = out / f"slice-{split}-{keep}"
    for sample in samples[:: max(1, len(samples) // keep)]:
        place = folder / split / sample.labels["material"] / sample.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample.path, place)
    return folder


def answers(
    model: beltsight.Model, samples: Sequence[beltsight.Sample]
) -> tuple[Probabilities, dict[str, NDArray[np.bool_]]]:
    """Calibrated probabilities per task, and which items the model abstains on or finds novel."""
    predictions = list(model.stream(sample.path for sample in samples))
    table = {
        task.name: np.array([list(p.tasks[task.name].probabilities.values()) for p in predictions])
        for task in model.tasks
    }
    flags = {
        "novel": np.array([bool(p.novel) for p in predictions]),
        "abstain": np.array([bool(p.abstain) and not p.novel for p in predictions]),
    }
    return table, flags


def compare(
    decider: beltsight.Decider,
    table: Probabilities,
    flags: Mapping[str, NDArray[np.bool_]],
    labels: Mapping[str, Sequence[str | None]],
    groups: Sequence[str],
) -> dict[str, Any]:
    """Costs of the three ways, with the same abstentions and without any.

    Args:
        decider: a bound policy.
        table: probabilities of N photos.
        flags: on which of them the model abstains.
        labels: of each task.
        groups: (N,) the item that each photo shows; one item stands in several.
    """
    right = true_routes(decider, labels)
    found: dict[str, Any] = {}
    for name, used in (("with abstentions", flags), ("answering always", {})):
        chosen = _chosen(decider, table, used)
        costs = {way: realised_costs(decider, routes, right) for way, routes in chosen.items()}
        found[name] = {
            "cost": {way: _cost(values, groups) for way, values in costs.items()},
            "saved": {
                way: _cost(costs[way] - costs["policy"], groups) for way in WAYS if way != "policy"
            },
            "by_hand": {
                way: float((routes == decider.routes.index("hand-sort")).mean())
                for way, routes in chosen.items()
            },
        }
    routing = route_all(decider, table, **flags)
    found["reasons"] = {str(reason): count for reason, count in routing.counts.items()}
    found["streams"] = _streams(decider, routing.chosen, right)
    found["calibration"] = _calibration(decider, routing, right, groups)
    return found


def _chosen(
    decider: beltsight.Decider, table: Probabilities, flags: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.int64]]:
    by_hand = decider.routes.index("hand-sort")
    usual = decider.most_probable_routes(table).copy()
    for flag in flags.values():
        usual[flag] = by_hand
    blind = ignore_contamination(decider, table)
    return {
        "policy": route_all(decider, table, **flags).chosen,
        "most-probable": usual,
        "blind": route_all(decider, blind, **flags).chosen,
    }


def _cost(costs: NDArray[np.float64], groups: Sequence[str]) -> dict[str, float]:
    mean = mean_cost(costs, groups)
    return {"mean": round(mean.mean, 4), "low": round(mean.low, 4), "high": round(mean.high, 4)}


def _streams(
    decider: beltsight.Decider, chosen: NDArray[np.int64], right: NDArray[np.int64]
) -> dict[str, Any]:
    """Per route: items sent there, and the share that belongs there."""
    sent, good = Counter(chosen.tolist()), Counter(chosen[chosen == right].tolist())
    return {
        decider.routes[route]: {"n": count, "right": good[route]} for route, count in sent.items()
    }


def _calibration(
    decider: beltsight.Decider, routing: Routing, right: NDArray[np.int64], groups: Sequence[str]
) -> dict[str, Any]:
    """Is a route as often right as the policy believes? On it rest the purities of streams."""
    sent = np.flatnonzero(routing.chosen != decider.routes.index("hand-sort"))
    # One photo of each item: chance, as the check draws it, knows no twins.
    sent = sent[np.unique(np.array(groups)[sent], return_index=True)[1]]
    if len(sent) < 2:
        return {"n": len(sent)}
    believed = routing.right[sent, routing.chosen[sent]]
    came_true = routing.chosen[sent] == right[sent]
    check = check_calibration(believed, came_true).to_record()
    return {**check, "believed": float(believed.mean()), "right": float(came_true.mean())}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Decide on all photos whose right route is known."""
    split = "val" if given.quick else "test"
    out = given.out or REPOSITORY / "runs" / "decision"
    model = beltsight.load(given.model)
    dataset = soiled_photos(out, split, 24 if given.quick else None)
    # Water has no kind of dirt, so where wet paper belongs is not known.
    samples = [s for s in dataset.samples if "dirt" in s.labels]
    decider = beltsight.bind(beltsight.load_policy(given.policy), model.tasks, model.hash)
    table, flags = answers(model, samples)
    tasks = ("material", "contamination", "dirt")
    labels = {task: [sample.labels[task] for sample in samples] for task in tasks}
    groups = [str(sample.group) for sample in samples]
    record = {
        "command": "python studies/decision/run.py",
        "model": model.card.name,
        "model_sha256": model.hash,
        "policy": decider.policy_version,
        "split": split,
        "n": len(samples),
        "n_items": len(set(groups)),
        "n_without_known_route": len(dataset.samples) - len(samples),
        **compare(decider, table, flags, labels, groups),
    }
    if not given.quick:
        cost = record["with abstentions"]["cost"]["policy"]["mean"]
        figure = f"cost {cost} an item under {decider.policy_version}, simulated dirt"
        note_look(model.hash, "trashnet", len(samples), figure)
    return record


def tables(record: dict[str, Any]) -> str:
    """The README's tables."""
    lines = []
    for name in ("with abstentions", "answering always"):
        part = record[name]
        lines += [
            f"**{name.capitalize()}**, {record['n']:,} photos of {record['n_items']:,} items, "
            f"{record['policy']}",
            "",
            "| way to decide | cost an item | 95 % | over the policy | 95 % | by hand |",
            "|---|---|---|---|---|---|",
        ]
        for way, words in WAYS.items():
            cost, more = part["cost"][way], part["saved"].get(way)
            extra = (
                f"{more['mean']:+.3f} | {more['low']:+.3f} to {more['high']:+.3f}"
                if more
                else "- | -"
            )
            lines.append(
                f"| {words} | {cost['mean']:.3f} | {cost['low']:.3f} to {cost['high']:.3f} | "
                f"{extra} | {percent(part['by_hand'][way])} |"
            )
        lines.append("")
    lines += ["| route | photos | of these right |", "|---|---|---|"]
    for route, counts in sorted(record["streams"].items(), key=lambda pair: -pair[1]["n"]):
        share = "-" if route == "hand-sort" else percent(counts["right"] / counts["n"])
        lines.append(f"| {route} | {counts['n']} | {share} |")
    reasons = ", ".join(f"{name} {count}" for name, count in record["reasons"].items() if count)
    return "\n".join([*lines, "", f"Reasons: {reasons}.", "", _calibration_text(record)])


def _calibration_text(record: dict[str, Any]) -> str:
    found = record["calibration"]
    if found["n"] < 2:
        return "Too few items went to a stream to tell whether its probability can be believed."
    return (
        f"Of {found['n']:,} items sent to a stream (one photo each) the policy believed "
        f"{percent(found['believed'])} to be right there, and {percent(found['right'])} were. "
        f"Debiased calibration error of that probability {percent(found['error'])}; chance alone "
        f"gives up to {percent(found['band'][1])}."
    )


def main(arguments_given: Sequence[str] | None = None) -> None:
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--policy", type=Path, help="default: the packaged one")
    parser.add_argument("--quick", action="store_true", help="print a slice; commit nothing")
    given = parser.parse_args(arguments_given)
    record = measure(given)
    if given.quick:
        print(tables(record))
        return
    write_json(HERE / "results" / "decision.json", record)
    fill_markers(HERE / "README.md", "results", tables(record))


if __name__ == "__main__":
    main()
