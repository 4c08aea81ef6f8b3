"""Masks go with their photos through preparation, augmentation and a training run."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tests.train.tiny_settings import tiny

import beltsight
from beltsight.errors import BeltsightError, ConfigError, DatasetError, ResumeError
from beltsight.train import photos
from beltsight.train.augment import STRENGTHS, make_augmentation
from beltsight.train.loop import BatchDone, Event
from beltsight.train.loss import place_loss
from beltsight.train.photos import prepare_photos
from beltsight.train.run import load_network, run_training

GREY = (128, 128, 128)
LEARN_ALL = {"learn": "all", "epochs": 2, "learning_rate": 0.01}


def spotted(seed: int, dirty: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A pale photo (48, 64, 3) and its mask: where it is dirty it is nearly black."""
    rng = np.random.default_rng(seed)
    photo = rng.integers(190, 230, (48, 64, 3)).astype(np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    if dirty:
        x, y = (int(value) for value in rng.integers(8, 24, 2))
        mask[y : y + 16, x : x + 24] = 255
        photo[mask > 0] = 12
    return photo, mask


@pytest.fixture
def soiled(tmp_path: Path) -> Path:
    """Clean and dirty photos with masks, two without."""
    rows = [("path", "contamination", "split", "mask")]
    for number in range(20):
        photo, mask = spotted(number, dirty=number % 2 == 1)
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
        cv2.imwrite(str(tmp_path / f"{number}-mask.png"), mask)
        name = "" if number in {4, 5} else f"{number}-mask.png"
        split = "val" if number >= 16 else "train"
        rows.append((f"{number}.png", ("clean", "heavily")[number % 2], split, name))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def test_a_csv_names_masks(soiled: Path) -> None:
    samples = beltsight.load_dataset(soiled).samples
    named = {sample.path.name: sample.mask for sample in samples}
    assert named["4.png"] is None
    assert named["3.png"] == soiled / "3-mask.png"


def test_a_mask_outside_the_folder_is_refused(soiled: Path) -> None:
    text = (soiled / "labels.csv").read_text()
    (soiled / "labels.csv").write_text(text.replace("3-mask.png", "../3-mask.png"))
    with pytest.raises(DatasetError, match="leaves the CSV's folder"):
        beltsight.load_dataset(soiled)


def test_masks_are_letterboxed_as_their_photos(soiled: Path, tmp_path: Path) -> None:
    dataset = beltsight.load_dataset(soiled)
    settings = tiny(image_size=32)
    photos = prepare_photos(
        dataset.samples, dataset.tasks, settings.preparation, tmp_path / "x", masks=True
    )
    masks = photos.known_masks()
    assert masks is not None and masks.shape == (20, 32, 32)
    for sample, pixels, mask in zip(photos.samples, photos.pixels(), masks, strict=True):
        if sample.mask is None:
            assert not mask.any()
            continue
        assert mask.min() == 1  # known everywhere, also where the letterbox adds
        dark = pixels.max(axis=2) < 60
        assert ((mask > 128) == dark).mean() > 0.97
        assert dark.any() == (sample.labels["contamination"] == "heavily")


def test_masks_are_prepared_as_photos_are_and_counted(
    soiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = beltsight.load_dataset(soiled)
    (soiled / "0.png").write_bytes(b"no picture")
    preparation, told, threads = tiny(image_size=32).preparation, [], set()
    honest = photos._prepare_mask

    def note(*given: Any, **named: Any) -> NDArray[np.uint8]:
        threads.add(threading.get_ident())
        return honest(*given, **named)

    monkeypatch.setattr(photos, "_prepare_mask", note)
    monkeypatch.setattr(photos, "usable_cores", lambda: 2)
    prepared = prepare_photos(
        dataset.samples, dataset.tasks, preparation, tmp_path / "x",
        masks=True, skip_unreadable=True, progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    masks = prepared.known_masks()
    assert masks is not None and len(masks) == 19
    for sample, mask in zip(prepared.samples, masks, strict=True):
        np.testing.assert_array_equal(mask, honest(sample, preparation))
    assert threading.get_ident() not in threads
    # 20 photos, then 19 masks: what belongs to no photo that can be read needs no time.
    assert told == [(n, 40) for n in (*range(1, 21), *range(22, 41))]


def test_a_run_counts_masks_among_what_it_prepares(soiled: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(
            soiled, tmp_path / "x", tiny(stages=(LEARN_ALL,), mask_weight=1.0), watch=stop,
            preparing=lambda done, total: told.append((done, total)),
        )  # fmt: skip
    assert told == [(n, 36) for n in range(1, 37)]  # 16 photos, their masks, 4 to validate on


def test_a_mask_of_another_size_is_refused(soiled: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(soiled / "3-mask.png"), np.zeros((47, 64), np.uint8))
    dataset = beltsight.load_dataset(soiled)
    with pytest.raises(DatasetError, match=r"3-mask\.png: 64 x 47 pixels.*has 64 x 48"):
        prepare_photos(
            dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "x", masks=True
        )


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_mask_is_named_with_its_photo(
    content: bytes, soiled: Path, tmp_path: Path
) -> None:
    (soiled / "3-mask.png").write_bytes(content)
    dataset = beltsight.load_dataset(soiled)
    with pytest.raises(DatasetError, match=r"mask of .*3\.png: .*3-mask\.png"):
        prepare_photos(
            dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "x", masks=True
        )


@pytest.mark.parametrize("strength", sorted(STRENGTHS))
def test_a_mask_moves_with_its_photo(strength: str) -> None:
    photo, mask = spotted(3, dirty=True)
    square = np.full((64, 64, 4), (*GREY, 1), np.uint8)
    square[8:56, :, :3], square[8:56, :, 3] = photo, np.maximum(mask, 1)
    augment = make_augmentation(strength, GREY)
    assert augment is not None
    picture = torch.from_numpy(square).permute(2, 0, 1)
    agreements = []
    for seed in range(40):
        torch.manual_seed(seed)
        both = augment(picture).permute(1, 2, 0).numpy()
        torch.manual_seed(seed)
        alone = augment(picture[:3]).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(both[:, :, :3], alone)  # a mask changes no draw
        dark, dirt = both[:, :, :3].max(axis=2) < 100, both[:, :, 3]
        known = dirt > 0
        assert known.mean() > 0.4
        agreements.append(((dirt > 128) == dark)[known].mean())
    assert np.mean(agreements) > 0.93


def test_the_loss_of_places_is_cross_entropy_of_what_is_known() -> None:
    masks = torch.ones(1, 4, 4, dtype=torch.uint8)  # clean
    masks[0, :2, :2] = 255  # one place wholly dirty
    masks[0, :2, 2:] = 0  # nobody knows
    masks[0, 2:, 2:] = torch.tensor([[255, 1], [0, 0]])  # half known, of which half dirty
    logits = torch.tensor([[[1.0, 9.0], [-2.0, 0.5]]])
    sigmoid = torch.sigmoid(logits[0])
    dirty, clean = -torch.log(sigmoid[0, 0]), -torch.log(1 - sigmoid[1, 0])
    half = -0.5 * torch.log(sigmoid[1, 1]) - 0.5 * torch.log(1 - sigmoid[1, 1])
    expected = (dirty + clean + 0.5 * half) / 2.5
    assert float(place_loss(logits, masks)) == pytest.approx(float(expected), rel=1e-5)


def test_where_nothing_is_known_nothing_is_learned() -> None:
    logits = torch.randn(2, 3, 3, requires_grad=True)
    loss = place_loss(logits, torch.zeros(2, 9, 9, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad is not None and not logits.grad.any()


def test_a_run_learns_where_dirt_lies_and_its_file_says_it(soiled: Path, tmp_path: Path) -> None:
    stages = (LEARN_ALL,)
    plain = run_training(soiled, tmp_path / "plain", tiny(stages=stages))
    masked = run_training(soiled, tmp_path / "masked", tiny(stages=stages, mask_weight=2.0))
    weights = load_file(tmp_path / "masked" / "best.safetensors")
    assert any(name.startswith("places.") for name in weights)
    unmasked = load_file(tmp_path / "plain" / "best.safetensors")
    assert not any(name.startswith("places.") for name in unmasked)
    # The further loss adds to the first step's, and so to the epoch's.
    assert masked.history[0].train_loss > plain.history[0].train_loss
    names = [{o.name for o in onnx.load(run.model).graph.output} for run in (plain, masked)]
    assert names[1] - names[0] == {"contamination_places"} and names[0] < names[1]
    assert not any(task.places for task in plain.card.tasks)
    assert {t.name for t in masked.card.tasks if t.places} == {"contamination"}
    photo = soiled / "3.png"
    model = beltsight.load(masked.model)
    (prediction,) = model.predict([photo], explain=True)
    network = load_network(masked.folder)
    with torch.no_grad():
        _, places = network.answers(torch.from_numpy(model.prepare(photo)[None]))
    assert places is not None
    np.testing.assert_allclose(prediction.places["contamination"], places[0].numpy(), atol=1e-4)


def test_an_interrupted_run_with_masks_goes_on_to_the_same_end(
    soiled: Path, tmp_path: Path
) -> None:
    settings = tiny(stages=(LEARN_ALL,), mask_weight=1.0)
    whole = run_training(soiled, tmp_path / "whole", settings)

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone) and (event.epoch, event.batch) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(soiled, tmp_path / "cut", settings, watch=stop)
    resumed = run_training(soiled, tmp_path / "cut", settings, resume=True)
    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in whole.history]


def test_stages_that_keep_activations_go_without(soiled: Path, tmp_path: Path) -> None:
    stages = ({"learn": "heads", "epochs": 1, "learning_rate": 0.01, "views": 2}, LEARN_ALL)
    run = run_training(soiled, tmp_path / "x", tiny(stages=stages, mask_weight=1.0))
    assert len(run.history) == 3


def test_a_run_in_which_nothing_learns_from_masks_is_refused(soiled: Path, tmp_path: Path) -> None:
    stages = [
        {"learn": learn, "epochs": 1, "learning_rate": 0.01, "views": 1} for learn in ("heads", 1)
    ]
    with pytest.raises(ConfigError, match=r"every stage keeps activations.*'all'.*mask_weight = 0"):
        run_training(soiled, tmp_path / "x", tiny(stages=stages, mask_weight=1.0))


def test_a_run_does_not_go_on_with_other_masks(soiled: Path, tmp_path: Path) -> None:
    settings = tiny(stages=(LEARN_ALL,), mask_weight=1.0)

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(soiled, tmp_path / "x", settings, watch=stop)
    cv2.imwrite(str(soiled / "3-mask.png"), np.full((48, 64), 255, np.uint8))
    with pytest.raises(ResumeError, match="other settings or other data"):
        run_training(soiled, tmp_path / "x", settings, resume=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mask_weight": 1.0, "mix": 0.2}, "blends of photos have no mask"),
        ({"mask_weight": -1.0}, "mask_weight"),
    ],
)
def test_impossible_settings(changes: dict[str, float], expected: str) -> None:
    with pytest.raises((BeltsightError, ValueError), match=expected):
        tiny(**changes)


def test_without_masks_it_says_where_they_come_from(soiled: Path, tmp_path: Path) -> None:
    lines = (soiled / "labels.csv").read_text().splitlines()
    bare = "\n".join(line.rsplit(",", 1)[0] for line in lines)
    (soiled / "labels.csv").write_text(bare + "\n")
    with pytest.raises(ConfigError, match="soil --masks"):
        run_training(soiled, tmp_path / "x", tiny(mask_weight=1.0))
