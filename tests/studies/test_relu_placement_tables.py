"""Tables of the placement study, from CSVs that are written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from studies.relu_placement.factor_tables import factors_text, rates_text
from studies.relu_placement.model import NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.relu_placement.plan import Experiment, load_plan
from studies.relu_placement.results import keep_outcome
from studies.relu_placement.tables import jobs_text, one_size_text, sizes_text
from studies.relu_placement.train import Activity, Bits, Epoch, Outcome
from studies.runner import REPOSITORY
from tests.studies.tiny_mnist import job_of

PLAN = load_plan(REPOSITORY / "studies" / "relu_placement" / "plan.toml")
PHOTOS = 1000
# Each ReLU helps or hurts by so many photos, the one on the logits not: it fails.
WRONG = 60 + np.array(PLACEMENTS) @ [-4, -30, -6, 0]


def bits_of(counts: NDArray[np.int64], seed: int) -> Bits:
    """(16, photos): so many wrong of each placement, drawn apart."""
    rng = np.random.default_rng(seed)
    bits = np.zeros((16, PHOTOS), bool)
    for place, count in enumerate(counts):
        bits[place, rng.choice(PHOTOS, count, replace=False)] = True
    return bits


def write_job(
    folder: Path, counts: NDArray[np.int64], *, test: bool, dead: float = 0.25,
    val_counts: NDArray[np.int64] | None = None, **key: int | str,
) -> None:  # fmt: skip
    job = job_of(test=test, **key)
    drawn = 100 * job.seed + job.size_px + len(job.variant)
    wrong = {"validation": bits_of(counts if val_counts is None else val_counts, drawn)}
    if test:
        wrong["test"] = bits_of(counts, drawn + 1)
    zeros = [0.0] * 16
    activity = [
        Activity(name, "conv2", dead, 0.5)
        for name, placement in zip(NAMES, PLACEMENTS, strict=True)
        if placement[1]
    ]
    taken = "factors-base-28px-0" if job.size_px == 28 and job.seed == 0 else ""
    outcome = Outcome([Epoch(1, 60.0, zeros, zeros, zeros)], activity, wrong, zeros, 1)
    outcome = Outcome(**{**vars(outcome), "taken_from": taken})
    keep_outcome(folder, job, outcome, 80, "the command")


def line_of(text: str, name: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_one_size_names_what_validation_would_choose(tmp_path: Path) -> None:
    best_known = WRONG + 5 * (np.arange(16) != 2)  # C-C-CR-C, though another wins on test
    for seed in range(3):
        counts = WRONG.copy()
        counts[1] = 300 if seed else counts[1]
        write_job(tmp_path, counts, test=True, val_counts=best_known - 40 * (np.arange(16) == 2),
                  size_px=28, seed=seed, dead=float("nan") if seed else 0.25)  # fmt: skip
    text = one_size_text(tmp_path, PLAN.experiments["mnist"], 28)
    assert "Lowest on validation is C-C-CR-C: test error 5.40 % (" in text
    assert f"N = 28 {PUBLISHED_NAME} is number " in text and "after the fact" in text
    failed = line_of(text, "C-C-C-CR")
    assert failed[1].startswith("6.00 % (") and failed[2] == "6.00 30.00\\* 30.00\\*"
    assert line_of(text, "C-CR-C-C")[7] == "- 25 - -"  # the seeds that diverged are not 0 % dead
    assert line_of(text, "C-C-CR-C")[5:7] == ["-", "-"]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 16 and "nan" not in text


def write_sizes(folder: Path, seeds: int = 2) -> Experiment:
    for size in (28, 32):
        for seed in range(seeds):
            counts = WRONG + (seed + size) % 3
            counts[-1] = 500 if seed else counts[-1]
            write_job(folder, counts, test=True, size_px=size, seed=seed)
    return PLAN.experiments["sizes"]


def test_sizes_by_cells_and_by_photos(tmp_path: Path) -> None:
    text = sizes_text(tmp_path, write_sizes(tmp_path))
    own = line_of(text, "C-C-C-C")
    assert own[1].startswith("6.1") and " (" in own[1] and own[1].endswith(")")  # an interval
    assert own[-1] == "**< 0.001**" and own[-2].startswith("+3.0")  # over 1,000 photos
    assert float(own[-3]) > 0.05  # over four cells nothing can be shown
    [last] = [line for line in text.splitlines() if "| CR-CR-CR-CR |" in line]
    assert last.count("\\*") == 2
    assert "*ranks as at other sizes*" in text and "Does the order depend on N?" in text
    assert f"Over 4 cells {PUBLISHED_NAME} is number " in text
    assert "Failed: 2 of 32 trainings with ReLU 4, 0 of as many without." in text
    assert "all share their photos of training and testing" in text
    assert "ReLU 2 -3.00" in text and "mean over 2 seeds" in text
    assert "Lowest on validation over all sizes is CR-CR-CR-C: mean test error" in text
    assert jobs_text(tmp_path).startswith("4 jobs (1 trained in another experiment), 3 min")
    # All in one size but one more in another: still a table.
    write_job(tmp_path, WRONG, test=True, size_px=32, seed=7)
    assert "mean over 2 or 3 seeds" in sizes_text(tmp_path, PLAN.experiments["sizes"])


def test_validation_chosen_on_the_photos_that_measure_is_told(tmp_path: Path) -> None:
    for size in (32, 48):
        write_job(tmp_path, WRONG, test=False, size_px=size, seed=0)
    text = sizes_text(tmp_path, PLAN.experiments["trashnet"])
    assert "on the photos that named it, which flatters." in text
    assert "Validation error in percent" in text and "- between seeds of one size" in text


def test_factors_tell_tests_failures_dead_units_and_the_yardstick(tmp_path: Path) -> None:
    experiment = PLAN.experiments["factors"]
    fails = np.where(np.array(PLACEMENTS)[:, 3], 300, WRONG)
    for variant, counts in (("base", WRONG), ("matconvnet", WRONG[::-1]), ("small", fails)):
        for seed in range(3):
            extra = np.random.default_rng(seed).permutation(16) % 2
            write_job(tmp_path, counts + extra, test=False, variant=variant, seed=seed,
                      size_px=28, dead=0.5)  # fmt: skip
    text = factors_text(tmp_path, experiment)
    rows = {line.split(" | ")[0]: line.strip("|").split(" | ")
            for line in text.splitlines() if line.startswith("| ")}  # fmt: skip
    base, small = rows["| base"], next(v for k, v in rows.items() if k.startswith("| small"))
    published = next(v for k, v in rows.items() if k.startswith("| matconvnet"))
    assert len(base) == 12 and " (" in base[1] and base[1].startswith("CR-CR-CR-C")
    effects = [float(cell.split()[0]) for cell in (*base[5:9], small[7])]
    assert effects == pytest.approx([-0.4, -3.0, -0.6, 0.0, -0.6], abs=0.1)
    assert float(base[9]) > 0.8 and float(published[9]) < -0.8
    assert base[10] == "0 of 3, 0 of 24, 0 of 24" and small[10] == "3 of 3, 24 of 24, 0 of 24"
    assert small[8] == "-"  # of pairs that all had a failure there is no effect
    assert base[11].strip(" |") == "? 50 ? ?"
    assert rates_text(tmp_path, experiment) == "Not run yet."
    one_seed = tmp_path / "one"
    write_job(one_seed, WRONG, test=False, variant="base", seed=0, size_px=28)
    assert " | - | 0 of 1, 0 of 8, 0 of 8 | " in factors_text(one_seed, experiment)


@pytest.mark.parametrize("seeds", [(2, 2), (3, 2)])
def test_each_placement_at_its_own_best_rate(tmp_path: Path, seeds: tuple[int, int]) -> None:
    """A rate is chosen on half of the photos; the error is that of the others."""
    fails = np.where(np.array(PLACEMENTS)[:, 3], 300, WRONG)
    for variant, counts, count in (("base", fails, seeds[0]), ("rate-tenth", WRONG + 20, seeds[1])):
        for seed in range(count):
            write_job(tmp_path, counts, test=False, variant=variant, seed=seed, size_px=28)
    text = rates_text(tmp_path, PLAN.experiments["factors"])
    assert "best of base, rate-tenth" in text
    alone, with_last = line_of(text, "C-C-C-C"), line_of(text, f"**{PUBLISHED_NAME}**")
    assert alone[1] == "base" and with_last[1] == "rate-tenth"
    assert with_last[3] == "2, 0"
    assert float(with_last[2].split()[0]) == pytest.approx(5.0, abs=1.2)
    assert "measured on the 500 between" in text
