from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.dataset.scenes import class_folders, jpeg, put, scene

from beltsight.dataset import Dataset, load_dataset
from beltsight.dataset.split import assign, check_target, holdout, make_splits, write_splits
from beltsight.errors import ConfigError, DatasetError, SplitError
from beltsight.records import Sample

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def where(dataset: Dataset) -> dict[str, str | None]:
    return {dataset.shown_path(sample): sample.split for sample in dataset.samples}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 glass, 20 paper, 8 metal; some photos twice, one saved again, one broken."""
    root = tmp_path_factory.mktemp("data")
    class_folders(root, {"glass": 40, "paper": 20, "metal": 8})
    for number in range(4):
        put(root / f"glass/copy{number}.jpg", (root / f"glass/00{number}.jpg").read_bytes())
        put(root / f"paper/again{number}.jpg", jpeg(scene(40 + number, 96, 128), 40))
    put(root / "glass/broken.jpg", b"no photo")
    return root


def test_shares_per_class_and_duplicates_together(folder: Path) -> None:
    plan = make_splits(load_dataset(folder), val=0.2, test=0.1, seed=3)
    counts = plan.counts()["material"]
    for name, total in {"glass": 45, "paper": 24, "metal": 8}.items():
        assert sum(counts[name].values()) == total
        assert abs(counts[name]["val"] - 0.2 * total) <= 1
        assert abs(counts[name]["test"] - 0.1 * total) <= 1
    assert {split: n for split, n in counts["metal"].items() if n == 0} == {}
    split = where(plan.dataset)
    for number in range(4):
        assert split[f"glass/copy{number}.jpg"] == split[f"glass/00{number}.jpg"]
        assert split[f"paper/again{number}.jpg"] == split[f"paper/00{number}.jpg"]
    assert plan.largest_part == 2 and plan.n_parts == 77 - 8
    assert plan.corrupt == ("glass/broken.jpg",)
    record = plan.to_record()
    assert sum(record["splits"].values()) == 77 == record["n_photos"]


def test_same_seed_same_split(folder: Path) -> None:
    dataset = load_dataset(folder)
    first, again, other = (where(make_splits(dataset, seed=s).dataset) for s in (1, 1, 2))
    assert first == again != other


def test_near_duplicates_may_part_when_asked(folder: Path) -> None:
    dataset = load_dataset(folder)
    parted = 0
    for seed in range(5):
        split = where(make_splits(dataset, seed=seed, near=False).dataset)
        parted += sum(split[f"paper/again{n}.jpg"] != split[f"paper/00{n}.jpg"] for n in range(4))
        assert all(split[f"glass/copy{n}.jpg"] == split[f"glass/00{n}.jpg"] for n in range(4))
    assert parted > 0


def random_samples(seed: int) -> tuple[list[Sample], list[int]]:
    """250 parts of one material each, most of 1, some of up to 12 photos; a task with gaps."""
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    parts: list[int] = []
    for part in range(250):
        material = str(rng.choice(["glass", "paper", "metal", "rare"], p=[0.5, 0.3, 0.15, 0.05]))
        for _ in range(int(rng.integers(2, 13)) if rng.random() < 0.2 else 1):
            labels = {"material": material}
            if rng.random() < 0.5:
                labels["contamination"] = str(rng.choice(["clean", "heavily"], p=[0.8, 0.2]))
            samples.append(Sample(Path(f"{len(samples)}.jpg"), labels))
            parts.append(part)
    return samples, parts


@pytest.mark.parametrize("seed", range(6))
def test_assignment_keeps_parts_whole_and_shares(seed: int) -> None:
    samples, parts = random_samples(seed)
    chosen = assign(samples, parts, SHARES, seed)
    held: dict[int, set[str]] = {}
    for part, split in zip(parts, chosen, strict=True):
        held.setdefault(part, set()).add(split)
    assert all(len(splits) == 1 for splits in held.values())
    largest = max(Counter(parts).values())
    for split, share in SHARES.items():
        assert abs(chosen.count(split) - share * len(samples)) <= largest + 2
    for label, total in Counter(s.labels["material"] for s in samples).items():
        for split, share in SHARES.items():
            have = sum(
                c == split and s.labels["material"] == label
                for s, c in zip(samples, chosen, strict=True)
            )
            assert abs(have - share * total) <= largest + 2, (label, split)


def sessions(classes: int, sizes: Sequence[int]) -> tuple[list[Sample], list[int]]:
    """Classes whose photos come in sessions of these sizes, each a part."""
    samples: list[Sample] = []
    parts: list[int] = []
    for number, size in enumerate(size for _ in range(classes) for size in sizes):
        for _ in range(size):
            samples.append(Sample(Path(f"{len(samples)}.jpg"), {"m": f"m{number // len(sizes)}"}))
            parts.append(number)
    return samples, parts


def photos_per_split(samples: Sequence[Sample], chosen: Sequence[str]) -> dict[str, Counter[str]]:
    """Per class of the task m, photos per split."""
    counts: dict[str, Counter[str]] = {}
    for sample, split in zip(samples, chosen, strict=True):
        counts.setdefault(sample.labels["m"], Counter())[split] += 1
    return counts


@pytest.mark.parametrize(
    ("classes", "sizes", "expected"),
    [
        (6, (100, 10, 10), [100, 10, 10]),
        (2, (100, 10, 10), [100, 10, 10]),
        (4, (60, 20, 10, 10), [70, 20, 10]),
        (3, (14, *[2] * 43), [70, 16, 14]),  # one that fits val or test would be all of it
    ],
)
def test_large_sessions_are_learned_from(
    classes: int, sizes: tuple[int, ...], expected: list[int]
) -> None:
    samples, parts = sessions(classes, sizes)
    for seed in range(5):
        chosen = assign(samples, parts, SHARES, seed)
        large = [parts.index(number) for number in range(0, parts[-1] + 1, len(sizes))]
        assert {chosen[place] for place in large} == {"train"}
        for label, found in photos_per_split(samples, chosen).items():
            assert np.abs(np.subtract(sorted(found.values()), sorted(expected))).max() <= 2, label


@pytest.mark.parametrize(("n", "val"), [(2, 1), (3, 1), (50, 8)])
def test_photos_alone_are_held_out_in_proportion(n: int, val: int) -> None:
    samples, parts = sessions(1, [1] * n)
    chosen = assign(samples, parts, {"train": 0.85, "val": 0.15}, 0)
    assert Counter(chosen) == {"train": n - val, "val": val}


def test_the_photos_held_out_by_published_runs_stay_those() -> None:
    """The transfer study held out part of 3,000 photos without twins; its figures rest on them."""
    samples, parts = sessions(2, [1] * 1500)
    chosen = assign(samples, parts, {"train": 0.85, "val": 0.15}, 0)
    digest = hashlib.sha256(" ".join(chosen).encode()).hexdigest()
    assert digest.startswith("be370444ea72a5fde8122fb400b58b11")


def random_groups(seed: int, tasks: int) -> tuple[list[Sample], list[int]]:
    """Groups of 1 to 60 photos: a class of the first task, a mixture of the second's."""
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    parts: list[int] = []
    for label in range(int(rng.integers(2, 7))):
        for _ in range(int(rng.integers(3, 12))):
            part = parts[-1] + 1 if parts else 0
            usual = int(rng.integers(5))
            for _ in range(int(rng.choice([1, 1, 1, 2, 3, 8, int(rng.integers(1, 60))]))):
                labels = {"m": f"m{label}"}
                if tasks > 1 and rng.random() < 0.8:
                    labels["n"] = f"n{usual if rng.random() < 0.5 else rng.integers(5)}"
                samples.append(Sample(Path(f"{len(samples)}.jpg"), labels))
                parts.append(part)
    return samples, parts


