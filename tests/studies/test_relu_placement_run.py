"""The placement study: its jobs, its plan, and a slice from end to end."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies.relu_placement import run, train
from studies.relu_placement.data import Photos
from studies.relu_placement.experiments import EXPERIMENTS, Study, finish
from studies.relu_placement.model import (
    NAMES,
    PUBLISHED_NAME,
)
from studies.relu_placement.plan import Plan, jobs, load_plan, shrink, twins
from studies.relu_placement.results import digest_of, keep_outcome, read_errors, read_marks
from studies.relu_placement.train import measured_epochs, run_job
from studies.runner import REPOSITORY
from tests.studies.tiny_mnist import job_of, sets_of, write_mnist

from beltsight.errors import ResumeError

HERE = REPOSITORY / "studies" / "relu_placement"


def test_a_stopped_job_ends_as_one_that_was_not(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    job = job_of(recipe={"flip": True, "rate": 0.005})
    sets = sets_of(folder, job)
    whole = run_job(job, sets, tmp_path / "a")
    assert whole is not None and whole.starts == 1
    assert run_job(job, sets, tmp_path / "b", enough=lambda: True) is None
    assert run_job(job, sets, tmp_path / "b", enough=lambda: True) is None
    goes_on = run_job(job, sets, tmp_path / "b")
    assert goes_on is not None and goes_on.starts == 3
    for one, other in zip(whole.curve, goes_on.curve, strict=True):
        assert one.train_loss == other.train_loss and one.val_error == other.val_error
        assert other.seconds > 0
    assert all(np.array_equal(whole.wrong[split], goes_on.wrong[split]) for split in whole.wrong)
    assert [epoch.epoch for epoch in whole.curve] == [1, 2, 3]
    assert len(measured_epochs(100)) == 12 and measured_epochs(100)[-1] == 100
    assert whole.curve[-1].train_loss[4] < whole.curve[0].train_loss[4]


def test_a_checkpoint_of_another_configuration(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    job = job_of()
    sets = sets_of(folder, job)
    assert run_job(job, sets, tmp_path, enough=lambda: True) is None
    other = job_of(recipe={"rate": 0.02})
    with pytest.raises(SystemExit, match=r"another configuration \(rate 0.01, now 0.02\); delete"):
        run_job(other, sets, tmp_path)
    turned = replace(sets, train=Photos(sets.train.pixels[::-1].copy(), sets.train.labels))
    with pytest.raises(SystemExit, match="other training photos"):
        run_job(job, turned, tmp_path)
    file = tmp_path / f"{job.name}.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ResumeError, match="not a usable checkpoint"):
        run_job(job, sets, tmp_path)


def test_a_result_is_kept_and_replaced(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    job = job_of(recipe={"epochs": 1})
    sets = sets_of(folder, job)
    outcome = run_job(job, sets, tmp_path)
    assert outcome is not None
    assert digest_of(tmp_path / "r", job) is None
    other = replace(job, variant="other")
    for given in (job, replace(job, seed=1), other, job):
        keep_outcome(tmp_path / "r", given, outcome, 80, "the command")
    assert digest_of(tmp_path / "r", job) == job.digest
    marks = read_marks(tmp_path / "r")["base", 16]
    # Another variant is no further seed.
    assert read_marks(tmp_path / "r")["other", 16]["C-C-C-C"].shape == (1, 60)
    assert list(marks) == list(NAMES) and marks["C-C-C-C"].shape == (2, 60)
    for place, name in enumerate(NAMES):
        assert np.array_equal(marks[name][0] == 0, outcome.wrong["test"][place])
    errors = read_errors(tmp_path / "r")["base", 16]
    assert errors.shape == (2, 16)
    np.testing.assert_allclose(errors[0], 100 * outcome.wrong["test"].mean(axis=1), rtol=1e-4)
    with (tmp_path / "r" / "jobs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["n_test"], row["command"]) for row in rows] == [
        ("0", "60", "the command"), ("1", "60", "the command"), ("0", "60", "the command"),
    ]  # fmt: skip


def test_the_curve_rests_on_some_photos_and_the_end_on_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CURVE_PHOTOS", 10)
    folder = write_mnist(tmp_path / "mnist")
    job = job_of(recipe={"epochs": 2})
    outcome = run_job(job, sets_of(folder, job), tmp_path)
    assert outcome is not None
    bits = outcome.wrong["validation"]
    assert bits.shape == (16, 24)
    assert outcome.curve[-1].val_error == bits[:, :10].mean(axis=1).tolist()
    assert outcome.val_loss != outcome.curve[-1].val_loss


def test_each_size_has_its_own_weights_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_mnist(tmp_path / "mnist")
    seen: dict[tuple[int, int], list[int]] = {}

    def note(network: Any, optimizer: Any, photos: Any, labels: Any) -> Any:
        seen.setdefault(key, []).extend(labels.tolist())
        return torch.zeros(16)

    monkeypatch.setattr(train, "train_step", note)
    for key in ((16, 0), (20, 0), (16, 1)):
        job = job_of(size_px=key[0], seed=key[1], recipe={"epochs": 1})
        assert run_job(job, sets_of(folder, job), tmp_path / str(key)) is not None
    assert len({tuple(labels) for labels in seen.values()}) == 3
    assert len({tuple(sorted(labels)) for labels in seen.values()}) == 1


def test_kept_networks_are_measured_without_training(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    job = job_of(recipe={"normalisation": "batch"})
    sets = sets_of(folder, job)
    twin = replace(job, experiment="factors", test=False)
    own, other = (tmp_path / "weights" / f"{each.name}.safetensors" for each in (job, twin))
    trained = run_job(twin, sets, tmp_path / "a", kept=[other, own])
    assert trained is not None and trained.trained and not trained.taken_from
    assert other.exists() and not own.exists()
    plain = run_job(job, sets, tmp_path / "b")
    again = run_job(job, sets, tmp_path / "b2", kept=[own, other])
    assert plain is not None and again is not None
    assert not again.trained and again.taken_from == twin.name and not own.exists()
    assert all(np.array_equal(plain.wrong[split], again.wrong[split]) for split in plain.wrong)
    losses = ([epoch.train_loss for epoch in each.curve] for each in (plain, again))
    assert next(losses) == next(losses)
    # Networks of other settings or photos are none of this job's.
    changed = replace(job, recipe=job.recipe.model_copy(update={"rate": 0.02}))
    anew = run_job(changed, sets, tmp_path / "c", kept=[other])
    assert anew is not None and anew.trained


def test_a_look_is_noted_once_however_often_the_end_was_cut_off(tmp_path: Path) -> None:
    mnist = write_mnist(tmp_path / "mnist")
    job = job_of(recipe={"epochs": 1})
    sets = sets_of(mnist, job)
    plan = load_plan(HERE / "plan.toml")
    study = Study(
        plan, {"mnist": mnist}, tmp_path / "runs", tmp_path / "r", tmp_path / "x",
        tmp_path / "looks.csv",
    )  # fmt: skip
    for _ in range(2):  # killed after the ledger, before CSVs and the checkpoint's removal
        outcome = run_job(job, sets, study.runs)
        assert outcome is not None
        checkpoint = (study.runs / f"{job.name}.safetensors").read_bytes()
        finish(study, job, outcome, sets)
        (study.runs / f"{job.name}.safetensors").write_bytes(checkpoint)
    assert len(study.looks.read_text(encoding="utf-8").splitlines()) == 2
    # Trained anew it is another look; a slice looks at none.
    (study.runs / f"{job.name}.safetensors").unlink()
    outcome = run_job(job, sets, study.runs)
    assert outcome is not None
    finish(study, job, outcome, sets)
    finish(replace(study, quick=True), job, outcome, sets)
    assert len(study.looks.read_text(encoding="utf-8").splitlines()) == 3


# The plan and the command


def test_the_plan_is_what_the_issue_asks_for() -> None:
    plan = load_plan(HERE / "plan.toml")
    assert set(plan.experiments) == set(EXPERIMENTS)
    sizes = list(jobs(plan, "sizes"))
    assert len(sizes) == 30 and {job.size_px for job in sizes} == set(range(28, 65, 4))
    assert {job.photos for job in sizes} == {10_000}
    full = list(jobs(plan, "mnist"))
    assert [(job.size_px, job.seed, job.photos) for job in full] == [
        (28, seed, 55_000) for seed in range(3)
    ]
    # The published recipe is asked the same, in experiments of its own, and is one of the factors.
    [matconvnet] = [job for job in jobs(plan, "factors", (0,)) if job.variant == "matconvnet"]
    for name, count in (("mnist", 2), ("sizes", 6)):
        own = list(jobs(plan, f"{name}-published"))
        assert len(own) == count and {job.variant for job in own} == {"base"}
        changed = {k for k, v in own[0].settings.items() if v != jobs_of(plan, name)[k]}
        assert changed == {"rate", "schedule", "initialisation", "inputs"}
        assert {k: v for k, v in own[0].settings.items() if k in changed} == {
            k: v for k, v in matconvnet.settings.items() if k in changed
        }
    factors_1 = list(jobs(plan, "factors", (1,)))
    assert {(job.name, twin.name) for job in factors_1 for twin in twins(plan, job)} == {
        ("factors-base-28px-1", "sizes-base-28px-1"),
        ("factors-matconvnet-28px-1", "sizes-published-base-28px-1"),
    }
    assert len(list(jobs(plan, "mnist", (0, 0)))) == 1
    factors = {job.variant: job for job in jobs(plan, "factors", (0,))}
    base = factors["base"].settings
    for name, job in factors.items():
        changed = {key for key, value in job.settings.items() if value != base[key]}
        assert len(changed) == {"base": 0, "1000-photos": 2, "matconvnet": 4}.get(name, 1)
    assert base["precision"] == "float32" and len(factors) == 14
    assert not any(plan.experiments[name].test for name in ("factors", "trashnet"))
    names = [job.name for name in plan.experiments for job in jobs(plan, name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sizes = [30]", "N = 30: the pools"),
        ("sizes = [28]\nspeed = 1", "speed"),
        ("sizes = []", "sizes"),
        ("sizes = [28]\nrecipe = { rate = -1 }", "rate"),
        ('sizes = [28]\nrecipe = { inputs = "pixels" }', "inputs"),
        ('sizes = [28]\nvariants = [{ name = "a" }, { name = "a" }]', "two variants"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "plan.toml"
    head = '[recipe]\n[experiments.x]\ntitle = "x"\ndata = "mnist"\nphotos = 1\nseeds = [0]\n'
    file.write_text(head + line, encoding="utf-8")
    with pytest.raises(SystemExit, match=says):
        load_plan(file)


def jobs_of(plan: Plan, name: str) -> dict[str, Any]:
    return next(jobs(plan, name)).settings


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    run.main()


def test_the_quick_slice_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command from idx files to README and pictures; then nothing is done again."""
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "nothing"))
    mnist = write_mnist(tmp_path / "mnist", train=120, test=40)
    plan = shrink(load_plan(HERE / "plan.toml"))
    small = {
        name: each.model_copy(update={"photos": 64, "sizes": (16, 20)[: len(each.sizes)]})
        for name, each in plan.experiments.items()
    }
    monkeypatch.setattr(run, "shrink", lambda _: plan.model_copy(update={"experiments": small}))
    steps = (*EXPERIMENTS, "resnet", "table", "plot")
    out = tmp_path / "out"
    call(monkeypatch, *steps, "--quick", "--data", mnist, "--out", out)
    told = capsys.readouterr().out
    assert "sizes: 4 jobs to do, about" in told and "min left" in told
    assert "trashnet: its photos are not here" in told and "resnet: TrashNet is not" in told
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert readme.count("Not run yet.") == 3  # trashnet, resnet and bench
    assert "| placement | N = 16 | N = 20 | mean rank |" in readme
    assert f"At N = 16 {PUBLISHED_NAME} is number" in readme
    assert "\n| rate-third | " in readme and "Over 4 cells C-CR-C-CR is number " in readme
    assert "Lowest on validation is C" in readme and "Lowest on validation over all" in readme
    # The base of the factors is the first size's training: it was done once.
    assert "sizes-base-16px-0: measured, its networks were trained before" in told
    assert "4 jobs (2 trained in another experiment)" in readme
    drawn = {file.name for file in (out / "results").glob("*.svg")}
    assert {"mnist-curves.svg", "sizes-heat.svg", "sizes-ranking.svg", "factors-heat.svg"} <= drawn
    assert {"mnist-published-curves.svg", "sizes-published-heat.svg"} <= drawn
    assert not (out / "test_looks.csv").exists()  # a slice has not seen one
    assert not list((out / "runs").glob("*.safetensors"))
    before = {file: file.read_bytes() for file in (out / "results").rglob("*.*")}
    call(monkeypatch, *steps, "--quick", "--data", mnist, "--out", out)
    assert "sizes: every job has its result" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in (out / "results").rglob("*.*")} == before


