from __future__ import annotations

from pathlib import Path

import pytest

from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import DatasetError
from beltsight.image import decode
from beltsight.line.settings import DEFAULT_LINE, load_line
from beltsight.line.simulate.crops import CropBook
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.line.simulate.stock import DEMO_PHOTOS

BELT = {
    "simulation.length_m": 6, "simulation.items.rate_per_s": 10, "simulation.lead_in_mm": 800,
    "simulation.belt.loop_m": 3, "simulation.items.dirty": 0.5, "simulation.items.touching": 0.3,
    "model.threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Play, int]:
    """What a line saw of the demo's items, as a data set; the run, and how many crops it says."""
    folder = tmp_path_factory.mktemp("crops")
    overrides = {"store.url": str(folder / "line.db"), **BELT}
    photos = load_dataset(DEMO_PHOTOS)
    book = CropBook(folder / "crops", photos)
    settings = load_line(DEFAULT_LINE, overrides)
    play = Play(settings, PlaySettings(4.0), samples=photos.samples, crops=book)
    play.run()
    count = book.write(play.matched())
    return load_dataset(book.labels_file), play, count


def test_each_crop_has_the_classes_of_the_item_that_lay_there(
    made: tuple[Dataset, Play, int],
) -> None:
    dataset, play, count = made
    assert len(dataset.samples) == count >= 10
    truth = {item.item_id: item for item in play.simulation.belt.truth.between(0, 10_000)}
    for sample in dataset.samples:
        item = truth[int(sample.path.stem)]
        assert {task: sample.labels[task] for task in item.labels} == dict(item.labels)
        assert item.source.endswith(str(sample.group))
        clean = sample.labels["contamination"] == "clean"
        assert (sample.labels.get("dirt") == "none") == clean
    assert len({sample.labels["contamination"] for sample in dataset.samples}) >= 2


def test_items_that_touch_are_left_out(made: tuple[Dataset, Play, int]) -> None:
    dataset, play, _ = made
    kept = {int(sample.path.stem) for sample in dataset.samples}
    items = [one.item for one in play.matched() if one.counted]
    assert any(item.touching for item in items)
    assert not kept & {item.item_id for item in items if item.touching}


def test_a_crop_is_as_large_as_the_item_on_the_belt(made: tuple[Dataset, Play, int]) -> None:
    dataset, play, _ = made
    view = play.opened.settings.view
    for one in play.matched():
        path = dataset.root / "crops" / f"{one.item.item_id:06d}.jpg"
        if path.exists():
            longest_mm = max(decode(path).shape[:2]) / view.width_px * view.width_mm
            extent_mm = max(one.item.along_mm, one.item.across_mm)
            assert 0.9 * extent_mm < longest_mm < 1.5 * extent_mm + 15


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DatasetError, match="not an empty folder"):
        CropBook(tmp_path, load_dataset(DEMO_PHOTOS))
    with pytest.raises(DatasetError, match="not an empty folder"):
        CropBook(tmp_path / "mine.txt", load_dataset(DEMO_PHOTOS))
