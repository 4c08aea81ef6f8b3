"""Train the packaged model, measure it once on test photos, and put it into the package.

python studies/default_model/run.py material  # materials alone: 25 minutes on two cores; resumes
python studies/default_model/run.py soil      # photos with simulated dirt; goes on by itself
python studies/default_model/run.py belts     # crops of simulated belts: 10 minutes; goes on
python studies/default_model/run.py train     # dirt and belts, too: an hour; resumes by itself
python studies/default_model/run.py more      # three times as many photos; goes on by itself
python studies/default_model/run.py finish    # on with these, under other lamps: an hour; resumes
python studies/default_model/run.py average   # of the last two networks' weights: 6 minutes
python studies/default_model/run.py calibrate # confidence and threshold by validation photos
python studies/default_model/run.py validate  # dirt on validation items, by which to decide
python studies/default_model/run.py measure   # one look at clean and at dirty test photos; parity
python studies/default_model/run.py install   # copies the model file into the package
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

import beltsight
from beltsight.dataset.soil import SoilOptions, soil_dataset
from beltsight.line.settings import DEFAULT_LINE, load_line
from beltsight.line.simulate.crops import CropBook
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.machine import describe_machine
from beltsight.model import DEFAULT_MODEL
from beltsight.model_file import restate_card
from beltsight.recalibrate import recalibrate
from beltsight.train.checkpoint import load_checkpoint, save_checkpoint
from beltsight.train.export import make_engine_of_file, measure_parity
from beltsight.train.loop import EpochDone, Event
from beltsight.train.package import About
from beltsight.train.run import export_run, load_network, run_training
from beltsight.train.settings import load_settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.contamination.answers import ask  # noqa: E402
from studies.contamination.photos import load_plan, photos_to_ask, thresholds  # noqa: E402
from studies.contamination.run import asked_figures  # noqa: E402
from studies.runner import (  # noqa: E402
    LOOKS,
    REPOSITORY,
    arguments,
    data_folder,
    look_at_test,
    write_json,
)

SOILED, MORE, BELTS = "trashnet-soiled", "trashnet-soiled-more", "belts"
LEARNED = "trashnet-soiled-and-belts.csv"
FINISHED = "trashnet-soiled-more-and-belts.csv"  # the name stands in the model's card
COPIES = {"train": 16, "val": 4}  # photos made of each of them for FINISHED
SHARE = 0.5  # of the weights after 'finish' in the average with those before; see shares.py
LAST = "averaged"  # the run whose model is measured and installed
ABOUT = About(
    name="trashnet-mobilenetv2",
    version="3",
    licence="Apache-2.0",
    notice=(
        "Fine-tuned from MobileNetV2 ImageNet weights (Apache-2.0, The TensorFlow Authors) on "
        "TrashNet photos (MIT, Copyright (c) 2017 Gary Thung). Contamination and dirt were learned "
        "from simulated dirt on these photos."
    ),
)


def soil(out: Path) -> None:
    """Make the photos with simulated dirt that are learned from."""
    options = SoilOptions(5, originals=True, masks=True, seed=0)
    made = soil_dataset(_learned_from(), out / SOILED, options)
    write_json(HERE / "results" / "soiled.json", {**made.to_record(), "folder": SOILED})


def more(out: Path) -> None:
    """Make many other photos to learn from; belts come beside them as before."""
    learned = _learned_from()
    parts = [f"{MORE}/{split}" for split in COPIES]
    made = {}
    for (split, copies), part in zip(COPIES.items(), parts, strict=True):
        options = SoilOptions(copies, originals=True, masks=True, seed=1)
        soiled = soil_dataset(learned.select(split), out / part, options)
        made[split] = {**soiled.to_record(), "folder": part}
    write_json(HERE / "results" / "soiled-more.json", made)
    _join(out, [*parts, *(f"{BELTS}/{one['name']}" for one in _belts())], FINISHED)


def _learned_from() -> beltsight.Dataset:
    """TrashNet without its test photos."""
    source = beltsight.load_dataset(data_folder("trashnet"))
    return replace(source, samples=tuple(s for s in source.samples if s.split != "test"))


def belts(out: Path) -> None:
    """Let a line look at the photos' items on simulated belts, and join its crops to the rest."""
    counts = {}
    for one in _belts():
        folder = out / BELTS / one["name"]
        if not (folder / "labels.csv").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _crop_belt(folder, {key: value for key, value in one.items() if key != "name"})
        counts[one["name"]] = len(_rows(folder / "labels.csv"))
        print(f"{one['name']}: {counts[one['name']]} crops", flush=True)
    write_json(HERE / "results" / "belts.json", counts)
    _join(out, [SOILED, *(f"{BELTS}/{name}" for name in counts)], LEARNED)


