"""The study's data sets, how each is trained on and measured, and where the files of each lie."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.material_six.build import POOLS, SIX, build_pool, count_rows, read_rows
from studies.material_six.figures import within_source
from studies.material_six.grounds import take_apart
from studies.runner import data_folder, look_at_test, write_json
from studies.study import Study, Sweep
from studies.trained import correct_by_class, figures, load_results

import beltsight

MAIN = "six"
# Pool -> its photos that can be taken apart: as they are, items alone, grounds alone.
APART = {
    "six": ("six-whole", "six-items", "six-grounds"),
    "source": ("source-whole", "source-items", "source-grounds"),
}
CONTROLS = (*APART["six"], *APART["source"])
CONTROL_VARIANT = "resnet18-quick"
SOURCE_OF = {draw.label: draw.source for draw in SIX}
_QUICK_PER_SPLIT = 12


@dataclass(frozen=True)
class Places:
    """Where the study's files lie.

    Args:
        work: data sets made here, and a folder of runs for each; git ignores it.
        results: JSON and CSV of the main data set; a folder for each control.
        readme: gets the tables.
        looks: the ledger of looks at test.
        quick: whether this is a slice.
    """

    work: Path
    results: Path
    readme: Path
    looks: Path
    quick: bool = False

    def data(self, part: str) -> Path:
        """The folder of a data set."""
        return self.work / "data" / part

    def built(self, pool: str) -> Path:
        """What was put into a pool, and what was left out."""
        return self.results / f"built-{pool}.json"

    def results_of(self, part: str) -> Path:
        """The folder of a data set's results."""
        return self.results if part == MAIN else self.results / part


def build(places: Places) -> None:
    """Make all data sets; those that are there are kept."""
    names = sorted({draw.source for draws in POOLS.values() for draw in draws})
    sources: dict[str, beltsight.Dataset] = {}
    for pool, (whole, items, grounds) in APART.items():
        note = places.work / "data" / f"{pool}.json"
        if note.exists():
            print(f"{pool}: is there already", flush=True)
            continue
        sources = sources or {name: beltsight.load_dataset(data_folder(name)) for name in names}
        few = _QUICK_PER_SPLIT if places.quick else 0
        found = build_pool(pool, places.data(pool), sources, per_split=few)
        folders = [places.data(name) for name in (whole, items, grounds)]
        found["taken_apart"] = count_rows(take_apart(places.data(pool), *folders))
        write_json(places.built(pool), found)
        write_json(note, found)
        print(f"{pool}: {found['photos']}", flush=True)


def sweep_of(part: str, study: Study, places: Places) -> Sweep:
    """The study on ``six``; on any other data set the control's variant with its first seed."""
    variant = study.variant(CONTROL_VARIANT)
    is_main = part == MAIN
    return Sweep(
        "material_six",
        study,
        places.data(part),
        places.work / part,
        places.results_of(part),
        places.readme,
        places.looks,
        only=() if is_main else (CONTROL_VARIANT,),
        seeds=() if is_main else (variant.seeds or study.seeds)[:1],
        quick=places.quick,
    )


def measure(sweep: Sweep, places: Places) -> None:
    """One look at test for each wanted result without one, with all that the tables need."""
    wanted = {(variant.name, seed) for variant, seed in sweep.jobs()}
    for result in load_results(sweep.results):
        if (result["variant"], result["seed"]) in wanted and "test" not in result:
            _measure_one(sweep, places, result)


def _measure_one(sweep: Sweep, places: Places, result: dict[str, Any]) -> None:
    name, seed, part = result["variant"], result["seed"], sweep.data.name
    file = sweep.folder(name, seed) / "model.onnx"
    if not file.exists() or _digest(file) != result["model_sha256"]:
        print(f"{part}, {name} seed {seed}: {file} is not the file of the result; train it again")
        return
    evaluation = look_at_test(file, sweep.data, task=sweep.study.task, looks=sweep.looks)
    answers = evaluation.tasks[sweep.study.task]
    record = evaluation.to_record()["tasks"][sweep.study.task]
    test: dict[str, Any] = figures(record)
    test["unreadable"] = len(evaluation.unreadable)
    test["correct"] = correct_by_class(answers)
    test["photos_sha256"] = hashlib.sha256("\n".join(answers.paths).encode()).hexdigest()
    test |= {key: record[key] for key in ("balanced_accuracy", "classes", "confusion")}
    if part in (MAIN, *APART[MAIN]):
        classes = record["classes"]
        test["within"] = within_source(answers.probabilities, answers.labels, classes, SOURCE_OF)
        result["crossed"] = crossed(beltsight.load(file), part, places)
    result |= {"part": part, "test": test}
    write_json(sweep.file(name, seed), result)
    print(f"{part}, {name} seed {seed}: test {test['accuracy']:.4f} of {test['n']}", flush=True)


def crossed(model: beltsight.Model, part: str, places: Places) -> dict[str, dict[str, int]]:
    """What a model says of materials that it knows from one source, photographed by another.

    Args:
        model: of the six classes.
        part: the data set that it learned, which says in what form it sees these photos.
        places: of the data sets.

    Returns:
        Kind of photo -> answer -> photos. Whatever the form, the photos are the same: those of
        train and val that can be taken apart.
    """
    whole, items, grounds = APART["source"]
    form = {"six-items": items, "six-grounds": grounds}.get(part, whole)
    rows = [row for row in read_rows(places.data(form)) if row.split != "test"]
    found: dict[str, dict[str, int]] = {}
    for kind in ("plastic", "recyclable"):
        paths = [places.data(form) / row.path for row in rows if row.kind == kind]
        answers = (prediction.tasks["material"].label for prediction in model.stream(paths))
        found[kind] = dict(sorted(Counter(answers).items()))
    return found


def control_results(places: Places) -> Mapping[str, dict[str, Any]]:
    """Data set -> the control's result, where it has one."""
    found = {part: load_results(places.results_of(part)) for part in CONTROLS}
    return {part: results[0] for part, results in found.items() if results}


def best_on_validation(results: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The measured result whose validation accuracy is the highest; of equals the first."""
    measured = [result for result in results if "test" in result]
    return max(measured, key=lambda result: result["val"]["accuracy"], default=None)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
