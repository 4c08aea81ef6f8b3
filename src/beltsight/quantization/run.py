"""From a float model file to an int8 one, refused where the answers change too much."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from beltsight.card import Card, ParityCard, QuantizationCard, content_hash
from beltsight.dataset.index import Dataset, load_dataset
from beltsight.engines import DEFAULT_ENGINE, open_engine
from beltsight.errors import ConfigError, DatasetError, ModelError, SplitError
from beltsight.evaluation import Evaluation, evaluate
from beltsight.leak import LEAK_LIMIT
from beltsight.model import Model
from beltsight.model_file import read_model_file, require_onnx, save_model
from beltsight.quantization.build import build_int8
from beltsight.quantization.calibration import (
    Progress,
    Ranges,
    choose_samples,
    measure_ranges,
    prepare_samples,
)
from beltsight.quantization.figures import measure_tasks, restated_card
from beltsight.quantization.layers import Layer, Layout, find_layers, read_layout
from beltsight.quantization.parity import Bounds, broken_bounds, check_bounds, parity_record
from beltsight.quantization.pooling import with_plain_pooling
from beltsight.quantization.sensitivity import rank_layers
from beltsight.records import Sample

if TYPE_CHECKING:
    import onnx

MOST_STEPS = 6
_TRIAL_PHOTOS = 8


@dataclass(frozen=True, slots=True)
class QuantizeSettings:
    """How a model becomes int8.

    Args:
        split: photos that decide: they give parity, temperatures, thresholds and figures. The
            model must not have learned them.
        calibration_split: photos that ranges are fitted to; None takes ``train`` where the data
            set has it, else ``split``.
        n_calibration: how many of them, as many of each class as there are.
        seed: which of them.
        weight_bits: 7 is safe everywhere; 8 needs a processor with VNNI or its like.
        keep: names of layers that stay float.
        keep_count: how many further layers stay float, those whose float form buys back most;
            None keeps as few as it takes, in up to ``MOST_STEPS`` steps.
        bounds: what may change.
        threads: computing threads; 0 means one per core.

    Raises:
        ConfigError: a count out of bounds.
        SplitError: a test split; :func:`quantize` refuses ``all`` where that holds one.
    """

    split: str = "val"
    calibration_split: str | None = None
    n_calibration: int = 64
    seed: int = 0
    weight_bits: Literal[7, 8] = 7
    keep: tuple[str, ...] = ()
    keep_count: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    threads: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_calibration <= 10_000:
            raise ConfigError(f"calibrate on 1 to 10,000 photos, not {self.n_calibration}")
        if self.weight_bits not in (7, 8):
            raise ConfigError(f"weights have 7 or 8 bits, not {self.weight_bits}")
        if self.keep_count is not None and self.keep_count < 0:
            raise ConfigError(f"the number of layers to keep is 0 or more, not {self.keep_count}")
        if "test" in (self.split, self.calibration_split):
            raise SplitError(
                "split 'test' is for measuring what comes out of this: photos that decide or that "
                "int8 is fitted to are no test any more; give 'val', or other photos with 'all'"
            )


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of float layers, measured on the photos that decide.

    Args:
        float_layers: their names.
        parity: per task.
    """

    float_layers: tuple[str, ...]
    parity: Mapping[str, ParityCard]


