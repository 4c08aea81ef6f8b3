from __future__ import annotations

import gc
import io
import itertools
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.tiny import paint, write_tiny

from beltsight.errors import DecodeError, ImageError, TooLargeError
from beltsight.image import decode
from beltsight.model import Model
from beltsight.records import Floats, Photo
from beltsight.sources import StoredPhoto
from beltsight.stream import stream_outputs

LONG_S = 20.0


def photos(count: int) -> list[Photo]:
    rng = np.random.default_rng(3)
    return [paint(tuple(rng.integers(0, 256, 3).tolist()), 40) for _ in range(count)]


def number_of(photo: NDArray[np.uint8]) -> dict[str, Floats]:
    return {"n": photo[:, 0, 0, :1].astype(np.float32)}


def numbered(n: int) -> Photo:
    return np.full((8, 8, 3), n, np.uint8)


def stream(sources: Any, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "prepare": lambda source: source,
        "compute": number_of,
        "batch_size": 2,
        "on_error": "raise",
        "threads": 2,
        "streams": 2,
    }
    return stream_outputs(sources, **{**options, **changes})


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 1), (2, 2), (4, 4)])
def test_threads_do_not_change_the_answers(tmp_path: Path, threads: int, streams: int) -> None:
    file = write_tiny(tmp_path / "m.onnx")
    one = Model.load(file, threads=1)
    many = Model.load(file, threads=threads, streams=streams)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    sources: list[Photo | Path] = [*photos(21), bad, *photos(4)]
    expected = list(one.stream(sources, batch_size=4, on_error="record", explain=True))
    got = list(many.stream(sources, batch_size=4, on_error="record", explain=True))
    assert got == expected
    assert [p.tasks for p in got] == [p.tasks for p in expected]
    for a, b in zip(got, expected, strict=True):
        assert (a.embedding is None) == (b.embedding is None)
        if a.embedding is not None and b.embedding is not None:
            np.testing.assert_array_equal(a.embedding, b.embedding)
            np.testing.assert_array_equal(a.maps["material"], b.maps["material"])


def test_photos_are_decoded_while_others_are_computed() -> None:
    """With one stream: the engine waits for the next batch's preparation, which must go on."""
    prepared_third = threading.Event()

    def prepare(source: Any) -> Photo:
        if source[0, 0, 0] == 2:  # of the second batch
            prepared_third.set()
        return np.asarray(source)

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        if batch[0, 0, 0, 0] == 0:
            assert prepared_third.wait(LONG_S)
        return number_of(batch)

    got = stream(map(numbered, range(8)), prepare=prepare, compute=compute, streams=1)
    assert [int(outputs["n"][0]) for _, outputs in got] == list(range(8))


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_a_prepared_batch_waits_where_a_stream_falls_free(streams: int) -> None:
    """All streams compute until one batch more is prepared."""
    prepared = threading.Event()

    def prepare(source: Any) -> Photo:
        if source[0, 0, 0] == 2 * streams + 1:  # the last photo of that batch
            prepared.set()
        return np.asarray(source)

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        assert prepared.wait(LONG_S)
        return number_of(batch)

    photos = map(numbered, range(4 * streams + 8))
    got = stream(photos, prepare=prepare, compute=compute, streams=streams, threads=4)
    assert [int(outputs["n"][0]) for _, outputs in got] == list(range(4 * streams + 8))


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_no_more_calls_at_once_than_streams(streams: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.003)
        with lock:
            running -= 1
        return number_of(batch)

    got = list(stream(map(numbered, range(24)), compute=compute, streams=streams, threads=3))
    assert len(got) == 24
    assert most == streams


def test_one_thread_or_one_photo_starts_none() -> None:
    seen = set()

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        seen.add(threading.get_ident())
        return number_of(batch)

    list(stream(map(numbered, range(9)), compute=compute, threads=1, streams=1))
    list(stream([numbered(1)], compute=compute, threads=4, streams=4))
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize(
    ("count", "streams", "sizes"),
    [
        (2, 2, [1, 1]),
        (5, 2, [3, 2]),
        (16, 2, [8, 8]),
        (31, 2, [16, 15]),
        (33, 2, [16, 16, 1]),
        (9, 4, [3, 3, 3]),
        (5, 1, [5]),
        (0, 2, []),
    ],
)
def test_few_photos_are_shared_among_the_streams(
    count: int, streams: int, sizes: list[int]
) -> None:
    seen: list[list[int]] = []

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        seen.append(batch[:, 0, 0, 0].tolist())
        return number_of(batch)

    got = stream(
        map(numbered, range(count)), compute=compute, batch_size=16, streams=streams, threads=4
    )
    assert [int(outputs["n"][0]) for _, outputs in got] == list(range(count))
    assert [len(batch) for batch in sorted(seen)] == sizes


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 8, 10, 45])
def test_what_ends_the_sources_comes_after_the_photos_before_it(count: int, threads: int) -> None:
    def broken() -> Any:
        yield from map(numbered, range(count))
        raise DecodeError("the archive is cut off")

    got = []
    with pytest.raises(DecodeError, match="cut off"):
        for _, outputs in stream(broken(), batch_size=16, threads=threads):
            got.append(int(outputs["n"][0]))
    assert got == list(range(count))


