"""Train the packaged model, measure it once on the test split, and put it into the package.

python studies/default_model/run.py train     # 25 minutes on two cores; resumes by itself
python studies/default_model/run.py measure   # one look at the test split, and parity
python studies/default_model/run.py install   # copies the model file into the package
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

import beltsight
from beltsight.machine import describe_machine
from beltsight.model import DEFAULT_MODEL
from beltsight.train.export import make_engine_of_file, measure_parity, restate_card
from beltsight.train.loop import EpochDone, Event
from beltsight.train.package import About
from beltsight.train.run import load_network, run_training
from beltsight.train.settings import load_settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
from studies.runner import REPOSITORY, arguments, data_folder, look_at_test, write_json  # noqa: E402

ABOUT = About(
    name="trashnet-mobilenetv2",
    version="1",
    licence="Apache-2.0",
    notice=(
        "Fine-tuned from MobileNetV2 ImageNet weights (Apache-2.0, The TensorFlow Authors) on "
        "TrashNet photos (MIT, Copyright (c) 2017 Gary Thung)."
    ),
)


def train(out: Path) -> None:
    """Train and export; keep the log and the metrics of each epoch beside this file."""
    settings = load_settings(HERE / "train.toml")
    log = HERE / "results" / "train.log"
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
    data = data_folder("trashnet")
    run = run_training(data, out, settings, resume=resume, watch=watch, about=ABOUT)
    shutil.copy(out / "metrics.csv", HERE / "results" / "metrics.csv")
    seconds = [row.seconds for row in run.history]
    result = {"val": run.metrics, "seconds": round(sum(seconds)), "machine": describe_machine()}
    write_json(HERE / "results" / "val.json", result)


def measure(out: Path) -> None:
    """One look at the test split, and the file against the network on the same photos."""
    data = data_folder("trashnet")
    evaluation = look_at_test(out / "model.onnx", data)
    record = evaluation.to_record()
    write_json(HERE / "results" / "test.json", record)
    figures = record["tasks"]["material"]
    print(f"test: {figures['accuracy']:.4f} of {figures['n']}, interval {figures['interval']}")
    samples = beltsight.load_dataset(data).select("test").samples
    model = beltsight.load(out / "model.onnx")
    photos = np.stack([model.prepare(sample.path) for sample in samples])
    parity = measure_parity(load_network(out), make_engine_of_file(out / "model.onnx"), photos)
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
    model = beltsight.load(out / "model.onnx")
    if record["model"]["sha256"] != model.hash:
        raise SystemExit("results/test.json is of another model; run the step 'measure' first")
    test = {key: record[key] for key in ("split", "n", "tasks")}
    test["measured_sha256"] = model.hash
    card = model.card.model_copy(update={"metrics": {**model.card.metrics, "test": test}})
    restate_card(out / "model.onnx", card, DEFAULT_MODEL)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("step", choices=["train", "measure", "install"])
    given = parser.parse_args()
    folder = given.out or REPOSITORY / "runs" / "default_model"
    {"train": train, "measure": measure, "install": install}[given.step](folder)
