"""Studies that train: their files, their statistics, and one of them in small from end to end."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from studies.runner import REPOSITORY
from studies.study import Study, Sweep, Variant, load_study, settings_of
from studies.tables import difference, fill_markers, marks, mcnemar, pooled
from studies.trained import Stopwatch, drawn_share, load_results, resolved
from studies.trashnet.run import mirrored
from tests.train.photosets import write_photoset

import beltsight
from beltsight import Dataset, Model, Sample, TaskSpec
from beltsight.errors import ConfigError
from beltsight.metrics import wilson_interval
from beltsight.train.loop import EpochDone, Event
from beltsight.train.run import run_training
from beltsight.train.settings import TrainSettings, load_settings
from studies import sweep as sweeping
from studies import trained

STUDIES = ("trashnet", "transfer", "ablation", "trunk")


def study_of(name: str) -> Study:
    return load_study(REPOSITORY / "studies" / name / "study.toml")


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_has_valid_settings(name: str) -> None:
    study = study_of(name)
    assert len(study.variants) > 5
    for variant in study.variants:
        settings = settings_of(study.base, variant, 3)
        assert settings.seed == 3
        assert settings.weights == "random" or settings.backbone in settings.weights
    readme = (REPOSITORY / "studies" / name / "README.md").read_text(encoding="utf-8")
    assert "<!-- results -->" in readme
    assert all(f"results/{plot.name}.svg" in readme for plot in study.plots)


def test_the_ablation_changes_parts_and_not_the_length() -> None:
    study = study_of("ablation")
    base = settings_of(study.base, study.variant("base"), 0)
    quick = load_settings(recipe="quick")
    assert (base.stages, base.augment) == (quick.stages, quick.augment)
    changed = {
        variant.name: {
            key
            for key, value in settings_of(study.base, variant, 0).model_dump().items()
            if value != base.model_dump()[key]
        }
        for variant in study.variants
    }
    assert changed.pop("base") == set()
    assert all(1 <= len(keys) <= 2 for keys in changed.values())
    rates = [(stage.epochs, stage.learning_rate) for stage in base.stages]
    for variant in study.variants:
        stages = settings_of(study.base, variant, 0).stages
        assert [(stage.epochs, stage.learning_rate) for stage in stages] == rates
    everything = settings_of(study.base, study.variant("no-pretraining"), 0)
    assert {(stage.learn, stage.views) for stage in everything.stages} == {("all", 0)}


def test_the_environment_does_not_change_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELTSIGHT_TRAIN_DROPOUT", "0.9")
    assert settings_of({}, Variant(name="x"), 0).dropout == TrainSettings().dropout


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dropout"):
        settings_of({}, Variant(name="x", settings={"dropuot": 0.1}), 0)
    file = tmp_path / "study.toml"
    file.write_text('question = "?"\ndata = "x"\nseeds = [0]\nvariant = []\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="variant"):
        load_study(file)


def test_paths_hold_from_any_directory() -> None:
    plain = TrainSettings(weights="../shared/weights/x.safetensors.xz", cache_folder="runs/cache")
    full = resolved(plain)
    shared = (REPOSITORY.parent / "shared").resolve()  # may be a link
    assert Path(full.weights) == shared / "weights" / "x.safetensors.xz"
    assert Path(full.cache_folder) == REPOSITORY / "runs" / "cache"
    assert resolved(TrainSettings(weights="random")).weights == "random"


def test_seeds_come_one_after_another() -> None:
    study = study_of("trashnet")
    here = Path()
    sweep = Sweep("x", study, here, here, here, here, here)
    jobs = [(variant.name, seed) for variant, seed in sweep.jobs()]
    assert [seed for _, seed in jobs] == sorted(seed for _, seed in jobs)
    assert {seed for name, seed in jobs if name == "resnet18-full"} == {0, 1, 2}
    assert {seed for name, seed in jobs if name == "resnet50-full"} == {0}
    chosen = replace(sweep, only=("resnet50-full",), seeds=(1, 2))
    assert [(v.name, s) for v, s in chosen.jobs()] == [("resnet50-full", 1), ("resnet50-full", 2)]
    with pytest.raises(SystemExit, match="no variant resnet51"):
        list(replace(sweep, only=("resnet51",)).jobs())


def labelled(counts: dict[str, int], split: str) -> list[Sample]:
    return [
        Sample(Path(f"/d/{split}/{label}/{n:03}.jpg"), {"material": label}, split=split)
        for label, count in counts.items()
        for n in range(count)
    ]


def test_shares_are_stratified_nested_and_leave_validation_alone() -> None:
    samples = labelled({"glass": 100, "trash": 12}, "train") + labelled({"glass": 9}, "val")
    task = TaskSpec("material", ("glass", "trash"))
    dataset = Dataset(Path("/d"), (task,), tuple(samples))
    settings = TrainSettings(seed=4)
    tenth, third = (drawn_share(dataset, settings, share).samples for share in (0.1, 0.3))
    assert Counter((s.split, s.labels["material"]) for s in tenth) == {
        ("train", "glass"): 10, ("train", "trash"): 1, ("val", "glass"): 9,
    }  # fmt: skip
    assert Counter(s.labels["material"] for s in third if s.split == "train") == {
        "glass": 30, "trash": 4,
    }  # fmt: skip
    assert {s.path for s in tenth} < {s.path for s in third}
    other = drawn_share(dataset, TrainSettings(seed=5), 0.1).samples
    assert {s.path for s in other} != {s.path for s in tenth}
    assert drawn_share(dataset, settings, 1.0) is dataset


def test_pooling_one_seed_is_wilson_and_equal_seeds_add_nothing() -> None:
    correct = np.array([[1.0] * 90 + [0.0] * 10])
    one = pooled(correct)
    assert (one.low, one.high) == pytest.approx(wilson_interval(90, 100))
    assert pooled(np.repeat(correct, 3, axis=0)) == one


def test_pooling_seeds_that_err_apart_narrows_as_more_photos_would() -> None:
    rng = np.random.default_rng(0)
    share = pooled((rng.uniform(size=(4, 5000)) < 0.9).astype(np.float64))
    expected = wilson_interval(round(share.mean * 20000), 20000)
    assert (share.low, share.high) == pytest.approx(expected, abs=3e-4)


def test_a_perfect_class_has_an_interval() -> None:
    share = pooled(np.ones((2, 29)))
    assert (share.low, share.high) == pytest.approx(wilson_interval(29, 29))


def test_the_difference_agrees_with_the_paired_normal_interval() -> None:
    rng = np.random.default_rng(1)
    both = rng.uniform(size=2000)
    a, b = ((both < limit).astype(np.float64)[None] for limit in (0.93, 0.90))
    gap = (a - b)[0]
    half = 1.96 * gap.std() / np.sqrt(gap.size)
    found = difference(a, b)
    assert found.mean == pytest.approx(gap.mean())
    ends = (gap.mean() - half, gap.mean() + half)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-3)


def test_mcnemar_by_hand() -> None:
    a = np.array([1, 1, 1, 1, 0, 0], np.float64)
    b = np.array([1, 0, 0, 0, 1, 0], np.float64)
    # Of 4 photos that one alone has right, 3 or more are one's: 2 * (4 + 1) / 2**4.
    only_a, only_b, p = mcnemar(a, b)
    assert (only_a, only_b, p) == (3, 1, 0.625)
    assert mcnemar(a, a) == (0, 0, 1.0)


def test_runs_on_other_photos_are_not_compared() -> None:
    runs = [
        {"variant": "a", "seed": 0, "test": {"photos_sha256": digest, "correct": {"x": "01"}}}
        for digest in "pq"
    ]
    assert marks(runs[:1]).tolist() == [[0.0, 1.0]]
    with pytest.raises(SystemExit, match="not measured on the same"):
        marks(runs)


def test_markers_are_filled_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("a\n<!-- results -->\n<!-- /results -->\nb\n", encoding="utf-8")
    for text in ("first", r"second \1"):
        fill_markers(file, "results", text)
    filled = f"a\n<!-- results -->\n{text}\n<!-- /results -->\nb\n"
    assert file.read_text(encoding="utf-8") == filled
    with pytest.raises(SystemExit, match="expected <!-- flips -->"):
        fill_markers(file, "flips", "x")


def test_seconds_are_summed_over_resumptions(tmp_path: Path) -> None:
    file = tmp_path / "run" / "spent.json"
    watch = Stopwatch.go_on(file)
    watch.note(EpochDone(1, 0, 0.1, 1.0, 1.0, 0.5, 2.0))
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**kept, "seconds": 100.0}), encoding="utf-8")
    again = Stopwatch.go_on(file)
    again.note(EpochDone(2, 0, 0.1, 1.0, 1.0, 0.5, 2.0))
    assert again.starts == 2
    assert again.seconds == pytest.approx(100, abs=5)
    assert again.epochs[1] < 5 and again.epochs[2] == pytest.approx(100, abs=5)


def test_flips_answer_by_the_mean_of_both_images() -> None:
    """Class 1 is as probable as the left half is bright, beyond a half."""

    def outputs(photos: Any, names: list[str]) -> dict[str, Any]:
        left = photos[:, :, : photos.shape[2] // 2].mean(axis=(1, 2, 3)) / 255
        return {names[0]: np.stack([1 - left, left], axis=1)}

    model = SimpleNamespace(outputs=outputs, probabilities=lambda task, logits: logits)
    photos = np.zeros((2, 4, 4, 3), np.uint8)
    photos[0, :, :2] = 160  # left bright, right dark: 0.63 of class 1, with the mirror 0.31
    photos[1] = 160
    plain, flipped = mirrored(cast("Model", model), photos, "material")
    assert (plain.tolist(), flipped.tolist()) == ([1, 1], [0, 1])


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The transfer study's slice on painted squares in its data's place."""
    data = write_photoset(tmp_path / "data" / "organic-recyclable")
    splits = data / "splits.csv"
    text = splits.read_text(encoding="utf-8").replace(",val", ",test")
    splits.write_text(text, encoding="utf-8")
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "data"))
    here = REPOSITORY / "studies" / "transfer"
    sweep = sweeping.open_sweep(here, tmp_path / "out", quick=True)
    return replace(sweep, only=("scratch", "last-layer-30"))


