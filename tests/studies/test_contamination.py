"""The study of simulated dirt: its figures by hand, and a variant in small from end to end."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from studies.contamination import run
from studies.contamination.answers import (
    LEVELS,
    Row,
    judge_map,
    judged_row,
    read_rows,
    twin_of,
    write_rows,
)
from studies.contamination.chart import draw_chart
from studies.contamination.figures import (
    auc,
    figures_of,
    right_by_item,
    share_of,
    summary,
    without_copies,
)
from studies.contamination.photos import CLEAN, Plan, digest_of, load_plan, make_set
from studies.contamination.tables import by_kind, results_text
from studies.runner import REPOSITORY
from studies.study import Sweep, load_study, settings_of
from tests.cli.program import beltsight as command

import beltsight
from beltsight.metrics import wilson_interval
from beltsight.scene import KINDS, load_dirt_settings
from studies import sweep as sweeping

HERE = REPOSITORY / "studies" / "contamination"
PLAN = load_plan(HERE / "photos.toml")
BORDERS = (0.05, 0.30)


def test_a_variant_for_each_kind_that_is_drawn() -> None:
    study = load_study(HERE / "study.toml")
    drawn = {kind for kind, each in load_dirt_settings().kinds.items() if each.weight > 0}
    assert set(PLAN.kinds) == drawn == set(KINDS)
    names = [variant.name for variant in study.variants]
    assert {PLAN.left_out(name) for name in names} == {"", *PLAN.kinds}
    for variant in study.variants:
        settings = settings_of(study.base, variant, 0)
        assert settings.backbone == "mobilenetv2_100" and settings.image_size == 224
        tasks = [task for stage in settings.stages for task in stage.tasks]
        assert bool(tasks) == (variant.name == "two-stage")
    two = settings_of(study.base, study.variant("two-stage"), 0).stages
    assert (two[-1].learn, two[-1].tasks) == ("heads", ("contamination", "dirt"))


def test_what_a_variant_learns_and_is_asked() -> None:
    assert PLAN.kinds_of("without-mud") == tuple(kind for kind in KINDS if kind != "mud")
    assert PLAN.asked_of("without-mud") == (CLEAN, "mud")
    assert PLAN.kinds_of("two-stage") == PLAN.kinds_of("all-kinds") == PLAN.kinds
    assert PLAN.asked_of("two-stage") == (CLEAN, *PLAN.kinds)
    with pytest.raises(SystemExit, match="no kind mudd"):
        PLAN.left_out("without-mudd")


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    text = (HERE / "photos.toml").read_text(encoding="utf-8").replace("margin", "margim")
    (tmp_path / "photos.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="margim"):
        load_plan(tmp_path / "photos.toml")


def test_shares_are_wilsons() -> None:
    marks = [(number < 8, f"{number}.jpg") for number in range(10)]
    found = share_of(marks)
    assert (found["right"], found["n"], found["share"], found["n_items"]) == (8, 10, 0.8, 10)
    assert found["interval"] == pytest.approx(wilson_interval(8, 10), abs=1e-4)
    assert share_of([])["share"] is None
    # Six kinds on the same items, right or wrong alike: no more is known than from one.
    six = share_of(marks * 6)
    assert (six["n"], six["n_items"]) == (60, 10)
    assert six["interval"] == pytest.approx(wilson_interval(7.2, 9), abs=2e-4)


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(0, 1, 300).round(1)
    dirty = rng.normal(1, 1, 200).round(1)
    found = auc(clean.tolist(), dirty.tolist())
    truth = np.repeat([0, 1], [300, 200])
    expected = roc_auc_score(truth, np.concatenate([clean, dirty]))
    assert found["value"] == pytest.approx(expected, abs=1e-4)
    # The spread over fresh draws is what the interval is about: 3.92 standard errors wide.
    values = [
        auc(rng.normal(0, 1, 300).tolist(), rng.normal(1, 1, 200).tolist())["value"]
        for _ in range(300)
    ]
    low, high = found["interval"]
    assert high - low == pytest.approx(3.92 * float(np.std(values)), rel=0.25)


def test_auc_over_items_that_show_in_several_photos() -> None:
    rng = np.random.default_rng(1)

    def drawn() -> dict[str, Any]:
        """Eighty items, each clean and in two dirty photos; an item's scores go together."""
        own = rng.normal(0, 1, 80)
        clean = own + rng.normal(0, 0.3, 80)
        dirty = np.tile(own, 2) + rng.normal(1, 0.3, 160)
        items = [f"{n}" for n in range(80)]
        return auc(clean.tolist(), dirty.tolist(), items, items * 2)

    found = [drawn() for _ in range(200)]
    values = np.array([each["value"] for each in found])
    widths = np.array([each["interval"][1] - each["interval"][0] for each in found])
    assert widths.mean() == pytest.approx(3.92 * values.std(), rel=0.25)
    scores = rng.normal(0, 1, 50).tolist(), rng.normal(1, 1, 40).tolist()
    apart = auc(*scores, [f"a{n}" for n in range(50)], [f"b{n}" for n in range(40)])
    assert apart == auc(*scores)


