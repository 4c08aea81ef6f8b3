"""The same photos through every engine and precision: speed must not change the answer unnoticed.

    python benchmarks/answers.py [MODEL ...] [--int8 FILE ...] [--assert] [--out FILE]

MODEL is a file in float, the packaged one by default; the reference is ONNX Runtime in float32. The
other engines in float32 must give the same labels, bfloat16 another one on at most 2 photos, and an
int8 form (of the MODEL at the same place) on at most 1.5 % of them, its accuracy at most half a
point lower; of several tasks the worst one counts. Every difference is listed with the reference's
margin: the probability of its answer less that of the next.

Photos are TrashNet's validation split. --split test looks at the test photos, which is written into
studies/test_looks.csv: once, when everything is decided.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import Check, conditions, finish, options, trashnet

MOST_BF16, LEAST_AGREEMENT, MOST_LOSS = 2, 0.985, 0.005
REFERENCE = "onnxruntime-cpu"


def prepared(model: Any, samples: Sequence[Any]) -> Any:
    import numpy as np

    return np.stack([model.prepare(sample.path) for sample in samples])


def probabilities(model: Any, photos: Any) -> dict[str, Any]:
    """Per task float64 (N, C), calibrated."""
    names = [task.name for task in model.tasks]
    outputs = model.outputs(photos, names, batch_size=16)
    return {name: model.probabilities(name, outputs[name]) for name in names}


def differences(task: Any, expected: Any, got: Any, samples: Sequence[Any]) -> list[dict[str, Any]]:
    """Photos whose label is another one, by rising margin of the reference."""
    import numpy as np

    found = []
    for row in np.flatnonzero(expected.argmax(1) != got.argmax(1)).tolist():
        second, first = np.sort(expected[row])[-2:]
        found.append(
            {
                "photo": f"{samples[row].path.parent.name}/{samples[row].path.name}",
                "task": task.name,
                "truth": samples[row].labels.get(task.name),
                "reference": task.classes[int(expected[row].argmax())],
                "answer": task.classes[int(got[row].argmax())],
                "margin": round(float(first - second), 5),
            }
        )
    return sorted(found, key=lambda each: each["margin"])


def accuracy(task: Any, found: Any, samples: Sequence[Any]) -> float | None:
    right = [
        task.classes[int(best)] == sample.labels[task.name]
        for best, sample in zip(found.argmax(1), samples, strict=True)
        if task.name in sample.labels
    ]
    return round(sum(right) / len(right), 5) if right else None


def compare(
    reference: Any, other: Any, photos: Any, expected: dict[str, Any], samples: Sequence[Any]
) -> dict[str, Any]:
    """What another engine or form of a model answers on the reference's photos."""
    import numpy as np

    got = probabilities(other, photos)
    tasks: dict[str, dict[str, Any]] = {}
    changed: list[dict[str, Any]] = []
    for task in reference.tasks:
        found = differences(task, expected[task.name], got[task.name], samples)
        changed += found
        tasks[task.name] = {
            "labels_changed": len(found),
            "agreement": round(1 - len(found) / len(samples), 5),
            "accuracy": accuracy(task, got[task.name], samples),
            "accuracy_of_reference": accuracy(task, expected[task.name], samples),
        }
    main = tasks[reference.tasks[0].name]
    return {
        "photos": len(samples),
        "labels_changed": len(changed),
        "agreement": min(each["agreement"] for each in tasks.values()),
        "largest_probability_change": float(
            f"{max(float(np.abs(got[k] - expected[k]).max()) for k in expected):.3g}"
        ),
        "accuracy": main["accuracy"],
        "accuracy_of_reference": main["accuracy_of_reference"],
        "loss_of_accuracy": most_lost(tasks.values()),
        "tasks": tasks,
        "changed": changed,
    }


def most_lost(tasks: Iterable[dict[str, Any]]) -> float | None:
    """By how much accuracy falls in the task where it falls most; None where none has labels."""
    falls = [
        each["accuracy_of_reference"] - each["accuracy"]
        for each in tasks
        if each["accuracy"] is not None
    ]
    return round(max(falls), 5) if falls else None