@dataclass(frozen=True, slots=True)
class Quantization:
    """What was done.

    Args:
        card: of the written file.
        layers: number of layers that could be int8.
        trials: what was measured, in order; the card names the one that was written.
        out: the written file.
    """

    card: Card
    layers: int
    trials: tuple[Trial, ...]
    out: Path

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        part = self.card.quantization
        assert part is not None
        return {
            "out": str(self.out),
            "bytes": self.out.stat().st_size,
            "layers": self.layers,
            **part.model_dump(mode="json"),
            "trials": [
                {"float_layers": list(trial.float_layers), "parity": parity_record(trial.parity)}
                for trial in self.trials
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What every trial starts from."""

    before: Model
    dataset: Dataset
    evaluation: Evaluation
    layout: Layout
    ranges: Ranges
    photos: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """One int8 form of the model."""

    graph: onnx.ModelProto
    model: Model
    evaluation: Evaluation
    trial: Trial


def quantize(
    model: Model | str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: QuantizeSettings = QuantizeSettings(),
    progress: Progress | None = None,
) -> Quantization:
    """Write an int8 form of a model, where its answers stay within bounds.

    Args:
        model: a float model file.
        data: labelled photos of every task, like those that the model will meet.
        out: the model file to write.
        settings: see :class:`QuantizeSettings`.
        progress: told of each step: (what, done, in all).

    Raises:
        MissingExtraError: onnx is not installed.
        ParityError: the answers change too much; nothing is written.
        ModelError: int8 already, or ONNX Runtime cannot quantise or compute it.
        SplitError: no such photos, or the model has learned more than 5 % of those that decide.
        DatasetError: no labels for a task, or no photo that can be read.
        ConfigError: wrong settings, or ``out`` is the model's own file.
        ModelFileError: the model cannot be read, or ``out`` cannot be written.
    """
    require_onnx("int8")
    told = progress or (lambda what, done, total: None)
    before, target = _reference(model, settings.threads), Path(out)
    content = read_model_file(_float_file(before, target))
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    origin = settings.calibration_split or _usual_split(dataset, settings.split)
    _refuse_test(dataset, settings.split, origin)
    chosen = choose_samples(dataset.select(origin), settings.n_calibration, settings.seed)
    graph = with_plain_pooling(_parsed(content, before), settings.threads)
    layout = read_layout(graph)
    _check_keep(layout, settings)  # before any work
    evaluation = _evaluated(before, dataset, settings.split, "Measuring float", told)
    _check_photos(evaluation, before)
    photos = prepare_samples(before, chosen)
    ranges = measure_ranges(layout, photos, settings.threads, told)
    material = _Material(before, dataset, evaluation, layout, ranges, photos)
    best, trials = _best_form(material, settings, told)
    check_bounds(best.trial.parity, settings.bounds)
    record = QuantizationCard(
        weight_bits=settings.weight_bits,
        float_layers=best.trial.float_layers,
        float_sha256=content_hash(content),
        data=dataset.root.resolve().name,
        calibration_split=origin,
        n_calibration=len(photos),
        seed=settings.seed,
        split=settings.split,
        tried=len(trials),
        parity=dict(best.trial.parity),
    )
    fitted_to = [sample.path for sample in chosen]
    card = restated_card(before.card, best.model, best.evaluation, fitted_to, record)
    save_model(best.graph, card, target)
    return Quantization(card, len(layout.layers), trials, target)


def _best_form(
    material: _Material, settings: QuantizeSettings, progress: Progress
) -> tuple[_Form, tuple[Trial, ...]]:
    """The first form that stays well within the bounds; failing that, the one that changes least,
    of those within the bounds where there are any.

    Well within is half as many labels changed as the bounds allow: other photos may bring more.
    """
    aim, best = settings.bounds.tightened(), None
    trials = []
    for kept in _choices(material, settings, progress):
        form = _form(material, settings, kept, progress)
        trials.append(form.trial)
        if best is None or _rank(form, settings.bounds) > _rank(best, settings.bounds):
            best = form
        if not broken_bounds(form.trial.parity, aim):
            best = form
            break
    assert best is not None
    return best, tuple(trials)


def _rank(form: _Form, bounds: Bounds) -> tuple[bool, float, float]:
    parity = form.trial.parity
    return (
        not broken_bounds(parity, bounds),
        min(found.agreement for found in parity.values()),
        min(found.accuracy_change for found in parity.values()),
    )


def _choices(
    material: _Material, settings: QuantizeSettings, progress: Progress
) -> Iterator[tuple[Layer, ...]]:
    """Which layers stay float: those asked for, then one more at a time; lazily."""
    kept = find_layers(material.layout.layers, dict.fromkeys(settings.keep))
    exact = settings.keep_count
    if not exact:
        yield kept
    if exact == 0:
        return
    ranked = rank_layers(
        material.layout,
        material.ranges,
        material.photos[:_TRIAL_PHOTOS],
        material.before.temperatures,
        bits=settings.weight_bits,
        kept=kept,
        with_start=exact is None,
        threads=settings.threads,
        progress=progress,
    )
    for number, (further, _) in enumerate(islice(ranked, exact or MOST_STEPS), start=1):
        kept = (*kept, *further)
        if exact is None or number == exact:
            yield kept


def _form(
    material: _Material, settings: QuantizeSettings, kept: Sequence[Layer], progress: Progress
) -> _Form:
    nodes = [layer.node for layer in kept]
    graph = build_int8(material.layout, material.ranges, nodes, settings.weight_bits)
    content = bytes(graph.SerializeToString())
    engine = open_engine(DEFAULT_ENGINE, content, settings.threads)
    before = material.before
    model = Model(engine, before.card, content_hash(content), threads=before.threads)
    what = f"Measuring int8, {len(kept)} of {len(material.layout.layers)} layers in float"
    evaluation = _evaluated(model, material.dataset, settings.split, what, progress)
    parity = measure_tasks(material.evaluation, evaluation)
    return _Form(graph, model, evaluation, Trial(tuple(layer.name for layer in kept), parity))


def _reference(model: Model | str | os.PathLike[str], threads: int) -> Model:
    """The float model on the engine that every machine has."""
    if isinstance(model, Model):
        if model.engine.name == DEFAULT_ENGINE:
            return model
        if model.path is None:
            raise ConfigError("only a model that was loaded from a file can become int8")
        model = model.path
    return Model.load(model, threads=threads, engine=DEFAULT_ENGINE)


def _float_file(model: Model, out: Path) -> Path:
    if model.path is None:
        raise ConfigError("only a model that was loaded from a file can become int8")
    if out.resolve() == model.path.resolve():
        raise ConfigError(f"--out {out}: give another file than the model's own")
    if os.path.isdir(out) or not os.path.isdir(out.parent):
        raise ConfigError(f"--out {out}: give a file in a folder that exists and can be read")
    if model.card.quantization is not None:
        raise ModelError(
            f"{model.path}: int8 already; give the float file that it came from "
            f"(SHA-256 {model.card.quantization.float_sha256[:12]}...)"
        )
    return model.path


def _check_keep(layout: Layout, settings: QuantizeSettings) -> None:
    named = find_layers(layout.layers, dict.fromkeys(settings.keep))
    if settings.keep_count is not None and settings.keep_count > len(layout.layers) - len(named):
        raise ConfigError(
            f"{settings.keep_count} layers cannot stay float: the model has {len(layout.layers)}, "
            f"of which {len(named)} are named"
        )


def _refuse_test(dataset: Dataset, *splits: str) -> None:
    if "all" in splits and "test" in dataset.splits:
        raise SplitError(
            f"{dataset.root}: 'all' takes the photos of split 'test', too, and photos that decide "
            "or that int8 is fitted to are no test any more; use --split val (and "
            "--calibrate-on train or val), or leave the test photos out"
        )


def _usual_split(dataset: Dataset, split: str) -> str:
    return "train" if "train" in dataset.splits and split != "all" else split


def _parsed(content: bytes, model: Model) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{model.path}: onnx cannot read it: {str(error)[:300]}") from error


def _evaluated(
    model: Model, dataset: Dataset, split: str, what: str, progress: Progress
) -> Evaluation:
    def told(samples: Sequence[Sample]) -> Iterable[Sample]:
        for number, sample in enumerate(samples):
            progress(what, number, len(samples))
            yield sample
        progress(what, len(samples), len(samples))

    return evaluate(model, dataset, split, progress=told)


def _check_photos(evaluation: Evaluation, model: Model) -> None:
    unlabelled = [task.name for task in model.tasks if task.name not in evaluation.tasks]
    if unlabelled:
        raise DatasetError(
            f"{evaluation.data}: no photo of split {evaluation.split!r} has a label for "
            f"{', '.join(unlabelled)}; int8 is compared on labelled photos of every task"
        )
    learned = len(evaluation.leak.learned)
    if learned > LEAK_LIMIT * evaluation.n:
        raise SplitError(
            f"{evaluation.data}: the model was trained on {learned} of the {evaluation.n} photos "
            f"of split {evaluation.split!r}, of which it is too sure for them to show what int8 "
            "changes; give photos that it has not learned"
        )