def test_auc_at_its_ends() -> None:
    perfect = auc([0.1, 0.2, 0.3], [0.8, 0.9])
    assert perfect["value"] == 1 and 0.2 < perfect["interval"][0] < perfect["interval"][1] == 1
    assert auc([], [0.5])["value"] is None


def answered(kind: str, twin: str, share: float, answer: int, **more: Any) -> Row:
    """A row whose level follows from its share, answered with a probability of 0.8."""
    level = int(share >= BORDERS[0]) + int(share >= BORDERS[1])
    chances = [0.1, 0.1, 0.1]
    chances[answer] = 0.8
    material = {"material": "glass", "material_answer": "glass"}
    return Row(kind, twin, **{**material, "share": share, "level": level,
                              **dict(zip(LEVELS, chances, strict=True)), **more})  # fmt: skip


ROWS = [
    answered(CLEAN, "a", 0, 0),
    answered(CLEAN, "b", 0, 1),
    answered(CLEAN, "c", 0, 0, material_answer="metal"),
    answered("mud", "a", 0.5, 2, material_answer="metal", dirt="organic", dirt_answer="organic"),
    answered("mud", "b", 0.07, 0, peak=0.0, overlap=0.4, peak_class=20.0, overlap_class=0.2,
             by_chance=0.1, near_by_chance=0.4),
    answered("mud", "c", 0.2, 1, dirt="organic", dirt_answer="dust", peak=12.0, overlap=0.0,
             peak_class=0.0, overlap_class=0.1, by_chance=0.3, near_by_chance=0.7),
    answered("mud", "d", 0, 0, dirt="none", dirt_answer="none"),
    answered("mud", "e", 0.29, 0),
]  # fmt: skip


def test_figures_by_hand() -> None:
    found = figures_of(ROWS, "mud", PLAN, BORDERS)
    assert found["n"] == 5
    assert (found["level"]["right"], found["level"]["n"]) == (3, 5)
    # 0.07 and 0.29 are within 0.03 of a threshold.
    assert (found["level_outside_margin"]["right"], found["level_outside_margin"]["n"]) == (3, 3)
    assert found["ordinal_error"] == pytest.approx(2 / 5)
    assert found["confusion"] == [[1, 0, 0], [2, 1, 0], [0, 0, 1]]
    # Spotless 0.2, 0.9, 0.2; dirty 0.9, 0.2, 0.9, 0.2: 4 over, 2 + 4 equal, 2 under, of 12.
    assert found["auc_spotless"]["value"] == pytest.approx((4 + 0.5 * 6) / 12, abs=1e-4)
    # Of the kind itself, d alone is clean, 0.2: 2 over, 2 equal, of 4.
    assert found["auc"]["value"] == pytest.approx((2 + 0.5 * 2) / 4, abs=1e-4)
    assert (found["level_with_dirt"]["right"], found["level_with_dirt"]["n"]) == (2, 4)
    assert (found["dirt"]["right"], found["dirt"]["n"]) == (2, 3)
    assert found["recall"]["glass"]["partly"]["n"] == 3
    assert found["recall"]["all"]["heavily"]["share"] == 1