def _belts() -> list[dict[str, Any]]:
    """Names and looks of the simulated belts."""
    read: list[dict[str, Any]] = tomllib.loads((HERE / "belts.toml").read_text("utf-8"))["belts"]
    return read


def _crop_belt(folder: Path, look: dict[str, Any]) -> None:
    """One turn of a belt with every item on it once, half of them dirty."""
    overrides: dict[str, Any] = {
        "simulation.length_m": 100,
        "simulation.items.rate_per_s": 22,
        "simulation.items.dirty": 0.5,
        "simulation.items.dirt_share": [0.02, 0.7],
        "simulation.seed": look.pop("seed"),
        **{f"simulation.{part}.{key}": v for part, rest in look.items() for key, v in rest.items()},
    }
    data = _learned_from()
    book = CropBook(folder, data)
    book.write(_play(overrides, 42.0, data, book).matched())


def _play(
    overrides: dict[str, Any], seconds: float, data: beltsight.Dataset, book: CropBook | None = None
) -> Play:
    """Run the packaged line on a simulated belt; its log is thrown away."""
    with TemporaryDirectory() as log:
        settings = load_line(DEFAULT_LINE, {"store.url": f"{log}/line.db", **overrides})
        play = Play(settings, PlaySettings(seconds), samples=data.samples, crops=book)
        play.run()
    return play