@pytest.mark.parametrize("shares", [SHARES, {"train": 0.85, "val": 0.15}])
@pytest.mark.parametrize("tasks", [1, 2])
def test_no_class_with_parts_enough_lacks_a_split(tasks: int, shares: dict[str, float]) -> None:
    asked = 0
    for seed in range(60):
        samples, parts = random_groups(seed, tasks)
        held: dict[tuple[str, str], set[int]] = {}
        reached: dict[tuple[str, str], set[str]] = {}
        chosen = assign(samples, parts, shares, seed)
        for sample, part, split in zip(samples, parts, chosen, strict=True):
            for pair in sample.labels.items():
                held.setdefault(pair, set()).add(part)
                reached.setdefault(pair, set()).add(split)
        if all(len(own) >= len(shares) for own in held.values()):
            asked += 1
            assert {p: got for p, got in reached.items() if len(got) < len(shares)} == {}, seed
    assert asked > 40


def test_a_class_that_cannot_reach_every_split_costs_no_other_class_one() -> None:
    """n has few in two parts, the largest of m0 and of m1, and there are three splits."""
    samples, parts = sessions(3, (5, 4, 3))
    samples = [
        replace(s, labels={**s.labels, "n": "few" if part in (0, 3) else "many"})
        for s, part in zip(samples, parts, strict=True)
    ]
    chosen = assign(samples, parts, SHARES, 0)
    assert all(len(found) == 3 for found in photos_per_split(samples, chosen).values())
    assert len({c for s, c in zip(samples, chosen, strict=True) if s.labels["n"] == "few"}) == 2