def test_specks_are_clean_and_have_to_be_told_so() -> None:
    specks = [answered("mud", "f", 0.03, 1), answered("mud", "g", 0.04, 0)]
    found = figures_of([*ROWS, *specks], "mud", PLAN, BORDERS)
    assert (found["auc"]["n_clean"], found["auc_spotless"]["n_clean"]) == (3, 3)
    # Clean 0.2, 0.9, 0.2; dirty 0.9, 0.2, 0.9, 0.2 of other photos than the spotless ones.
    assert found["auc"]["value"] == pytest.approx((4 + 0.5 * 6) / 12, abs=1e-4)
    assert (found["level_with_dirt"]["right"], found["level_with_dirt"]["n"]) == (3, 6)


def test_material_is_compared_on_the_same_items() -> None:
    material = figures_of(ROWS, "mud", PLAN, BORDERS)["material"]
    # Of a, b, c: dirt costs a, and c is known only with it; e has no clean twin.
    assert (material["dirty"]["right"], material["clean"]["right"]) == (2, 2)
    assert (material["dirty"]["n"], material["lost"], material["won"]) == (3, 1, 1)


def test_the_pointing_game_counts_partly_dirty_items() -> None:
    found = figures_of(ROWS, "mud", PLAN, BORDERS)["map"]
    assert (found["hit"]["right"], found["near"]["right"], found["hit"]["n"]) == (1, 2, 2)
    assert found["overlap"] == pytest.approx(0.2)
    assert found["class_map"]["hit"]["right"] == found["class_map"]["near"]["right"] == 1
    assert (found["chance"], found["near_chance"]) == pytest.approx((0.2, 0.55))


def test_a_map_is_judged_over_the_prepared_photo() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:16, 48:] = True  # the upper right cell of 4 x 4
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1
    peak, overlap = judge_map(heat, mask, 0.5)
    assert peak == 0 and overlap > 0.6
    heat[0, 3], heat[0, 0] = 0, 1
    peak, overlap = judge_map(heat, mask, 0.5)
    assert peak == pytest.approx(48, abs=9) and overlap == 0
    peak, overlap = judge_map(heat, np.zeros((64, 64), bool), 0.5)
    assert peak == pytest.approx(np.hypot(64, 64)) and overlap == 0


def test_both_maps_are_judged_and_chance_draws_on_the_item() -> None:
    mask, item = np.zeros((2, 64, 64), bool)
    mask[:16, 48:] = True
    item[:, 32:] = True
    shown, class_map = np.zeros((2, 4, 4), np.float32)
    shown[0, 3] = class_map[3, 0] = 1  # the second looks elsewhere
    found = judged_row(answered("mud", "a", 0.2, 0), (shown, class_map), mask, item, PLAN)
    assert found.peak == 0 and found.overlap > 0.6 and found.twin == "a"
    assert found.peak_class > 30 and found.overlap_class == 0
    assert found.by_chance == pytest.approx(16 * 16 / (64 * 32), abs=1e-3)
    # Within 15 px: nearly all of the 31 rows and 32 columns that touch the dirt's square.
    assert 0.35 < found.near_by_chance < 31 * 32 / (64 * 32)
    none = judged_row(
        answered("mud", "a", 0.0, 0), (shown, class_map), np.zeros_like(mask), item, PLAN
    )
    assert (none.by_chance, none.near_by_chance) == (0, 0)


def test_the_twin_lies_in_the_set_of_clean_photos() -> None:
    path = "ask/val/mud/images/images/glass/glass1.jpg.0.jpg"
    assert twin_of(path) == "ask/val/clean/images/images/glass/glass1.jpg.0.jpg"