def test_time_over_and_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mnist = write_mnist(tmp_path / "mnist", train=120, test=40)
    plan = shrink(load_plan(HERE / "plan.toml"))
    small = plan.experiments["mnist"].model_copy(
        update={"photos": 40, "sizes": (16,), "seeds": (0,)}
    )
    plan = plan.model_copy(update={"experiments": {"mnist": small}})
    monkeypatch.setattr(run, "shrink", lambda _: plan)
    given = ("mnist", "--quick", "--data", mnist, "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match="the time is over; the same call goes on"):
        call(monkeypatch, *given, "--minutes", "1e-9")
    assert "epoch 1/2" in capsys.readouterr().out
    call(monkeypatch, *given, "--seeds", 0, 0, "--no-weights")
    told = capsys.readouterr().out
    assert "mnist: 1 jobs to do" in told and not (tmp_path / "out" / "runs" / "weights").exists()
    assert "epoch 2/2" in told and "epoch 1/2" not in told
    # A result of other settings is named, and stays.
    monkeypatch.setattr(run, "shrink", lambda _: plan.model_copy(update={"recipe": {"rate": 0.5}}))
    call(monkeypatch, *given)
    assert "its result was made with other settings; delete its line" in capsys.readouterr().out


def test_a_wrong_call_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="no such folder; name the one with MNIST's four idx"):
        call(monkeypatch, "mnist", "--quick", "--data", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="train-images-idx3-ubyte: no such file"):
        call(monkeypatch, "mnist", "--quick", "--data", tmp_path / "empty", "--out", tmp_path / "o")
    for steps in ((), ("minst",)):
        with pytest.raises(SystemExit):
            call(monkeypatch, *steps, "--data", tmp_path)
        assert "there are estimate, bench, factors" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call(monkeypatch, "mnist", "--data", tmp_path, "--seeds", "-1")
    assert "--seeds: expected numbers from 0 on" in capsys.readouterr().err


def test_the_readme_has_a_place_for_each_table() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    for name in (*EXPERIMENTS, "resnet", "bench"):
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1
