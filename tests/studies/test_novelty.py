"""The study of novelty keeps what it has asked, by what it asked about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from studies.novelty.run import asked_of, embed

import beltsight


class Answering:
    """In a model's place: a photo's first byte is its embedding."""

    hash = "abc"

    def __init__(self) -> None:
        self.asked = 0

    def stream_outputs(self, paths: list[Path], names: list[str], **_: Any) -> Iterator[Any]:
        for path in paths:
            self.asked += 1
            yield path, {name: np.array([path.read_bytes()[0]], np.float32) for name in names}


def test_embeddings_are_kept_for_the_same_bytes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for number, photo in enumerate(photos):
        photo.write_bytes(bytes([number]))
    model, file = Answering(), tmp_path / "kept.npz"
    for _ in range(2):
        table = embed(model, photos, file)[0]  # type: ignore[arg-type]
        assert table.tolist() == [[0.0], [1.0]] and model.asked == 2
    photos[1].write_bytes(bytes([7]))  # the same name and number of photos
    assert embed(model, photos, file)[0].tolist() == [[0.0], [7.0]]  # type: ignore[arg-type]
    first: Any = SimpleNamespace(hash="abc")
    before = asked_of(first, photos)
    monkeypatch.setattr(beltsight, "__version__", "0.0.0")
    assert asked_of(first, photos) != before