def test_rows_come_back_from_disk(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", ROWS)
    assert read_rows(tmp_path / "rows.csv") == ROWS


def test_means_and_the_worst_kind() -> None:
    kinds = {
        "mud": figures_of(ROWS, "mud", PLAN, BORDERS),
        "wet": figures_of([replace(r, set="wet") if r.set == "mud" else r for r in ROWS[:4]],
                          "wet", PLAN, BORDERS),
    }  # fmt: skip
    found = summary(kinds)
    assert found["level"] == {"mean": pytest.approx(0.8), "worst": "mud", "least": 0.6}
    assert found["ordinal_error"] == {"mean": pytest.approx(0.2), "worst": "mud", "most": 0.4}
    assert found["map_hit"]["worst"] == "mud"  # wet has no partly dirty item
    nothing = figures_of([row for row in ROWS if row.set == CLEAN], "dust", PLAN, BORDERS)
    assert nothing["ordinal_error"] is None
    # What is not known is no error of 0.
    assert summary({"mud": kinds["mud"], "dust": nothing})["ordinal_error"]["mean"] == 0.4
    assert "ordinal_error" not in summary({"dust": nothing})


def test_photos_without_dirt_count_once() -> None:
    more = [*ROWS, answered("wet", "d", 0, 0), answered("wet", "a", 0.4, 2)]
    assert Counter(row.set for row in without_copies(more)) == {"mud": 5, "wet": 1}


def test_photos_of_one_item_are_taken_together() -> None:
    rows = [
        answered("mud", "glass/1.jpg.0.jpg", 0.5, 2),
        answered("wet", "glass/1.jpg.3.jpg", 0.5, 0),
        answered("wet", "glass/2.jpg.0.jpg", 0.1, 1, material_answer="metal"),
    ]
    assert right_by_item(rows, "contamination") == {"glass/1.jpg": 0.5, "glass/2.jpg": 1.0}
    assert right_by_item(rows, "material") == {"glass/1.jpg": 1.0, "glass/2.jpg": 0.0}


def test_two_stages_are_compared_item_by_item() -> None:
    two = [replace(row, material_answer="glass") for row in ROWS]
    found = run.against(ROWS, two)
    assert found["material"]["gain"] == pytest.approx(-1 / 5) and found["material"]["n_items"] == 5
    assert found["contamination"]["gain"] == 0
    # Six kinds of dirt on the same items are no six trials.
    twins = [answered("mud", f"{n}", 0.5, 2 * (n < 9), material_answer="metal") for n in range(20)]
    others = [
        replace(row, material_answer="glass" if n < 5 else "metal") for n, row in enumerate(twins)
    ]
    one = run.against(others, twins)
    six = run.against(*([replace(row, set=kind) for kind in KINDS for row in rows]
                        for rows in (others, twins)))  # fmt: skip
    assert six == one and one["material"]["gain"] == 0.25
    low, high = one["material"]["interval"]
    # Five of twenty items, resampled: binomial.
    assert (low, high) == pytest.approx(binom(20, 0.25).ppf([0.025, 0.975]) / 20, abs=0.051)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The study's slice on drawn items in TrashNet's place; commands run in this process."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3), ("test", 6)):
        for name, colour in {"glass": (60, 140, 90), "metal": (110, 110, 125)}.items():
            folder = tmp_path / "data" / "trashnet" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                photo = np.full((96, 128, 3), 225, np.uint8)
                turn = float(rng.uniform(0, 180))
                cv2.ellipse(photo, (64, 48), (40, 28), turn, 0, 360, colour, -1)
                noisy = np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{number}.jpg"), noisy)
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "data"))

    def called(call: list[str], **options: Any) -> SimpleNamespace:
        done = command(*call[3:])
        return SimpleNamespace(returncode=done.status, stderr=done.err)

    # Not the function of the library, which others call, too.
    monkeypatch.setattr("studies.contamination.photos.subprocess", SimpleNamespace(run=called))
    opened = sweeping.open_sweep(HERE, tmp_path / "out", quick=True)
    return replace(opened, only=("without-dust",))


