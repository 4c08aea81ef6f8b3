from __future__ import annotations

import io
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.dataset.scenes import class_folders, jpeg, put, scene
from tests.tiny import write_tiny

from beltsight.dataset import load_dataset
from beltsight.dataset.health import HealthReport, check_health
from beltsight.dataset.scan import scan_photo, scan_photos
from beltsight.flow import ordered_map
from beltsight.model import Model


def png(photo: np.ndarray, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> HealthReport:
    """One of each: see the tests."""
    root = class_folders(tmp_path_factory.mktemp("sick"), {"glass": 12, "paper": 12, "metal": 1})
    rows = ["path,material,contamination,split"]
    level = {0: "clean", 1: "partly"}
    for path in sorted(root.rglob("*.jpg")):
        number = int(path.stem)
        split = "train" if number < 8 else "test"
        name = path.relative_to(root).as_posix()
        rows.append(f"{name},{path.parent.name},{level.get(number, '')},{split}")
    put(root / "extra/twin.jpg", (root / "glass/000.jpg").read_bytes())
    put(root / "extra/resaved.jpg", jpeg(scene(3, 96, 128), 50))
    put(root / "extra/palette.jpg", png(scene(70, 96, 128), "P"))
    put(root / "extra/zeros.jpg", bytes(17_000) + jpeg(scene(71)))
    put(root / "extra/cut.jpg", jpeg(scene(72))[:2000])
    put(root / "extra/wide.jpg", jpeg(scene(73, 60, 600)))
    put(root / "extra/large.jpg", jpeg(scene(74, 960, 1280)))
    put(root / "extra/tiny.jpg", jpeg(scene(75, 96, 128)[:20, :26]))
    rows += ["extra/twin.jpg,paper,,test", "extra/resaved.jpg,glass,,test"]
    for name in ("palette", "zeros", "cut", "wide", "large", "tiny", "gone"):
        rows.append(f"extra/{name}.jpg,glass,,train")
    put(root / "splits.csv", "\n".join(rows).encode())
    return check_health(load_dataset(root))


def problems(findings: object) -> dict[str, str]:
    return {Path(f.photo.path).stem: f.problem for f in findings}  # type: ignore[attr-defined]


def test_corrupt_files_and_why(sick: HealthReport) -> None:
    found = problems(sick.corrupt)
    assert found.keys() == {"zeros", "cut", "gone"}
    assert "a JPEG begins behind 17,000 zero bytes" in found["zeros"]
    assert "truncated" in found["cut"] and "not exist" in found["gone"]
    assert sick.n_photos == 34 and sick.n_readable == 31


def test_wrong_suffix_is_a_note_and_no_corruption(sick: HealthReport) -> None:
    assert problems(sick.wrong_suffix) == {"palette": "PNG (palette) named .jpg"}


def test_odd_sizes(sick: HealthReport) -> None:
    found = problems(sick.odd_sizes)
    assert found.keys() == {"wide", "large", "tiny"}
    assert found["large"].startswith("1280 x 960 pixels (size; usual: about 128 x 96")


def test_duplicates_with_conflict_and_leak(sick: HealthReport) -> None:
    (exact,) = sick.exact
    assert [photo.path for photo in exact.photos] == ["extra/twin.jpg", "glass/000.jpg"]
    assert exact.conflicts == ("material",) and exact.splits == ("train", "test")
    (near,) = sick.near
    assert [photo.path for photo in near.photos] == ["extra/resaved.jpg", "glass/003.jpg"]
    assert not near.conflicts and near.splits == ("train", "test")
    assert sick.conflicting == (exact,) and sick.leaking == (exact, near)


def test_labels(sick: HealthReport) -> None:
    material, contamination = sick.tasks
    assert material.counts["glass"] == {"train": 15, "test": 5}
    assert material.counts["metal"] == {"train": 1}
    assert material.few == ("metal",) and material.imbalance == 20.0 and not material.unlabelled
    assert contamination.counts["heavily"] == {}
    assert len(contamination.unlabelled) == 34 - 5 and contamination.imbalance == 1.5


def test_record_is_json_and_counts_every_kind(sick: HealthReport) -> None:
    record = json.loads(json.dumps(sick.to_record()))
    assert record["problems"] == {
        "corrupt": 3, "wrong_suffix": 1, "odd_sizes": 3, "exact_duplicates": 1,
        "near_duplicates": 1, "conflicting_labels": 1, "across_splits": 2, "few_photos": 4,
        "imbalanced": 1, "missing_labels": 29,
    }  # fmt: skip
    assert record["suspects"] is None and record["splits"] == {"train": 24, "test": 10}
    assert record["exact"][0]["photos"][0]["labels"] == {"material": "paper"}


def test_a_healthy_data_set_has_no_problems(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"glass": 10, "paper": 10})
    report = check_health(load_dataset(root))
    assert report.problems == {} and report.splits == {"none": 20}


