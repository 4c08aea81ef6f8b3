from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tiny import CLASSES, GAIN, write_tiny

from beltsight.errors import ConfigError
from beltsight.explain import explain, heatmap, map_of, occlusion_map, overlay
from beltsight.image import Preparation
from beltsight.model import Model
from beltsight.records import Photo, Prediction, TaskSpec


def two_colours(height: int, width: int, red: tuple[slice, slice]) -> Photo:
    """A blue photo with a red part."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:] = (0, 0, 255)
    photo[red] = (255, 0, 0)
    return photo


def centre_of(heat: np.ndarray) -> tuple[float, float]:
    """Centre of mass as shares of height and width."""
    rows, columns = np.indices(heat.shape)
    total = heat.sum()
    return (
        float((rows * heat).sum() / total / heat.shape[0]),
        float((columns * heat).sum() / total / heat.shape[1]),
    )


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model.load(write_tiny(tmp_path / "m.onnx"), threads=1)


@pytest.fixture
def mapless(tmp_path: Path) -> Model:
    return Model.load(write_tiny(tmp_path / "n.onnx", with_map=False), threads=1)


def test_heat_lies_where_the_class_is_in_a_wide_photo(model: Model) -> None:
    photo = two_colours(60, 120, np.s_[:, :30])
    (prediction,) = model.predict(photo, explain=True)
    heat = explain(model, photo, prediction, "material", "red")
    assert heat.shape == (60, 120)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, pytest.approx(1))
    assert heat[:, :24].min() > 0.5
    # Towards the edges the coarse map takes in some of the grey padding, which is a half red.
    assert heat[20:40, 60:].max() < 0.05


def test_heat_lies_where_the_class_is_in_a_tall_photo(model: Model) -> None:
    photo = two_colours(120, 60, np.s_[90:, :])
    (prediction,) = model.predict(photo, explain=True)
    heat = explain(model, photo, prediction, "material", "red")
    assert heat.shape == (120, 60)
    assert heat[96:, 20:40].min() > 0.5
    assert heat[:60, 20:40].max() < 0.05


def test_the_answer_is_explained_unless_another_class_is_asked_for(model: Model) -> None:
    photo = two_colours(64, 64, np.s_[:, :16])
    (prediction,) = model.predict(photo, explain=True)
    assert prediction.tasks["material"].label == "blue"
    assert centre_of(explain(model, photo, prediction, "material"))[1] > 0.55


def test_heat_is_undone_from_the_letterbox_and_not_from_the_padding() -> None:
    # 32 x 64 in 64 x 64: rows 16 to 48 hold the photo. Heat in the padding must not count.
    class_map = np.zeros((8, 8), np.float32)
    class_map[0] = 100.0
    class_map[4, 7] = 1.0
    heat = heatmap(class_map, Preparation(64, 64), (32, 64))
    assert heat.max() == pytest.approx(1)
    assert heat[:, :32].max() < 0.05
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 16 <= row < 24
    assert column >= 56


def test_a_map_with_nothing_for_the_class_gives_no_heat() -> None:
    heat = heatmap(np.full((4, 4), -1, np.float32), Preparation(64, 64), (10, 20))
    assert heat.shape == (10, 20)
    assert not heat.any()


def test_class_map_is_the_logit_without_bias(model: Model) -> None:
    photo = two_colours(64, 64, np.s_[:20, :])
    prepared = model.prepare(photo)[None]
    raw = model.outputs(prepared, ["material", "material_map"])
    means = raw["material_map"].mean(axis=(2, 3))
    np.testing.assert_allclose(means - 0.5 * GAIN, raw["material"], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_occlusion_finds_the_place_in_any_batches(mapless: Model, batch_size: int) -> None:
    photo = two_colours(64, 64, np.s_[:16, 48:])
    drop = occlusion_map(mapless, photo, "material", cells=4, batch_size=batch_size)
    assert drop.shape == (3, 4, 4)
    red = drop[CLASSES.index("red")]
    assert np.unravel_index(red.argmax(), red.shape) == (0, 3)
    # Hiding the corner cell hides, with its overlap, 12 x 12 of 32 x 32 pixels, of which
    # 8 x 8 are red: the mean of red falls by 64 * (255 - 128) - 80 * 128 over 1,024 pixels.
    expected = GAIN * (64 * (255 - 128) - 80 * 128) / 1024 / 255
    assert red[0, 3] == pytest.approx(expected, abs=1e-3)


def test_a_model_without_maps_is_explained_by_occlusion(mapless: Model) -> None:
    photo = two_colours(64, 64, np.s_[:, :16])
    (prediction,) = mapless.predict(photo, explain=True)
    assert not prediction.maps
    heat = explain(mapless, photo, prediction, "material", "red")
    assert centre_of(heat)[1] < 0.3


def test_where_dirt_lies_is_shown_for_dirty_items_and_the_class_map_for_clean_ones() -> None:
    task = TaskSpec("contamination", ("clean", "partly", "heavily"))
    maps = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    places = np.array([[-2.0, 0.0], [1.0, 3.0]], np.float32)
    placed = Prediction(None, maps={task.name: maps}, places={task.name: places})
    for level in ("partly", "heavily"):
        shown = map_of(placed, task, level)
        assert shown is not None and shown[0, 1] == 0.5 and shown.argmax() == 3
        assert (shown > 0).all() and (shown < 1).all()
    np.testing.assert_array_equal(map_of(placed, task, "clean"), maps[0])
    np.testing.assert_array_equal(
        map_of(Prediction(None, maps={task.name: maps}), task, "heavily"), maps[2]
    )
    assert map_of(Prediction(None), task, "partly") is None


def test_a_place_far_from_any_dirt_overflows_nothing() -> None:
    task = TaskSpec("contamination", ("clean", "partly", "heavily"))
    places = np.array([[-120.0, 0.0, 120.0]], np.float32)
    with np.errstate(over="raise"):
        shown = map_of(Prediction(None, places={task.name: places}), task, "partly")
    assert shown is not None and shown.dtype == np.float32
    assert shown[0] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [("materail", None, "no task 'materail'"), ("material", "rde", "no class 'rde'")],
)
def test_what_is_not_there_cannot_be_explained(
    model: Model, task: str, label: str | None, said: str
) -> None:
    photo = two_colours(64, 64, np.s_[:, :16])
    (prediction,) = model.predict(photo, explain=True)
    with pytest.raises(ConfigError, match=said):
        explain(model, photo, prediction, task, label)


def test_occlusion_needs_a_cell(mapless: Model) -> None:
    with pytest.raises(ConfigError, match="at least one cell"):
        occlusion_map(mapless, two_colours(8, 8, np.s_[:, :2]), "material", cells=0)


def test_overlay_leaves_the_photo_alone_where_there_is_no_heat() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    heat = np.zeros((20, 30), np.float32)
    heat[:, 15:] = 1
    shown = overlay(photo, heat)
    np.testing.assert_array_equal(shown[:, :15], photo[:, :15])
    assert np.abs(shown[:, 15:].astype(int) - photo[:, 15:]).mean() > 20


def test_overlay_is_lighter_where_heat_is_stronger() -> None:
    grey = np.full((1, 5, 3), 90, np.uint8)
    shown = overlay(grey, np.array([[0.2, 0.4, 0.6, 0.8, 1.0]], np.float32))
    lightness = shown[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