def test_every_class_reaches_every_split_where_it_has_three_parts() -> None:
    for seed in range(30):
        samples = [Sample(Path(f"{i}.jpg"), {"m": "rare" if i < 3 else "glass"}) for i in range(60)]
        chosen = assign(samples, list(range(60)), SHARES, seed)
        assert set(chosen[:3]) == {"train", "val", "test"}


def test_groups_stay_together(tmp_path: Path) -> None:
    class_folders(tmp_path, {"glass": 24, "paper": 24})
    rows = [
        f"{name}/{number:03d}.jpg,{name},{name}{number // 3}"
        for name in ("glass", "paper")
        for number in range(24)
    ]
    put(tmp_path / "labels.csv", "\n".join(["path,material,group", *rows]).encode())
    plan = make_splits(load_dataset(tmp_path), seed=5)
    splits: dict[str | None, set[str | None]] = {}
    for sample in plan.dataset.samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert len(splits) == 16 and all(len(found) == 1 for found in splits.values())
    assert plan.largest_part == 3


def test_too_few_parts_is_said(tmp_path: Path) -> None:
    class_folders(tmp_path, {"glass": 10, "metal": 2})
    with pytest.raises(SplitError, match="class 'metal' of material has 2 separate photos"):
        make_splits(load_dataset(tmp_path))
    plan = make_splits(load_dataset(tmp_path), val=0.2, test=0)
    assert plan.dataset.splits == ("train", "val")


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, float("nan")), (1.2, 0)])
def test_shares_must_leave_some_for_training(val: float, test: float, folder: Path) -> None:
    with pytest.raises(ConfigError, match="shares"):
        make_splits(load_dataset(folder), val=val, test=test)


