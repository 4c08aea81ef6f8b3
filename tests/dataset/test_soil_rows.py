"""What the rows of a soiled data set say of the photos they come from: groups, masks, names."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.dataset.scenes import put
from tests.dataset.test_soil import CLASSES, make_item, read_rows

import beltsight
from beltsight.dataset.soil import SoilOptions, soil_dataset
from beltsight.dataset.split import make_splits, write_splits
from beltsight.errors import DatasetError

ONE = SoilOptions(copies=1, originals=True)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Three photos of glass and three of metal."""
    rng = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (tmp_path / "items" / name).mkdir(parents=True)
        for number in range(3):
            photo = make_item(colour, rng)
            cv2.imwrite(str(tmp_path / "items" / name / f"{number}.png"), photo[:, :, ::-1])
    return tmp_path / "items"


def groups(folder: Path) -> dict[str, str]:
    """The group per source, which all of its photos share."""
    rows = read_rows(folder)
    found = {row["source"]: row["group"] for row in rows}
    assert all(row["group"] == found[row["source"]] for row in rows)
    return found


def test_copies_of_a_photo_are_one_group(items: Path, tmp_path: Path) -> None:
    put(items / "metal/copy.png", (items / "glass/1.png").read_bytes())
    soil_dataset(beltsight.load_dataset(items), tmp_path / "x", ONE)
    found = groups(tmp_path / "x")
    assert found.pop("metal/copy.png") == "glass/1.png"
    assert len(found) == 6 and all(source == group for source, group in found.items())


def test_copies_join_the_groups_that_are_there(items: Path, tmp_path: Path) -> None:
    put(items / "metal/copy.png", (items / "glass/1.png").read_bytes())
    rows = [
        "glass/0.png,glass,", "glass/1.png,glass,bottle", "glass/2.png,glass,bottle",
        "metal/0.png,metal,can", "metal/1.png,metal,", "metal/2.png,metal,tin",
        "metal/copy.png,metal,can",
        # Photos that cannot be read are no copies of each other.
        "glass/gone.png,glass,tin", "metal/gone.png,metal,bottle",
    ]  # fmt: skip
    put(items / "labels.csv", "\n".join(["path,material,group", *rows]).encode())
    soil_dataset(beltsight.load_dataset(items), tmp_path / "x", ONE)
    assert groups(tmp_path / "x") == {
        "glass/0.png": "glass/0.png", "glass/1.png": "bottle", "glass/2.png": "bottle",
        "metal/0.png": "bottle", "metal/1.png": "metal/1.png", "metal/2.png": "tin",
        "metal/copy.png": "bottle",
    }  # fmt: skip


def with_real_dirt(items: Path) -> bytes:
    """Say that glass/0 is dirty, and where; the content of its mask."""
    mask = cv2.imencode(".png", np.full((96, 128), 255, np.uint8))[1].tobytes()
    put(items / "where/dirt of glass.PNG", mask)
    rows = ["path,material,contamination,mask"]
    for name in CLASSES:
        for number in range(3):
            dirty = (name, number) == ("glass", 0)
            said = "heavily,where/dirt of glass.PNG" if dirty else ","
            rows.append(f"{name}/{number}.png,{name},{said}")
    put(items / "labels.csv", "\n".join(rows).encode())
    return mask


def test_masks_of_real_dirt_come_along(items: Path, tmp_path: Path) -> None:
    mask, out = with_real_dirt(items), tmp_path / "x"
    soil_dataset(beltsight.load_dataset(items), out, SoilOptions(copies=1))
    rows = {row["path"]: row for row in read_rows(out)}
    assert len(rows) == 7 and sum(bool(row["mask"]) for row in rows.values()) == 1
    assert (out / rows["images/glass/0.png"]["mask"]).read_bytes() == mask
    sample = beltsight.load_dataset(out).samples[0]
    assert sample.mask is not None and sample.mask.read_bytes() == mask


def test_a_mask_that_cannot_be_copied_is_said_before_the_work(items: Path, tmp_path: Path) -> None:
    with_real_dirt(items)
    (items / "where/dirt of glass.PNG").unlink()
    with pytest.raises(DatasetError, match=r"mask of glass/0\.png: .*dirt of glass\.PNG"):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "x", SoilOptions(copies=1))
    assert not (tmp_path / "x").exists()


def test_masks_outlive_a_split(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    soil_dataset(beltsight.load_dataset(items), out, SoilOptions(copies=2, masks=True))
    before = beltsight.load_dataset(out)
    write_splits(make_splits(before, val=0.3, test=0, near=False).dataset, out / "splits.csv")
    after = beltsight.load_dataset(out)
    assert after.splits == ("train", "val") and len(after.samples) == 12
    assert {s.path: s.mask for s in after.samples} == {s.path: s.mask for s in before.samples}
    assert all(s.mask is not None and s.mask.is_file() for s in after.samples)


def test_a_name_that_is_not_utf_8_is_refused_before_the_work(items: Path, tmp_path: Path) -> None:
    try:
        os.rename(items / "glass/0.png", os.fsencode(items) + b"/glass/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DatasetError, match=r"^glass/caf\\xe9\.png: .*rename the file"):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_no_draft_of_the_labels_is_left(
    items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("beltsight.dataset.soil_folder.csv.DictWriter", stop)
    with pytest.raises(KeyboardInterrupt):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "x", SoilOptions(copies=1))
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [
        "images", "rows.part.jsonl", "soil.json",
    ]  # fmt: skip


def test_a_made_photo_never_takes_the_place_of_one_that_is_kept(
    items: Path, tmp_path: Path
) -> None:
    once, again = tmp_path / "once", tmp_path / "again"
    soil_dataset(beltsight.load_dataset(items), once, ONE)
    said = r"images/glass/0\.png\.0\.jpg is kept.* soil the photos as they were"
    with pytest.raises(DatasetError, match=said):
        soil_dataset(beltsight.load_dataset(once), again, ONE)
    assert not again.exists()
    # The made ones alone are in nobody's way.
    soil_dataset(beltsight.load_dataset(items), tmp_path / "made", SoilOptions(copies=1))
    soil_dataset(beltsight.load_dataset(tmp_path / "made"), again, ONE)
    paths = [row["path"] for row in read_rows(again)]
    assert len(set(paths)) == len(paths) > 6


def test_a_photo_too_small_for_an_item_is_kept(items: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(items / "glass/tiny.png"), np.full((6, 9, 3), 90, np.uint8))
    done = soil_dataset(beltsight.load_dataset(items), tmp_path / "x", ONE)
    assert done.unreadable == () and done.usable["glass"] == (3, 4)
    assert "images/glass/tiny.png" in {row["path"] for row in read_rows(tmp_path / "x")}
