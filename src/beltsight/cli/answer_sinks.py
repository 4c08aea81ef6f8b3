"""Where answers of ``beltsight predict`` go: lines on standard output, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from beltsight.answers import AnswerFile
    from beltsight.decide import Decider
    from beltsight.model import Model
    from beltsight.records import Decision, Prediction
    from beltsight.sources import FoundPhoto
    from beltsight.taxonomy import Taxonomy

    Print = Callable[[Prediction, Decision | None], None]


class Sink(Protocol):
    """Takes answers one by one."""

    where: str
    shows_lines: bool

    @property
    def answered(self) -> int:
        """Photos written, those of earlier runs among them."""

    @property
    def failed(self) -> int:
        """Those of them with an error."""

    def skip(self, sources: Iterator[FoundPhoto]) -> Iterator[FoundPhoto]:
        """The sources that are not answered yet."""

    def write(self, prediction: Prediction, decision: Decision | None) -> None:
        """Write one answer."""

    def save(self) -> None:
        """Make what was written safe."""

    def kept(self) -> str:
        """After an interrupt: what is left of the work, in words."""

    def finish(self) -> None:
        """All is answered."""


@contextmanager
def open_sink(
    model: Model,
    taxonomy: Taxonomy,
    decider: Decider | None,
    *,
    json: bool,
    out: Path | None,
    resume: bool,
) -> Iterator[Sink]:
    """Where the answers go by the options.

    Raises:
        ConfigError: a file of an unknown form.
        MissingExtraError: Parquet, and pyarrow is not installed.
        ResumeError: the file is already there, or is not of this run.
    """
    tasks = _all_tasks(taxonomy)
    if out is None:
        yield Lines(_json_printer(tasks, model) if json else _line_printer(model, decider))
        return
    from beltsight.answers import AnswerFile, answer_columns, form_of

    form = form_of(out, answer_columns(model.tasks))
    settings = run_settings(model, tasks, decider)
    open_file = AnswerFile.resume if resume else AnswerFile.begin
    with open_file(out, form, settings) as file:
        yield FileSink(file, tasks, model.hash)


def run_settings(model: Model, tasks: tuple[str, ...], decider: Decider | None) -> dict[str, str]:
    """What decides the answers; two halves of a run must have it in common."""
    from beltsight import __version__

    return {
        "model": model.hash,
        "engine": model.engine.name,
        "policy": decider.policy_version if decider else "",
        "tasks": ", ".join(dict.fromkeys((*tasks, *(task.name for task in model.tasks)))),
        "version": __version__,
    }


class Lines:
    """Lines on standard output."""

    where = ""

    def __init__(self, print_answer: Print) -> None:
        import sys

        self.answered = 0
        self.failed = 0
        self.shows_lines = sys.stdout.isatty()
        self._print = print_answer

    def skip(self, sources: Iterator[FoundPhoto]) -> Iterator[FoundPhoto]:
        """See :class:`Sink`."""
        return sources

    def write(self, prediction: Prediction, decision: Decision | None) -> None:
        """See :class:`Sink`."""
        self._print(prediction, decision)
        self.answered += 1
        self.failed += prediction.error is not None

    def save(self) -> None:
        """See :class:`Sink`."""

    def kept(self) -> str:
        """See :class:`Sink`."""
        return f"{self.answered:,} photos were answered"

    def finish(self) -> None:
        """See :class:`Sink`."""


class FileSink:
    """A file of answers.

    Args:
        file: open.
        tasks: that every answer has.
        model_hash: SHA-256 of the model file, hexadecimal.
    """

    shows_lines = False

    def __init__(self, file: AnswerFile, tasks: tuple[str, ...], model_hash: str) -> None:
        self.where = str(file.out)
        self._file = file
        self._tasks = tasks
        self._model_hash = model_hash

    @property
    def answered(self) -> int:
        """See :class:`Sink`."""
        return self._file.state.answered

    @property
    def failed(self) -> int:
        """See :class:`Sink`."""
        return self._file.state.failed

    def skip(self, sources: Iterator[FoundPhoto]) -> Iterator[FoundPhoto]:
        """See :class:`Sink`."""
        from beltsight.sources import name_of

        return self._file.skip_answered(sources, lambda source: name_of(source) or "")

    def write(self, prediction: Prediction, decision: Decision | None) -> None:
        """See :class:`Sink`."""
        from beltsight.records import prediction_record

        record = prediction_record(prediction, self._tasks, decision, self._model_hash)
        self._file.add(prediction.path or "", record)

    def save(self) -> None:
        """See :class:`Sink`."""
        self._file.save()

    def kept(self) -> str:
        """See :class:`Sink`."""
        return (
            f"{self.answered:,} answers are kept; give the same command with --resume to go on "
            f"with {self.where}"
        )

    def finish(self) -> None:
        """See :class:`Sink`."""
        self._file.finish()


def _all_tasks(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Every answer has the packaged tasks and those of the taxonomy, whatever the model answers."""
    from beltsight.taxonomy import load_taxonomy

    return tuple(dict.fromkeys((*load_taxonomy().tasks, *taxonomy.tasks)))


def _json_printer(tasks: tuple[str, ...], model: Model) -> Print:
    from beltsight.cli.console import print_json
    from beltsight.records import prediction_record

    return lambda prediction, decision: print_json(
        prediction_record(prediction, tasks, decision, model.hash)
    )


def _line_printer(model: Model, decider: Decider | None) -> Print:
    """Answer and confidence in columns, the path last: its length is not known beforehand."""
    from beltsight.cli.console import print_line
    from beltsight.decide import Reason

    widths = [max(len(label) for label in (task.name, *task.classes)) for task in model.tasks]
    routes = ("route", *decider.routes) if decider else ()
    wide, longest = max(map(len, routes), default=0), max(map(len, Reason))
    can_abstain = bool(model.thresholds) or model.novelty is not None

    def row(cells: list[tuple[str, str]], taken: str, route: tuple[str, str], path: str) -> str:
        pairs = zip(cells, widths, strict=True)
        accepted = [f"{taken:<8}"] if can_abstain else []
        routed = [f"{route[0]:<{wide}} {route[1]:<{longest}}"] if routes else []
        answered = (f"{a:<{width}} {b:>7}" for (a, b), width in pairs)
        return "  ".join([*answered, *accepted, *routed, path])

    def write(prediction: Prediction, decision: Decision | None) -> None:
        cells, taken = [("-", "") for _ in model.tasks], "-"
        if prediction.error is None:
            taken = "unlike" if prediction.novel else "unsure" if prediction.abstain else "yes"
            answers = [prediction.tasks[task.name] for task in model.tasks]
            cells = [(answer.label, f"{answer.confidence:.1%}") for answer in answers]
        # The error names the file by itself.
        route = (decision.route, decision.reason) if decision else ("", "")
        print_line(row(cells, taken, route, prediction.error or prediction.path or ""))

    heading = [(task.name, "sure") for task in model.tasks]
    print_line(row(heading, "accepted", ("route", "reason"), "file"))
    return write
