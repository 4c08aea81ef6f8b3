"""Learning from cached activations is learning from the photos, and costs only what learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight.train.activations import CachePlanned, CacheProgress
from beltsight.train.feed import CACHE_FOLDER, CachedFeed, Feeds, PhotoFeed
from beltsight.train.loop import BatchDone, Event
from beltsight.train.network import Network
from beltsight.train.photos import PreparedPhotos
from beltsight.train.precision import Precision
from beltsight.train.run import Run, run_training
from beltsight.train.settings import TrainSettings

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


@pytest.fixture
def network(prepared: PreparedPhotos) -> Network:
    from beltsight.records import TaskSpec
    from beltsight.train.network import build_network

    torch.manual_seed(0)
    tasks = (TaskSpec("material", prepared.classes[0]),)
    return build_network(tiny(), tasks, pretrained=False)


def open_feeds(photos: PreparedPhotos, settings: TrainSettings, folder: Path) -> Feeds:
    precision = Precision(torch.device("cpu"), False)
    return Feeds(photos, photos, settings, folder, precision, lambda _: None)
