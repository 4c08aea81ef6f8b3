from __future__ import annotations

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.cli.program import beltsight as command

import beltsight
from beltsight.dataset.soil import SoilOptions, mask_name, soil_dataset
from beltsight.dataset.soil_checks import check_levels
from beltsight.errors import ConfigError, DatasetError, TaxonomyError
from beltsight.records import Photo
from beltsight.scene import load_dirt_settings
from beltsight.taxonomy import load_taxonomy

CLASSES = {"glass": (60, 140, 90), "metal": (110, 110, 125)}


def make_item(colour: tuple[int, int, int], rng: np.random.Generator) -> Photo:
    """An ellipse on a bright ground; uint8 (96, 128, 3) RGB."""
    photo = np.full((96, 128, 3), 225, np.uint8)
    middle = (int(rng.integers(50, 78)), int(rng.integers(40, 56)))
    cv2.ellipse(photo, middle, (30, 22), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name, colour in CLASSES.items():
            folder = tmp_path / "items" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                photo = make_item(colour, rng)
                cv2.imwrite(str(folder / f"{number}.png"), photo[:, :, ::-1])
    return tmp_path / "items"


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_an_ordinary_data_set(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "soiled"
    options = SoilOptions(copies=3, masks=True, originals=True)
    done = soil_dataset(beltsight.load_dataset(items), out, options)
    again = beltsight.load_dataset(out)
    assert done.n_photos == len(again.samples) == 12 * 4
    assert [task.name for task in again.tasks] == ["material", "contamination", "dirt"]
    assert again.task("contamination").classes == ("clean", "partly", "heavily")
    assert {s: len(again.select(s).samples) for s in again.splits} == {"train": 32, "val": 16}
    assert sum(done.levels.values()) == 36
    rows = read_rows(out)
    assert {row["group"] for row in rows} == {row["source"] for row in rows}
    for row in rows:
        source = next(
            s for s in beltsight.load_dataset(items).samples if row["source"] in str(s.path)
        )
        assert row["split"] == source.split and row["material"] == source.labels["material"]
        if not row["share"]:  # an original
            assert (out / row["path"]).read_bytes() == source.path.read_bytes()
            # Nobody said that it is clean, and it alone has the camera's own traces.
            assert (row["contamination"], row["dirt"]) == ("", "")


def test_share_level_and_mask_agree(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "soiled"
    options = SoilOptions(copies=4, masks=True)
    soil_dataset(beltsight.load_dataset(items), out, options)
    rows = read_rows(out)
    assert len(rows) == 48
    for row in rows:
        share = float(row["share"])
        level = "clean" if share < 0.05 else "partly" if share < 0.3 else "heavily"
        assert row["contamination"] == level
        assert row["mask"] == mask_name(row["path"])
        mask = cv2.imread(str(out / row["mask"]), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        item_pixels = np.pi * 30 * 22
        assert (mask > 127).sum() == pytest.approx(share * item_pixels, rel=0.25, abs=25)
    assert {row["contamination"] for row in rows} == {"clean", "partly", "heavily"}


def test_same_seed_same_folder_whatever_the_threads(
    items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = beltsight.load_dataset(items)
    contents = []
    for name, seed, cores in (("a", 1, 1), ("b", 1, 4), ("c", 2, 2)):
        monkeypatch.setattr("beltsight.dataset.soil.usable_cores", lambda cores=cores: cores)
        out = tmp_path / name
        soil_dataset(dataset, out, SoilOptions(seed=seed, masks=True))
        files = sorted(file for file in out.rglob("*") if file.is_file())
        contents.append({str(file.relative_to(out)): file.read_bytes() for file in files})
    assert len(contents[0]) > 2 * 12  # photos, masks, labels and the plan
    assert contents[0] == contents[1] != contents[2]


def test_interrupted_work_goes_on_to_the_same_end(items: Path, tmp_path: Path) -> None:
    dataset = beltsight.load_dataset(items)
    soil_dataset(dataset, tmp_path / "whole")

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "soiling" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soil_dataset(dataset, tmp_path / "parts", progress=stop)
    with (tmp_path / "parts" / "rows.part.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"path": "images/cut')  # as a kill leaves it
    seen: list[int] = []
    soil_dataset(dataset, tmp_path / "parts", progress=lambda *step: seen.append(step[1]))
    assert seen[24] == 8  # after 12 digests and 12 looks for items: seven photos were kept
    assert read_rows(tmp_path / "parts") == read_rows(tmp_path / "whole")


def test_work_on_photos_that_have_changed_does_not_go_on(items: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "soiling":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "x", progress=stop)
    shutil.copyfile(items / "val/glass/0.png", items / "val/glass/1.png")  # the name stays
    with pytest.raises(DatasetError, match="other photos, settings or another version"):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "x")


def test_other_levels_than_those_of_simulated_dirt_are_named(tmp_path: Path) -> None:
    taxonomy = tmp_path / "levels.toml"
    shown = 'name = "x"\ncolour = "#000000"\n'
    levels = [
        f"[tasks.contamination.classes.{name}]\n{shown}" for name in ("low", "medium", "high")
    ]
    head = "[tasks.material]\nopen = true\n[tasks.contamination]\nordered = true\n"
    taxonomy.write_text(head + "".join(levels), encoding="utf-8")
    rng = np.random.default_rng(4)
    for number, name in enumerate(CLASSES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_item(CLASSES[name], rng)[:, :, ::-1])
    rows = "path,material,contamination\n0.png,glass,low\n1.png,metal,low\n"
    (tmp_path / "labels.csv").write_text(rows, encoding="utf-8")
    dataset = beltsight.load_dataset(tmp_path / "labels.csv", taxonomy=load_taxonomy(taxonomy))
    said = "contamination are low, medium, high, those of simulated dirt clean, partly, heavily"
    with pytest.raises(TaxonomyError, match=said):
        soil_dataset(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # Items without a label of it would be given levels that the taxonomy does not know.
    (tmp_path / "labels.csv").write_text(rows.replace(",low", ""), encoding="utf-8")
    call = ("soil", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "out"))
    done = command(*call, "--taxonomy", str(taxonomy))
    assert done.status == 1 and "low, medium, high" in done.err
    with pytest.raises(TaxonomyError):
        check_levels(("clean", "partly"), "here")
    check_levels(("heavily", "clean"), "here", all_needed=False)


def test_real_labels_go_before_simulated_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lines = ["path,material,contamination"]
    for number, (name, level) in enumerate(
        [("glass", "heavily"), ("glass", ""), ("metal", "clean"), ("metal", "")]
    ):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_item(CLASSES[name], rng)[:, :, ::-1])
        lines.append(f"{number}.png,{name},{level}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = beltsight.load_dataset(tmp_path / "labels.csv")
    for originals in (False, True):
        out = tmp_path / f"soiled-{originals}"
        done = soil_dataset(dataset, out, SoilOptions(originals=originals))
        rows = {row["path"]: row for row in read_rows(out)}
        dirty = rows["images/0.png"]
        assert (dirty["contamination"], dirty["dirt"]) == ("heavily", "")
        assert (out / "images/0.png").read_bytes() == (tmp_path / "0.png").read_bytes()
        assert not any(row["source"] == "0.png" and row["share"] for row in rows.values())
        assert done.usable == {"glass": (1, 2), "metal": (2, 2)}
        kept = {path: row["contamination"] for path, row in rows.items() if not row["share"]}
        others = {"images/1.png": "", "images/2.png": "clean", "images/3.png": ""}
        assert kept == {"images/0.png": "heavily"} | (others if originals else {})
        assert done.n_photos == len(rows) == 12 + len(kept)


def test_made_photos_alone_are_called_clean(items: Path, tmp_path: Path) -> None:
    soil_dataset(beltsight.load_dataset(items), tmp_path / "x")
    rows = read_rows(tmp_path / "x")
    assert len(rows) == 36 and all(row["share"] for row in rows)
    assert {row["path"][-6:] for row in rows} == {".0.jpg", ".1.jpg", ".2.jpg"}


def test_a_class_without_trusted_items_can_keep_its_originals(items: Path, tmp_path: Path) -> None:
    for photo in (items / "train" / "metal").iterdir():
        cv2.imwrite(str(photo), np.full((96, 128, 3), 200, np.uint8))
    options = SoilOptions(copies=2, originals=True)
    done = soil_dataset(beltsight.load_dataset(items), tmp_path / "x", options)
    assert done.usable["metal, train"] == (0, 4)
    rows = read_rows(tmp_path / "x")
    assert sum(row["material"] == "metal" and row["split"] == "train" for row in rows) == 4


def test_work_that_cannot_be_done_is_said(items: Path, tmp_path: Path) -> None:
    dataset = beltsight.load_dataset(items)
    with pytest.raises(ConfigError, match="copies must be 1 to 1000, got 0"):
        SoilOptions(copies=0)
    with pytest.raises(ConfigError, match="seed must be 0 or more, got -1"):
        SoilOptions(seed=-1)
    with pytest.raises(ConfigError, match="gresae"):
        soil_dataset(dataset, tmp_path / "a", SoilOptions(kinds=("gresae",)))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DatasetError, match="not empty"):
        soil_dataset(dataset, tmp_path / "b")
    soil_dataset(dataset, tmp_path / "c", SoilOptions(copies=1))
    with pytest.raises(DatasetError, match="holds a data set already"):
        soil_dataset(dataset, tmp_path / "c", SoilOptions(copies=1))
    (tmp_path / "c" / "labels.csv").unlink()
    with pytest.raises(DatasetError, match="other photos, settings"):
        soil_dataset(dataset, tmp_path / "c", SoilOptions(copies=2))
    for photo in items.rglob("*.png"):
        cv2.imwrite(str(photo), np.full((96, 128, 3), 200, np.uint8))
    with pytest.raises(DatasetError, match="nothing to soil"):
        soil_dataset(beltsight.load_dataset(items), tmp_path / "d")


def test_a_kind_that_cannot_be_drawn_is_said_before_the_folder_is_begun(
    items: Path, tmp_path: Path
) -> None:
    dataset, out = beltsight.load_dataset(items), tmp_path / "soiled"
    known = load_dirt_settings()
    never = known.kinds["grease"].model_copy(update={"weight": 0})
    settings = known.model_copy(update={"kinds": {**known.kinds, "grease": never}})
    for name, said in (("gresae", "did you mean 'grease'"), ("grease", "grease have no weight")):
        with pytest.raises(ConfigError, match=said):
            soil_dataset(dataset, out, SoilOptions(kinds=(name,)), settings=settings)
        assert not out.exists()
    done = soil_dataset(dataset, out, SoilOptions(copies=1, kinds=("grease",)))
    assert done.n_photos == 12


def test_made_photos_are_counted_by_material_whatever_the_order_of_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = ["path,contamination,material"]
    for number, name in enumerate(("glass", "glass", "metal")):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_item(CLASSES[name], rng)[:, :, ::-1])
        lines.append(f"{number}.png,clean,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = beltsight.load_dataset(tmp_path / "labels.csv")
    assert soil_dataset(dataset, tmp_path / "x").usable == {"glass": (2, 2), "metal": (1, 1)}


def test_photos_that_do_not_decode_are_listed(items: Path, tmp_path: Path) -> None:
    (items / "train" / "glass" / "0.png").write_bytes(b"no photo")
    done = soil_dataset(beltsight.load_dataset(items), tmp_path / "x", SoilOptions(copies=1))
    assert len(done.unreadable) == 1 and "0.png" in done.unreadable[0]
    # A photo more of each of the three others of its class; the unreadable one counts for none.
    assert done.n_photos == 11