@pytest.mark.parametrize("threads", [1, 4])
def test_an_interrupt_of_the_sources_does_not_wait_for_the_batch_begun(threads: int) -> None:
    def interrupted() -> Any:
        yield from map(numbered, range(10))
        raise KeyboardInterrupt

    answers = stream(interrupted(), batch_size=4, threads=threads, streams=1)
    got = []
    with pytest.raises(KeyboardInterrupt):
        for _, outputs in answers:
            got.append(int(outputs["n"][0]))
    assert got == ([0, 1, 2, 3, 4, 5, 6, 7] if threads == 1 else [])


def test_reading_stays_a_few_batches_ahead() -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        for taken in itertools.count(1):
            yield numbered(taken % 250)

    answers = stream(endless())
    next(answers)
    assert taken == 2 * (2 + 1) * 2  # 2 * (streams + 1) batches of 2
    answers.close()


def test_an_error_is_raised_at_its_batch_or_recorded(tmp_path: Path) -> None:
    def prepare(source: Any) -> Photo:
        if source[0, 0, 0] == 5:
            raise ImageError("number five")
        return np.asarray(source)

    got = []
    with pytest.raises(ImageError, match="number five"):
        for _, outputs in stream(map(numbered, range(9)), prepare=prepare):
            got.append(int(outputs["n"][0]))
    assert got == [0, 1, 2, 3]
    recorded = list(stream(map(numbered, range(9)), prepare=prepare, on_error="record"))
    assert [isinstance(outputs, ImageError) for _, outputs in recorded] == [
        n == 5 for n in range(9)
    ]


def test_a_stored_photo_is_answered_and_its_errors_have_its_name(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"), threads=1)
    encoded = io.BytesIO()
    Image.fromarray(paint((220, 30, 40), 40)).save(encoded, "PNG")

    def gone() -> bytes:
        raise TooLargeError("tar://c.jpg::s.tar: too large")

    sources = [
        StoredPhoto("tar://a.png::s.tar", encoded.getvalue),
        StoredPhoto("tar://b.jpg::s.tar", lambda: b"no photo"),
        StoredPhoto("tar://c.jpg::s.tar", gone),
    ]
    a, b, c = model.stream(sources, on_error="record")
    assert (a.path, a.tasks["material"].label) == ("tar://a.png::s.tar", "red")
    assert b.path == "tar://b.jpg::s.tar"
    assert str(b.error).startswith("tar://b.jpg::s.tar: not a photo")
    assert c.error == "tar://c.jpg::s.tar: too large"
    with pytest.raises(DecodeError, match=r"^tar://b\.jpg::s\.tar: not a photo"):
        list(model.stream(sources[1:]))


def test_what_waits_is_bounded_in_bytes_over_all_batches() -> None:
    taken = 0

    def heavy() -> Any:
        nonlocal taken
        for taken in range(1, 100):
            yield StoredPhoto(str(taken), lambda: b"x", held_bytes=200_000_000)

    answers = stream(heavy(), prepare=lambda s: numbered(1), threads=8, streams=8)
    for number, _ in enumerate(answers, 1):
        # 256 MB, the one that passed it, and the one that is just being given.
        assert taken - number <= 2
    assert number == taken == 99


def test_a_photo_that_failed_lets_its_content_go() -> None:
    """At once: the collector of circles comes seldom where photos are few and large."""
    size = 1_000_000

    def prepare(content: Any) -> Photo:
        return decode(content)

    bad = [StoredPhoto(str(n), lambda: bytes(size), size) for n in range(40)]
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        answers = stream(bad, prepare=prepare, on_error="record", threads=1, streams=1)
        assert sum(isinstance(outputs, ImageError) for _, outputs in answers) == 40
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert most < 6 * size


def test_a_batch_that_nobody_waits_for_reads_no_further_photo() -> None:
    read: list[int] = []
    reading, go = threading.Event(), threading.Event()

    def photo(number: int) -> StoredPhoto:
        def content() -> bytes:
            read.append(number)
            if number >= 4:
                reading.set()
                go.wait(LONG_S)
            return b"x"

        return StoredPhoto(str(number), content)

    answers = stream(
        map(photo, itertools.count()), prepare=lambda s: numbered(1), batch_size=4, streams=1
    )
    next(answers)
    assert reading.wait(LONG_S)
    threading.Timer(0.1, go.set).start()
    answers.close()
    assert all(number % 4 == 0 for number in read if number >= 4)


def test_content_that_waits_is_bounded_in_bytes() -> None:
    sizes: list[int] = []

    def compute(batch: NDArray[np.uint8]) -> dict[str, Floats]:
        sizes.append(len(batch))
        return number_of(batch)

    heavy = [StoredPhoto(str(n), lambda: b"x", held_bytes=40_000_000) for n in range(5)]
    list(stream(heavy, prepare=lambda s: numbered(1), compute=compute, batch_size=16, threads=1))
    assert sizes == [2, 2, 1]