def test_a_variant_from_photos_to_the_plot(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    run.train(sweep)
    learn = beltsight.load_dataset(sweep.runs / "photos" / "learn-without-dust.csv")
    assert {s: len(learn.select(s).samples) for s in learn.splits} == {"train": 16, "val": 12}
    rows = list(csv.DictReader((learn.root / "learn-without-dust.csv").open(encoding="utf-8")))
    assert not any("dust" in row["kinds"] for row in rows)
    run.validate(sweep)
    assert not sweep.looks.exists()
    for _ in range(2):  # kept answers cost no second look
        run.measure(sweep)
    looks = list(csv.DictReader(sweep.looks.open(encoding="utf-8")))
    assert [(look["data"], look["n"]) for look in looks] == [
        ("trashnet-test-soiled-without-dust.csv", "24")
    ]
    result = json.loads(sweep.file("without-dust", 0).read_text(encoding="utf-8"))
    found = result["asked"]["test"]["kinds"]["dust"]
    assert found["n"] == 12 and sum(map(sum, found["confusion"])) == 12
    assert found["dirt"]["n"] == 0  # the model knows no dust, and "none" alone is no question
    partly = sum(found["confusion"][1])
    assert found["map"]["hit"]["n"] == partly
    asked = read_rows(next((sweep.runs / "answers").glob("without-dust-0-test-*.csv")))
    assert all(row.share == 0 for row in asked if row.set == CLEAN)
    photo = next(row for row in asked if row.set == "dust" and row.share == 0).twin
    folder = sweep.runs / "photos" / "ask" / "test"
    same = [(folder / name / "images" / photo).read_bytes() for name in (CLEAN, "dust")]
    assert same[0] == same[1]  # without dirt, the sets hold the same photo
    run.table(sweep)
    assert "| dust | unseen |" in sweep.readme.read_text(encoding="utf-8")
    run.plot(sweep)
    assert "never saw this kind" in (sweep.results / "kinds.svg").read_text(encoding="utf-8")
    (sweep.runs / "photos" / "ask" / "val" / "dust.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="made with other options"):
        run.validate(sweep)


def test_photos_are_made_anew_of_other_photos(sweep: Sweep) -> None:
    folder, options = sweep.runs / "photos", ["--split", "val", "--copies", "1"]
    make_set(sweep.data, folder, "x", options)
    before = (folder / "x" / "labels.csv").stat().st_mtime_ns
    make_set(sweep.data, folder, "x", options)
    assert (folder / "x" / "labels.csv").stat().st_mtime_ns == before
    glass = sweep.data / "val" / "glass"
    (glass / "0.jpg").write_bytes((glass / "1.jpg").read_bytes())  # the name stays
    digest_of.cache_clear()
    with pytest.raises(SystemExit, match="of other photos"):
        make_set(sweep.data, folder, "x", options)


def test_tables_hold_what_is_there(tmp_path: Path) -> None:
    assert results_text([], PLAN, "val") == "Nothing is measured on val yet."
    rows = [replace(row, set=kind) for kind in PLAN.kinds for row in ROWS if row.set == "mud"]
    rows += [row for row in ROWS if row.set == CLEAN]
    machine = {"processor": "p", "cores": 2}

    def result(name: str) -> dict[str, Any]:
        asked = run.asked_figures(rows, PLAN, PLAN.asked_of(name), BORDERS)
        if name == "two-stage":
            asked["against_joint"] = run.against(rows, rows)
        return {"variant": name, "seed": 0, "seconds": 420.0, "machine": machine,
                "asked": {"val": asked}}  # fmt: skip

    names = [variant.name for variant in load_study(HERE / "study.toml").variants]
    results = [result(name) for name in names]
    text = results_text(results, PLAN, "val")
    assert text.count("| unseen |") == 2 * 6 + 3 and "7.0 to 7.0 minutes" in text
    assert "| two stages (two-stage) |" in text
    assert "material: +0.0 points (+0.0 to +0.0, 5 items)" in text
    kinds = by_kind({each["variant"]: each for each in results}, PLAN, "val")
    draw_chart(kinds, "val", tmp_path / "kinds.svg")
    assert (tmp_path / "kinds.svg").stat().st_size > 5000
    assert isinstance(PLAN, Plan)