def measure(file: Path | None, int8: Path | None, samples: Sequence[Any]) -> Iterator[Any]:
    """(engine and precision, what it answers) of one model."""
    import beltsight
    from beltsight.engines import available_engines

    reference = beltsight.Model.load(file, engine=REFERENCE)
    photos = prepared(reference, samples)
    expected = probabilities(reference, photos)
    forms = [(file, False), *([(int8, True)] if int8 else [])]
    for form, is_int8 in forms:
        for engine in available_engines():
            if engine == REFERENCE and not is_int8:
                continue
            precision = "bf16" if engine.endswith("bf16") else "float32"
            numbers = f"int8, rest {precision}" if is_int8 else precision
            yield f"{engine}, {numbers}", one(form, engine, reference, photos, expected, samples)


def one(
    form: Path | None,
    engine: str,
    reference: Any,
    photos: Any,
    expected: dict[str, Any],
    samples: Sequence[Any],
) -> dict[str, Any]:
    """One form of a model in one engine; where it is refused, also what it would have answered."""
    import beltsight

    refused = {}
    try:
        other = beltsight.Model.load(form, engine=engine)
    except beltsight.BeltsightError as error:
        refused = {"refused": str(error)}
        other = beltsight.Model.load(form, engine=engine, verify=False)
    return {**refused, **compare(reference, other, photos, expected, samples)}


def checks_of(name: str, who: str, found: dict[str, Any]) -> Iterator[Check]:
    what = f"{name} in {who}"
    if "int8" in who:
        yield Check(f"{what}: share of equal labels", found["agreement"], least=LEAST_AGREEMENT)
        if found["loss_of_accuracy"] is not None:
            yield Check(f"{what}: loss of accuracy", found["loss_of_accuracy"], most=MOST_LOSS)
    else:
        most = MOST_BF16 if "bf16" in who else 0
        yield Check(f"{what}: labels changed", found["labels_changed"], most=most)


def show(who: str, found: dict[str, Any]) -> None:
    if "refused" in found:
        print(f"  {who} is refused ({found['refused']}); it would answer:")
    print(
        f"  {who}: {found['labels_changed']} labels change on {found['photos']} photos, "
        f"{found['agreement']:.2%} stay in the task where fewest do, probabilities change by "
        f"at most {found['largest_probability_change']:.2g}; accuracy {found['accuracy']}, "
        f"reference {found['accuracy_of_reference']}"
    )
    for each in found["changed"]:
        print(
            f"    {each['photo']}: {each['task']} {each['reference']} -> {each['answer']}, margin "
            f"{each['margin']:.4f} (truth: {each['truth']})"
        )


def load_samples(split: str, limit: int | None) -> Sequence[Any]:
    import beltsight

    return beltsight.load_dataset(trashnet()).select(split).samples[:limit]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--int8", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--split", default="val", choices=("val", "train", "test"))
    parser.add_argument("--photos", type=int, help="only the first so many, for a quick look")
    given = parser.parse_args()
    import beltsight

    machine = conditions(given)
    samples = load_samples(given.split, given.photos)
    forms: list[Path | None] = [None] * max(0, len(given.models or [None]) - len(given.int8))
    models: dict[str, Any] = {}
    checks: list[Check] = []
    for file, int8 in zip(given.models or [None], [*given.int8, *forms], strict=True):
        name = str(file or "the packaged model")
        print(f"{name}, {len(samples)} photos of {given.split}", flush=True)
        models[name] = {}
        for who, found in measure(file, int8, samples):
            show(who, found)
            models[name][who] = found
            checks += checks_of(name, who, found)
            if given.split == "test":
                note_test(int8 if "int8" in who else file, who, len(samples), found)
    record = {
        "what": "labels of each engine and precision against ONNX Runtime in float32",
        "machine": machine,
        "data": "TrashNet",
        "split": given.split,
        "beltsight": beltsight.__version__,
        "models": models,
    }
    finish(record, checks, given)


def note_test(file: Path | None, who: str, n: int, found: dict[str, Any]) -> None:
    """Every look at test photos is written down."""
    from studies.runner import note_look

    import beltsight

    digest = beltsight.Model.load(file, verify=False).hash
    figure = f"material accuracy {found['accuracy']} ({who}: benchmarks/answers.py)"
    note_look(digest, "trashnet", n, figure)


if __name__ == "__main__":
    main()