def _join(out: Path, parts: list[str], name: str) -> None:
    """One table of several data sets below a folder."""
    rows = []
    for part in parts:
        for row in _rows(out / part / "labels.csv"):
            paths = {key: f"{part}/{row[key]}" for key in ("path", "mask") if row.get(key)}
            rows.append({**row, **paths})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (out / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def material(out: Path) -> None:
    """Learn the materials alone: where the packaged model starts from."""
    _train(data_folder("trashnet"), out / "material", "material", "material-")


def train(out: Path) -> None:
    """Go on with dirt on the photos, too."""
    _train(out / LEARNED, out / "dirt", "train", "")


def finish(out: Path) -> None:
    """Go on with more made photos, under other lamps."""
    _train(out / FINISHED, out / "finish", "finish", "finish-")


def averaged_weights(out: Path, share: float) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights between those before and after 'finish', and the state of the latter.

    As Wortsman et al. 2022 (WiSE-FT): most of what was learned last, other lamps and noise, is
    kept, and most of what photos as they are had lost comes back; see shares.py.

    Args:
        out: holds the runs.
        share: of the later weights, 0 to 1.
    """
    before, _ = load_checkpoint(out / "dirt" / "best.safetensors")
    after, state = load_checkpoint(out / "finish" / "best.safetensors")
    weights = {
        # Of counts there is no mean; where dirt lies was learned by the later one alone.
        name: (1 - share) * before[name] + share * value
        if name in before and value.is_floating_point()
        else value
        for name, value in after.items()
    }
    return weights, state


def average(out: Path) -> None:
    """Export the network whose weights are the average."""
    weights, state = averaged_weights(out, SHARE)
    folder = out / LAST
    folder.mkdir(exist_ok=True)
    for name in ("settings.toml", "run.json"):
        shutil.copy(out / "finish" / name, folder / name)
    save_checkpoint(folder / "best.safetensors", weights, state)
    figures = export_run(folder, out / FINISHED, folder / "model.onnx", about=ABOUT)
    write_json(HERE / "results" / "averaged-val.json", {"share": SHARE, "val": figures})


def _train(data: Path, out: Path, name: str, prefix: str) -> None:
    """Train and export; keep the log and the metrics of each epoch beside this file."""
    settings = load_settings(HERE / f"{name}.toml")
    log = HERE / "results" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)

    def watch(event: Event) -> None:
        if isinstance(event, EpochDone):
            line = (
                f"epoch {event.epoch:2d}  train loss {event.train_loss:.4f}  val loss "
                f"{event.val_loss:.4f}  val accuracy {event.val_accuracy:.4f}  {event.seconds} s"
            )
            print(line, flush=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    resume = (out / "settings.toml").exists()
    if not resume:
        log.write_text("", encoding="utf-8")
    run = run_training(data, out, settings, resume=resume, watch=watch, about=ABOUT)
    shutil.copy(out / "metrics.csv", HERE / "results" / f"{prefix}metrics.csv")
    seconds = [row.seconds for row in run.history]
    result = {"val": run.metrics, "seconds": round(sum(seconds)), "machine": describe_machine()}
    write_json(HERE / "results" / f"{prefix}val.json", result)


def model_file(out: Path) -> Path:
    """What is measured and installed."""
    return out / LAST / "calibrated.onnx"


def calibrate(out: Path) -> None:
    """Fit confidence to photos as they are, which is how the model is used before it knows a plant.

    Training fits it to what it validates on: crops of the belt among it, where 97 % are only right
    among the very sure, so that seven of ten photos would be left to people.
    """
    data = beltsight.load_dataset(data_folder("trashnet"))
    trained = beltsight.load(out / LAST / "model.onnx")
    found = recalibrate(trained, data, model_file(out), split="val", purity=0.97)
    write_json(HERE / "results" / "calibration.json", found.to_record())


def validate(out: Path) -> None:
    """How well dirt is told on validation items."""
    write_json(HERE / "results" / "contamination-val.json", _contamination(out, "val"))
    write_json(HERE / "results" / "belt-val.json", _on_belt(out, "val"))


def _contamination(out: Path, split: str) -> dict[str, Any]:
    """The figures of studies/contamination for this model, on the photos of that study."""
    plan = load_plan(HERE.parent / "contamination" / "photos.toml")
    photos = REPOSITORY / "runs" / "contamination" / "photos"
    model = beltsight.load(model_file(out))
    dirt = next(task.classes for task in model.tasks if task.name == "dirt")
    data = photos_to_ask(data_folder("trashnet"), photos, plan, "all-kinds", split, dirt)
    rows = ask(model_file(out), data, split, plan, LOOKS)
    figures = asked_figures(rows, plan, plan.asked_of("all-kinds"), thresholds(photos))
    print(f"{split}: {figures['summary']}")
    return {"split": split, "model_sha256": model.hash, **figures}


def _on_belt(out: Path, split: str) -> dict[str, Any]:
    """What a line makes of clean items on a simulated belt, beside the same photos as files."""
    data = beltsight.load_dataset(data_folder("trashnet")).select(split)
    model = beltsight.load(model_file(out))
    found: dict[str, Any] = {"split": split, "model_sha256": model.hash}
    answers = model.predict([sample.path for sample in data.samples])
    right_as_file = {
        str(sample.path): answer.tasks["material"].label == sample.labels["material"]
        for sample, answer in zip(data.samples, answers, strict=True)
    }
    for name, touching in (("apart", 0.0), ("touching", 0.4)):
        overrides = {
            "model.file": str(model_file(out)),
            "simulation.length_m": 60,
            "simulation.seed": 100,
            "simulation.items.rate_per_s": 14,
            "simulation.items.touching": touching,
        }
        play = _play(overrides, 25.0, data)
        files = [one.item.source for one in play.matched() if one.counted]
        right = sum(right_as_file[path] for path in files)
        found[name] = {**play.score().to_record(), "as_files": [right, len(files)]}
        material = found[name]["all"]["right_material"]
        print(f"{split}, {name}: {material} right, as files {right} of {len(files)}")
    return found


def measure(out: Path) -> None:
    """One look at the test split, clean and dirty, and the file against the network."""
    data = data_folder("trashnet")
    evaluation = look_at_test(model_file(out), data)
    record = evaluation.to_record()
    write_json(HERE / "results" / "test.json", record)
    figures = record["tasks"]["material"]
    print(f"test: {figures['accuracy']:.4f} of {figures['n']}, interval {figures['interval']}")
    write_json(HERE / "results" / "contamination.json", _contamination(out, "test"))
    write_json(HERE / "results" / "belt.json", _on_belt(out, "test"))
    samples = beltsight.load_dataset(data).select("test").samples
    model = beltsight.load(model_file(out))
    photos = np.stack([model.prepare(sample.path) for sample in samples])
    parity = measure_parity(load_network(out / LAST), make_engine_of_file(model_file(out)), photos)
    write_json(
        HERE / "results" / "parity.json",
        {
            "n": parity.n,
            "max_logit_gap": parity.max_logit_gap,
            "label_changes": parity.label_changes,
        },
    )
    print(f"parity: {parity}")


def install(out: Path) -> None:
    """Put the model file into the package, with the test figures in its card.

    The graph is the measured one; the card names the file that was measured.
    """
    record = json.loads((HERE / "results" / "test.json").read_text(encoding="utf-8"))
    model = beltsight.load(model_file(out))
    if record["model"]["sha256"] != model.hash:
        raise SystemExit("results/test.json is of another model; run the step 'measure' first")
    test = {key: record[key] for key in ("split", "n", "tasks")}
    test["measured_sha256"] = model.hash
    card = model.card.model_copy(update={"metrics": {**model.card.metrics, "test": test}})
    restate_card(model_file(out), card, DEFAULT_MODEL)


STEPS = {
    "material": material, "soil": soil, "belts": belts, "train": train,
    "more": more, "finish": finish, "average": average,
    "calibrate": calibrate, "validate": validate, "measure": measure, "install": install,
}  # fmt: skip

if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("step", choices=list(STEPS))
    given = parser.parse_args()
    STEPS[given.step](given.out or REPOSITORY / "runs" / "default_model")