def test_the_csv_reads_back(folder: Path, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", {"glass": 6, "paper, odd": 6})
    odd = 'a "b", ü.jpg'
    os.rename(root / "glass/000.jpg", root / "glass" / odd)
    plan = make_splits(load_dataset(root), seed=1)
    write_splits(plan.dataset, root / "splits.csv")
    again = load_dataset(root)
    assert where(again) == where(plan.dataset) and f"glass/{odd}" in where(again)
    assert [s.labels for s in again.samples] == [s.labels for s in plan.dataset.samples]
    with pytest.raises(DatasetError, match="there already"):
        write_splits(plan.dataset, root / "splits.csv")
    write_splits(plan.dataset, root / "splits.csv", force=True)
    # Above the folder is fine, beside it is not: the paths would leave the CSV's folder.
    write_splits(plan.dataset, tmp_path / "above.csv")
    assert len(load_dataset(tmp_path / "above.csv").samples) == 12
    (tmp_path / "beside").mkdir()
    with pytest.raises(DatasetError, match="does not lie below"):
        check_target(plan.dataset, tmp_path / "beside/splits.csv")
    with pytest.raises(DatasetError, match="folder does not exist"):
        check_target(plan.dataset, tmp_path / "none/splits.csv")
    assert sorted(p.name for p in root.iterdir()) == ["glass", "paper, odd", "splits.csv"]


def with_split(dataset: Dataset, split: str | None) -> Dataset:
    return replace(dataset, samples=tuple(replace(s, split=split) for s in dataset.samples))


def test_holdout_moves_copies_and_groups_together(folder: Path) -> None:
    dataset = with_split(load_dataset(folder), "train")
    first = dataset.samples[0]
    dataset = replace(dataset, samples=(replace(first, split="test"), *dataset.samples[1:]))
    held = holdout(dataset, 0.25, seed=4)
    split = where(held)
    counts = Counter(split.values())
    assert counts["test"] == 1 and abs(counts["val"] - 19) <= 2
    assert split[dataset.shown_path(first)] == "test"
    for number in range(1, 4):
        assert split[f"glass/copy{number}.jpg"] == split[f"glass/00{number}.jpg"]
    metal = Counter(split[name] for name in split if name.startswith("metal"))
    assert metal == {"train": 6, "val": 2}
    assert where(holdout(dataset, 0.25, seed=4)) == split != where(holdout(dataset, 0.25, seed=5))


def test_holdout_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("beltsight.dataset.scan.decode", refuse)
    holdout(with_split(load_dataset(folder), "train"), 0.2, 0)


def test_holdout_refuses(folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(folder)
    with pytest.raises(SplitError, match="no photo is in split 'train'"):
        holdout(dataset, 0.2, 0)
    with pytest.raises(SplitError, match="val split already"):
        holdout(with_split(dataset, "val"), 0.2, 0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        holdout(with_split(dataset, "train"), 1.0, 0)
    small = load_dataset(class_folders(tmp_path, {"glass": 1, "paper": 5}))
    with pytest.raises(SplitError, match="'glass' of material has 1 separate"):
        holdout(with_split(small, "train"), 0.2, 0)


def test_split_of_trashnet_has_no_leaks(trashnet: Path) -> None:
    from beltsight.dataset.health import check_health

    plan = make_splits(load_dataset(trashnet))
    report = check_health(plan.dataset)
    assert len(report.exact) == 3 and not report.leaking
    for row in plan.counts()["material"].values():
        total = sum(row.values())
        assert abs(row["test"] - 0.15 * total) <= 2 and abs(row["val"] - 0.15 * total) <= 2


def masked(root: Path) -> Dataset:
    """Eight photos of two classes, half of them with a mask."""
    class_folders(root, {"glass": 4, "paper": 4})
    rows = ["path,material,contamination,mask"]
    for name in ("glass", "paper"):
        for number in range(4):
            mask = f"masks/{name}{number}.png" if number % 2 else ""
            if mask:
                put(root / mask, b"a mask")
            level = "heavily" if mask else "clean"
            rows.append(f"{name}/{number:03d}.jpg,{name},{level},{mask}")
    put(root / "labels.csv", "\n".join(rows).encode())
    return load_dataset(root)


def test_masks_are_kept(tmp_path: Path) -> None:
    dataset = masked(tmp_path / "data")
    write_splits(make_splits(dataset, val=0.5, test=0).dataset, tmp_path / "data/splits.csv")
    again = load_dataset(tmp_path / "data")
    assert again.splits == ("train", "val")
    assert [s.mask for s in again.samples] == [s.mask for s in dataset.samples]
    assert sum(s.mask is not None for s in again.samples) == 4
    # Without any mask there is no column of them.
    bare = replace(dataset, samples=tuple(replace(s, mask=None) for s in dataset.samples))
    write_splits(bare, tmp_path / "data/bare.csv")
    head = (tmp_path / "data/bare.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head == "path,material,contamination,group,split"


def test_a_mask_that_the_csv_could_not_name_is_refused_before_the_work(tmp_path: Path) -> None:
    first, *others = masked(tmp_path / "data").samples
    away = replace(first, mask=put(tmp_path / "away.png", b"a mask"))
    dataset = replace(load_dataset(tmp_path / "data"), samples=(away, *others))
    with pytest.raises(DatasetError, match=r"away\.png does not lie below"):
        check_target(dataset, tmp_path / "data/splits.csv")


def test_a_name_that_is_not_utf_8_is_refused_before_the_work(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"glass": 4, "paper": 4})
    try:
        os.rename(root / "glass/000.jpg", os.fsencode(root) + b"/glass/caf\xe9.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset = load_dataset(root)
    out = root / "splits.csv"
    for refused in (check_target, write_splits):
        with pytest.raises(DatasetError, match=r"^glass/caf\\xe9\.jpg: this name is not UTF-8"):
            refused(dataset, out)
    assert sorted(p.name for p in root.iterdir()) == ["glass", "paper"]


def test_no_draft_is_left_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(class_folders(tmp_path, {"glass": 2, "paper": 2}))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("beltsight.dataset.split.csv.writer", stop)
    with pytest.raises(KeyboardInterrupt):
        write_splits(dataset, tmp_path / "splits.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["glass", "paper"]
