"""``beltsight predict``"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

import typer

from beltsight.cli.dataset_options import TaxonomyOption
from beltsight.cli.model_argument import (
    BatchOption,
    EngineOption,
    ModelArgument,
    PolicyOption,
    ThreadsOption,
    open_model,
    open_policy,
)
from beltsight.cli.predict_options import (
    ExplainOption,
    JsonOption,
    NullOption,
    OutOption,
    PathsArgument,
    ResumeOption,
)

if TYPE_CHECKING:
    from io import BufferedIOBase

    from beltsight.cli.answer_sinks import Sink
    from beltsight.cli.overlays import Overlays
    from beltsight.decide import Decider
    from beltsight.model import Model
    from beltsight.records import Prediction
    from beltsight.sources import FoundPhoto
    from beltsight.taxonomy import Taxonomy

T = TypeVar("T")
_PATIENCE_S = 3.0


def command(
    model: ModelArgument,
    paths: PathsArgument,
    json: JsonOption = False,
    out: OutOption = None,
    resume: ResumeOption = False,
    explain: ExplainOption = None,
    policy: PolicyOption = None,
    taxonomy: TaxonomyOption = None,
    null: NullOption = False,
    batch_size: BatchOption = None,
    threads: ThreadsOption = 0,
    engine: EngineOption = None,
) -> None:
    """Answer for photos, one line each, as they are found.

    With --policy, each item's route and the reason are added.

    A photo that cannot be used has a line with its error; the exit status is then 1, as it is
    where --explain finds that a photo has gone since.
    """
    from beltsight.cli.answer_sinks import open_sink
    from beltsight.cli.overlays import Overlays, check_folder
    from beltsight.errors import ConfigError
    from beltsight.taxonomy import load_taxonomy

    if out is None and resume:
        raise ConfigError("--resume goes on with a file; name it with --out")
    if out is not None and json:
        raise ConfigError("--json prints and --out writes a file; give one of them")
    if explain is not None:
        check_folder(explain, paths)
    known = load_taxonomy(taxonomy)
    sources, is_many = _found(paths, null)
    loaded = _open(model, threads, engine, is_many)
    decider = _bound(policy, loaded, known) if policy is not None else None
    overlays = Overlays(loaded, explain) if explain is not None else None
    with open_sink(loaded, known, decider, json=json, out=out, resume=resume) as sink:
        try:
            pairs = _predicted(loaded, sink.skip(sources), overlays is not None, batch_size)
            _answer(_shown(pairs, sink, paths), decider, sink, overlays)
            sink.finish()
        except KeyboardInterrupt:
            _stop(sink)
    _end(sink, overlays)


def _found(paths: list[str], null: bool) -> tuple[Iterator[FoundPhoto], bool]:
    """The photos, and whether there are several."""
    import sys
    from itertools import chain, islice

    from beltsight.errors import DatasetError
    from beltsight.sources import find_sources, shown_path

    # A process that was started with its standard input closed has none.
    stdin = getattr(sys.stdin, "buffer", None) if "-" in paths else None
    listed = cast("BufferedIOBase | None", stdin)
    found = find_sources(paths, listed, null=null)
    first = list(islice(found, 2))
    if not first:
        raise DatasetError(
            f"no photos found in {', '.join(map(shown_path, paths))}; expected files that end in "
            ".jpg, .png, .webp, .gif, .bmp, .tif or .ppm"
        )
    return chain(first, found), len(first) > 1


def _open(argument: str, threads: int, engine: str | None, is_many: bool) -> Model:
    """One photo is answered by all threads together, many by each thread on its own."""
    from beltsight.machine import usable_cores

    counted = threads or usable_cores()
    return open_model(
        argument,
        threads=counted,
        streams=counted if is_many else 1,
        engine=engine,
        purpose="throughput" if is_many else "latency",
    )


def _bound(policy: str, model: Model, taxonomy: Taxonomy) -> Decider:
    from beltsight.decide import bind

    return bind(open_policy(policy), model.tasks, model.hash, taxonomy)


def _predicted(
    model: Model, sources: Iterable[FoundPhoto], explain: bool, batch_size: int | None
) -> Generator[tuple[FoundPhoto, Prediction]]:
    """Each photo with its answer."""
    from collections import deque
    from contextlib import closing

    waiting: deque[FoundPhoto] = deque()

    def remembered() -> Iterator[FoundPhoto]:
        for source in sources:
            waiting.append(source)
            yield source

    stream = model.stream(remembered(), explain=explain, batch_size=batch_size, on_error="record")
    with closing(stream):
        for prediction in stream:
            yield waiting.popleft(), prediction


def _shown(pairs: Generator[T], sink: Sink, paths: list[str]) -> Generator[T]:
    """The same; standard error, where it is a terminal, shows how far it is."""
    import sys

    if not sys.stderr.isatty() or sink.shows_lines:
        return pairs
    from beltsight.cli.answer_progress import watched
    from beltsight.sources import count_files

    return watched(pairs, sink.answered, count_files(paths))


def _answer(
    pairs: Generator[tuple[FoundPhoto, Prediction]],
    decider: Decider | None,
    sink: Sink,
    overlays: Overlays | None,
) -> None:
    from contextlib import closing

    with closing(pairs):
        for source, prediction in pairs:
            # First: a photo that a killed run has answered is not looked at again.
            if overlays is not None and prediction.error is None:
                overlays.write(source, prediction, sink.answered + 1)
            sink.write(prediction, decider.decide(prediction) if decider else None)


def _stop(sink: Sink) -> None:
    import os

    from beltsight.cli.console import note
    from beltsight.flow import still_working

    sink.save()
    note(f"beltsight: interrupted; {sink.kept()}")
    try:
        hangs = still_working(_PATIENCE_S)
    except KeyboardInterrupt:
        hangs = True
    if hangs:  # on a store that does not answer; all that matters is on disk
        os._exit(130)
    raise typer.Exit(130)


def _end(sink: Sink, overlays: Overlays | None) -> None:
    from beltsight.cli.console import note

    failed = sink.failed + (overlays.missing if overlays else 0)
    if sink.where:
        note(f"beltsight: {sink.answered:,} photos answered in {sink.where}")
    if failed:
        where = f"see 'error' in {sink.where}" if sink.where else "see their lines"
        where += " and the notes" if overlays else ""
        note(f"beltsight: {failed} of {sink.answered} photos could not be used; {where}")
        raise typer.Exit(1)