HEADS = {
    "page.jpg": (b"<!DOCTYPE html><html>not found</html>", "web page"),
    "apple.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40), r"HEIC \(heic\)"),
    "avif.jpg": (b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(40), r"AVIF \(avif\)"),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\0\0" + bytes(40), "MP4"),
    "paper.jpg": (b"%PDF-1.7\n", "PDF"),
    "pack.jpg": (b"PK\x03\x04" + bytes(30), "zip archive"),
    "nothing.jpg": (bytes(5000), "zeros only"),
    "png.jpg": (bytes(100) + b"\x89PNG\r\n\x1a\n", "a PNG begins behind 100 zero bytes"),
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"hello", "not a photo; expected JPEG"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_a_file_is_instead(name: str, tmp_path: Path) -> None:
    content, expected = HEADS[name]
    scan = scan_photo(put(tmp_path / name, content))
    assert scan.error is not None and scan.fingerprint is None
    assert re.search(expected, scan.error), scan.error


def test_memory_does_not_hold_photos(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jpg", jpeg(scene(0, 768, 1024)))
    list(scan_photos([path] * 64))  # imports and caches

    def peak(count: int) -> int:
        tracemalloc.start()
        scans = list(scan_photos([path] * count))
        assert len(scans) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # Decoded, each photo would be 2.4 MB; as an index entry it is about a kilobyte.
    assert (peak(512) - peak(128)) / 384 < 2_500


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"glass": 40, "paper": 40})
    calls: list[tuple[str, int, int]] = []
    check_health(load_dataset(root), progress=lambda *call: calls.append(call))
    assert calls == [("Reading photos", 64, 80), ("Reading photos", 80, 80)]


def test_a_model_finds_planted_errors_and_skips_corrupt_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("blue", "green", "red")
    for label, channel in zip(names, (2, 1, 0), strict=True):
        for number in range(12):
            photo = rng.integers(0, 90, (48, 48, 3)).astype(np.uint8)
            photo[:, :, channel] = rng.integers(160, 250, (48, 48))
            folder = "red" if (label, number) == ("green", 4) else label
            put(tmp_path / "data" / folder / f"{label}{number}.jpg", jpeg(photo))
    put(tmp_path / "data/red/broken.jpg", b"nothing")
    model = Model.load(write_tiny(tmp_path / "tiny.onnx"))
    report = check_health(load_dataset(tmp_path / "data"), model=model)
    assert report.suspects is not None
    worst = report.suspects[0]
    assert (worst.photo.path, worst.label, worst.suggestion) == ("red/green4.jpg", "red", "green")
    assert worst.probability > 0.5 and len(report.suspects) <= 3
    assert report.to_record()["suspects"][0]["photo"]["path"] == "red/green4.jpg"


def test_trashnet_has_its_three_known_pairs(trashnet: Path) -> None:
    report = check_health(load_dataset(trashnet))
    found = {
        tuple(f"{Path(p.path).stem} {p.split}" for p in group.photos) for group in report.exact
    }
    assert found == {
        ("glass115 train", "metal91 train"),
        ("glass176 train", "plastic152 test"),
        ("glass389 train", "plastic332 val"),
    }
    assert [group.conflicts for group in report.exact] == [("material",)] * 3
    assert not report.corrupt and not report.wrong_suffix and not report.odd_sizes
    assert report.problems["conflicting_labels"] == 3


def test_organic_recyclable_has_its_flaws(data_dir: Path) -> None:
    folder = data_dir / "organic-recyclable"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    report = check_health(load_dataset(folder))
    assert len(report.corrupt) == 13
    assert all("begins behind 1" in finding.problem for finding in report.corrupt)
    assert [finding.problem for finding in report.wrong_suffix] == ["PNG (palette) named .jpg"] * 48
    assert not report.exact


def test_all_cores_read_and_embed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from beltsight.dataset import scan, suspects

    asked: list[tuple[int, int]] = []

    def spied(function: Any, items: Any, workers: int, ahead: int) -> Any:
        asked.append((workers, ahead))
        return ordered_map(function, items, workers, ahead)

    for module in (scan, suspects):
        monkeypatch.setattr(module, "ordered_map", spied)
        monkeypatch.setattr(module, "usable_cores", lambda: 3)
    class_folders(tmp_path / "data", {"blue": 6, "red": 6})
    model = Model.load(write_tiny(tmp_path / "tiny.onnx"))
    check_health(load_dataset(tmp_path / "data"), model=model)
    assert asked == [(3, 6), (3, 6)]


def test_a_group_in_two_splits_is_found(tmp_path: Path) -> None:
    class_folders(tmp_path, {"glass": 12, "paper": 12})
    rows = ["path,material,group,split"]
    for name in ("glass", "paper"):
        for number in range(12):
            split = "test" if number > 8 else "train" if number else ""
            # Photos 8 to 10 of glass are one bottle; paper 0 has no split, paper 1 has.
            group = "bottle-17" if name == "glass" and 7 < number < 11 else ""
            group = "box-3" if name == "paper" and number < 2 else group
            rows.append(f"{name}/{number:03d}.jpg,{name},{group},{split}")
    put(tmp_path / "splits.csv", "\n".join(rows).encode())
    report = check_health(load_dataset(tmp_path))
    assert report.problems == {"groups_across_splits": 1} and not report.leaking
    record = json.loads(json.dumps(report.to_record()))
    (found,) = record["parted_groups"]
    assert found["group"] == "bottle-17" and found["splits"] == {"train": 1, "test": 2}
    shown = [(photo["path"], photo["split"]) for photo in found["photos"]]
    assert shown == [("glass/008.jpg", "train"), ("glass/009.jpg", "test")]