def test_a_study_from_training_to_the_plots(
    quick: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, watch: Any, **options: Any) -> Any:
        def stop(event: Event) -> None:
            watch(event)
            if isinstance(event, EpochDone):
                raise KeyboardInterrupt

        return run_training(*arguments, watch=stop, **options)

    monkeypatch.setattr(trained, "run_training", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweeping.train(quick)
    monkeypatch.setattr(trained, "run_training", run_training)
    assert load_results(quick.results) == []
    sweeping.train(quick)
    first, second = sorted(load_results(quick.results), key=lambda r: -r["starts"])
    assert (first["variant"], first["starts"], second["starts"]) == ("scratch", 2, 1)
    assert (second["n_train"], second["train_share"]) == (6, 0.3)  # of 24: 10 less val a class
    assert first["settings"]["weights"] == "random" and "dropout" not in first["settings"]
    assert first["seconds"] >= first["epoch_seconds"][0]
    folder = quick.folder("scratch", 0)
    assert (folder / "model.onnx").exists() and not list(folder.glob("*.safetensors"))
    with quick.file("scratch", 0).with_suffix(".csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 and float(rows[0]["elapsed_s"]) > 0

    capsys.readouterr()
    sweeping.train(quick)
    assert capsys.readouterr().out.count("has its result") == 2

    for _ in range(2):  # the second look is not taken
        sweeping.measure(quick)
    with quick.looks.open(encoding="utf-8") as file:
        looks = list(csv.DictReader(file))
    assert [look["n"] for look in looks] == ["18", "18"]
    test = json.loads(quick.file("scratch", 0).read_text(encoding="utf-8"))["test"]
    signs = "".join(test["correct"].values())
    assert signs.count("1") / len(signs) == pytest.approx(test["accuracy"])
    assert [len(each) for each in test["correct"].values()] == [6, 6, 6]

    sweeping.table(quick)
    readme = quick.readme.read_text(encoding="utf-8")
    assert "| scratch: ResNet-18, random start, all layers learn | 0 |" in readme
    assert "| last-layer-30 | " in readme
    sweeping.plot(quick)
    drawn = {path.name for path in quick.results.glob("*.svg")}
    assert drawn == {"curves.svg", "shares.svg"}


def test_one_that_fails_is_named_and_the_others_run(
    quick: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def fail(sweep: Sweep, variant: Variant, seed: int) -> None:
        tried.append(variant.name)
        if variant.name == "scratch":
            raise beltsight.BeltsightError("no room")

    monkeypatch.setattr(sweeping, "train_one", fail)
    with pytest.raises(SystemExit, match="scratch seed 0: no room"):
        sweeping.train(quick)
    assert tried == ["scratch", "last-layer-30"]
    assert "FAILED scratch" in capsys.readouterr().out


def test_a_slice_holds_every_class_of_every_split(quick: Sweep) -> None:
    samples = beltsight.load_dataset(quick.data).samples
    counts = Counter((s.split, s.labels["material"]) for s in samples)
    assert set(counts.values()) == {10, 6} and len(counts) == 6
    shutil.rmtree(quick.data)
