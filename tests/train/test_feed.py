"""Learning from cached activations is learning from the photos, and costs only what learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight.train import feed as feed_module
from beltsight.train.activations import CachePlanned, CacheProgress, Trunk
from beltsight.train.feed import CACHE_FOLDER, NOTES_FILE, CachedFeed, Feeds, PhotoFeed
from beltsight.train.loop import BatchDone, Event
from beltsight.train.network import Network
from beltsight.train.photos import PreparedPhotos
from beltsight.train.precision import Precision
from beltsight.train.run import Run, run_training
from beltsight.train.settings import TrainSettings
from beltsight.train.trunk_engine import choose_trunk

STAGES = (
    {"learn": "heads", "epochs": 2, "learning_rate": 0.01, "views": 2},
    {"learn": 1, "epochs": 3, "learning_rate": 0.01, "views": 2},
)


def losses(run: Run) -> list[tuple[float, float]]:
    return [(row.train_loss, row.val_loss) for row in run.history]


def test_cached_and_plain_training_agree(photoset: Path, tmp_path: Path) -> None:
    cached = run_training(photoset, tmp_path / "cached", tiny(stages=STAGES))
    plain = run_training(photoset, tmp_path / "plain", tiny(stages=STAGES, cache="never"))
    # Float16 keeps eleven bits of an activation.
    np.testing.assert_allclose(losses(cached), losses(plain), rtol=5e-3)
    ends = [load_file(run.folder / "best.safetensors") for run in (cached, plain)]
    for name, tensor in ends[0].items():  # Adam turns rounding of tiny gradients into steps
        assert float((tensor - ends[1][name]).abs().float().mean()) < 2e-3


def test_frozen_layers_stay_bit_for_bit(photoset: Path, tmp_path: Path) -> None:
    stages = ({"learn": "heads", "epochs": 1, "learning_rate": 0.01, "views": 1}, STAGES[1])
    run = run_training(photoset, tmp_path / "x", tiny(stages=stages))
    first = run_training(photoset, tmp_path / "y", tiny(stages=stages[:1]))
    end, start = (load_file(each.folder / "best.safetensors") for each in (run, first))
    frozen = [name for name in end if name.startswith(("backbone.conv1", "backbone.layer1"))]
    assert frozen and all(torch.equal(end[name], start[name]) for name in frozen)
    learned = [name for name in end if name.startswith("backbone.layer4")]
    assert not all(torch.equal(end[name], start[name]) for name in learned)


def test_the_photos_go_through_the_first_layers_once(photoset: Path, tmp_path: Path) -> None:
    plans: list[CachePlanned] = []

    def note(event: Event) -> None:
        if isinstance(event, CachePlanned):
            plans.append(event)

    run_training(photoset, tmp_path / "x", tiny(stages=STAGES), watch=note)
    assert [plan.rows for plan in plans] == [2 * 54 + 18] * 2  # last stage's, then embeddings
    assert not (tmp_path / "x" / CACHE_FOLDER).exists()


def test_a_kept_cache_serves_the_next_run(photoset: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "kept")
    events: list[Event] = []
    for index, dropout in enumerate((0.0, 0.5, 0.5)):
        settings = tiny(stages=STAGES[1:], cache_folder=folder, dropout=dropout, seed=index // 2)
        run_training(photoset, tmp_path / str(index), settings, watch=events.append)
    plans = [event for event in events if isinstance(event, CachePlanned)]
    assert len(plans) == 2  # dropout comes after the trunk; another seed has other views


@pytest.mark.parametrize(
    "values",
    [{"image_size": 96}, {"augment": "none"}, {"precision": "bfloat16"}, {"fill": (0, 0, 0)}],
)
def test_no_stale_cache_is_used(photoset: Path, tmp_path: Path, values: dict[str, object]) -> None:
    plans: list[Event] = []
    for index, changed in enumerate(({}, values)):
        settings = tiny(stages=STAGES[1:], cache_folder=str(tmp_path / "kept"), **changed)
        run_training(photoset, tmp_path / str(index), settings, watch=plans.append)
    assert sum(isinstance(event, CachePlanned) for event in plans) == 2


def test_other_photos_have_another_cache(tmp_path: Path, photoset: Path) -> None:
    other = write_photoset(tmp_path / "other", seed=4)
    plans: list[Event] = []
    for index, data in enumerate((photoset, other)):
        settings = tiny(stages=STAGES[1:], cache_folder=str(tmp_path / "kept"))
        run_training(data, tmp_path / str(index), settings, watch=plans.append)
    assert sum(isinstance(event, CachePlanned) for event in plans) == 2


@pytest.mark.parametrize("moment", ["caching", "heads", "last"])
def test_an_interruption_anywhere_changes_nothing(
    photoset: Path, tmp_path: Path, moment: str
) -> None:
    settings = tiny(stages=STAGES, dropout=0.3)
    whole = run_training(photoset, tmp_path / "whole", settings)

    def stop(event: Event) -> None:
        match event:
            case CacheProgress() if moment == "caching" and event.done > 64:
                raise KeyboardInterrupt
            case BatchDone() if (event.epoch, event.batch) == {"heads": (2, 2), "last": (4, 1)}.get(
                moment
            ):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(photoset, tmp_path / "cut", settings, watch=stop)
    resumed = run_training(photoset, tmp_path / "cut", settings, resume=True)
    assert losses(resumed) == losses(whole)


def test_a_stage_that_learns_everything_runs_from_photos(
    prepared: PreparedPhotos, tmp_path: Path, network: Network
) -> None:
    stages = ({"learn": "all", "epochs": 1, "learning_rate": 0.01, "views": 2}, STAGES[1])
    settings = tiny(stages=stages)
    feeds = open_feeds(prepared, settings, tmp_path)
    assert isinstance(feeds.open(network, 0, frozenset()), PhotoFeed)
    assert isinstance(feeds.open(network, 1, frozenset()), CachedFeed)


def test_both_feeds_give_the_same_photos_in_the_same_order(
    prepared: PreparedPhotos, tmp_path: Path, network: Network
) -> None:
    answers = []
    for cache in ("auto", "never"):
        feeds = open_feeds(prepared, tiny(stages=STAGES[1:], cache=cache), tmp_path)
        feed = feeds.open(network, 0, frozenset())
        feed.order.epoch = 3
        with torch.no_grad():
            network.eval()
            parts = [(feed.logits(network, x)["material"], y) for x, y in feed.batches()]
            val = [feed.logits(network, x)["material"] for x in feed.validation()]
        answers.append((parts, val))
    for (a, labels_a), (b, labels_b) in zip(answers[0][0], answers[1][0], strict=True):
        assert torch.equal(labels_a, labels_b)
        torch.testing.assert_close(a, b, rtol=0.01, atol=0.01)
    torch.testing.assert_close(
        torch.cat(answers[0][1]), torch.cat(answers[1][1]), rtol=0.01, atol=0.01
    )


@pytest.mark.parametrize("values", [{"backbone_args": {"pad_type": "same"}}, {"backbone": "x"}])
def test_equal_weights_built_otherwise_have_another_cache(
    prepared: PreparedPhotos, tmp_path: Path, network: Network, values: dict[str, object]
) -> None:
    kept = tmp_path / "kept"
    for changed in ({}, values):
        settings = tiny(stages=STAGES[:1], cache_folder=str(kept), **changed)
        open_feeds(prepared, settings, tmp_path).open(network, 0, frozenset())
    assert len(list(kept.iterdir())) == 2


def test_the_same_photos_split_elsewhere_have_another_cache(
    prepared: PreparedPhotos, tmp_path: Path, network: Network
) -> None:
    settings = tiny(stages=({**STAGES[0], "views": 1},), cache_folder=str(tmp_path / "kept"))
    for border in (8, 6):
        train = part_of(prepared, slice(0, border), tmp_path / "train")
        val = part_of(prepared, slice(border, 10), tmp_path / "val")
        open_feeds(train, settings, tmp_path, val).open(network, 0, frozenset())
        # Else two photos that were learned from, and are augmented, would validate.
        assert len(list((tmp_path / "kept").iterdir())) == {8: 1, 6: 2}[border]


def test_a_resumed_run_takes_the_engine_it_had(
    prepared: PreparedPhotos, tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[str] = []

    def choose(*given: Any) -> Trunk:
        known.append(given[-1])
        return Named(choose_trunk(*given), "the faster one then")

    monkeypatch.setattr(feed_module, "choose_trunk", choose)
    float32, bfloat16 = (Precision(torch.device("cpu"), each) for each in (False, True))
    settings = tiny(stages=STAGES[:1])

    def start(precision: Precision) -> Feeds:
        feeds = Feeds(prepared, prepared, settings, tmp_path, precision, lambda _: None)
        feeds.open(network, 0, frozenset())
        return feeds

    for precision in (float32, float32, bfloat16, float32):
        feeds = start(precision)
    assert known == ["", "the faster one then", "", "the faster one then"]
    for damage in ("{", "[]", '{"x": 1}'):
        (tmp_path / NOTES_FILE).write_text(damage, encoding="utf-8")
        start(float32)
    assert known[4:] == [""] * 3
    feeds.close()
    assert not (tmp_path / NOTES_FILE).exists()


@dataclass
class Named:
    """A trunk under another name."""

    trunk: Trunk
    name: str

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.trunk(inputs)


def part_of(photos: PreparedPhotos, rows: slice, file: Path) -> PreparedPhotos:
    pixels = photos.pixels()[rows]
    file.write_bytes(pixels.tobytes())
    return replace(
        photos, file=file, shape=(len(pixels), *photos.shape[1:]), labels=photos.labels[rows],
        samples=photos.samples[rows], hashes=photos.hashes[rows],
    )  # fmt: skip


@pytest.fixture
def network(prepared: PreparedPhotos) -> Network:
    from beltsight.records import TaskSpec
    from beltsight.train.network import build_network

    torch.manual_seed(0)
    tasks = (TaskSpec("material", prepared.classes[0]),)
    return build_network(tiny(), tasks, pretrained=False)


def open_feeds(
    photos: PreparedPhotos,
    settings: TrainSettings,
    folder: Path,
    val: PreparedPhotos | None = None,
) -> Feeds:
    precision = Precision(torch.device("cpu"), False)
    return Feeds(photos, val or photos, settings, folder, precision, lambda _: None)
