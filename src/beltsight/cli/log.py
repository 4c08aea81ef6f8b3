"""``beltsight log``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beltsight.cli.dataset_options import TaxonomyOption

if TYPE_CHECKING:
    from beltsight.store import LogReader, Span, Verification


class Action(StrEnum):
    """What to do with a log."""

    SHOW = "show"
    VERIFY = "verify"
    EXPORT = "export"
    REPORT = "report"


class Kind(StrEnum):
    """Kinds of rows."""

    DECISION = "decision"
    COMMAND = "command"
    EVENT = "event"


KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="verify: the chain's key (default: the environment variable BELTSIGHT_LOG_KEY).",
        show_default=False,
    ),
]
HeadsOption = Annotated[
    Path | None,
    typer.Option("--heads", metavar="FILE", help="verify: the file of published heads."),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Only rows from this time on: 2026-11-21, or 2026-11-21T06:00+01:00; UTC where no "
        "offset is given. Not for verify.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Only rows before this time.", show_default=False),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="report: a model that answered, whose confusion matrix corrects the figures: a model "
        "file, or 'default'; may be given again.",
        show_default=False,
    ),
]


ActionArgument = Annotated[
    Action,
    typer.Argument(
        help="'show' prints the newest rows; 'verify' looks for rows that were changed, "
        "removed or inserted; 'export' writes a file; 'report' prints figures.",
        show_default=False,
    ),
]
StoreArgument = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="A log of SQLite by its path, or postgresql+psycopg://USER@HOST/DATABASE.",
        show_default=False,
    ),
]
LineOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The line; needed where the store has several."),
]
KindOption = Annotated[
    list[Kind] | None,
    typer.Option(help="show, export: only rows of this kind; may be given again."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="report: with --model, the policy that says what belongs where (default: where "
        "most of each material went).",
        show_default=False,
    ),
]


def command(
    action: ActionArgument,
    store: StoreArgument,
    line: LineOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    from_: FromOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="show: how many.")] = 20,
    key: KeyOption = None,
    heads: HeadsOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="export: the file, .csv, .parquet or .jsonl."),
    ] = None,
    model: ModelsOption = None,
    policy: PolicyOption = None,
    taxonomy: TaxonomyOption = None,
    shifts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="report: shifts in TOML, for availability and OEE."),
    ] = None,
    bucket: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="report: pieces of throughput.")
    ] = 3600.0,
) -> None:
    """Show, verify, export or report a line's log.

    The exit status of verify is 1 where a row is bad.
    """
    from beltsight.cli.log_report import report
    from beltsight.store import open_log

    span = _span(from_, until)
    kinds = [str(one) for one in kind or ()]
    reader = open_log(store, line)
    try:
        if action is Action.SHOW:
            _show(reader, span, kinds, rows, json)
        elif action is Action.VERIFY:
            _verify(reader, key, heads, json)
        elif action is Action.EXPORT:
            _export(reader, span, kinds, out, json)
        else:
            report(reader, span, bucket, model or [], policy, taxonomy, shifts, json)
    finally:
        reader.close()


def _span(start: str | None, end: str | None) -> Span:
    from beltsight.store import Span

    return Span(_seconds("--from", start), _seconds("--until", end))


def _seconds(option: str, text: str | None) -> float | None:
    """Seconds since 1970 of a time by ISO 8601."""
    from datetime import UTC, datetime

    from beltsight.errors import ConfigError

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option}: expected a time such as 2026-11-21T06:00, got {text!r:.60}"
        ) from error


def _show(reader: LogReader, span: Span, kinds: list[str], rows: int, json: bool) -> None:
    from beltsight.cli.console import print_json, print_table
    from beltsight.store import export_records

    records = export_records(reader, span, kinds, newest=rows)
    if json:
        for record in records:
            print_json(record)
        return
    cells = [
        (str(r["sequence"]), r["time"][:23].replace("T", " "), r["kind"], *_said(r))
        for r in records
    ]
    print_table(f"Line {reader.line}, times in UTC", ["Row", "Time", "Kind", "Item", "What"], cells)


def _said(record: dict[str, Any]) -> tuple[str, str]:
    """The item and what the row says, in short."""
    if record["kind"] == "event":
        text = f": {record['text']}" if record["text"] else ""
        return "", f"{record['severity']} {record['event']}{text}"[:160]
    item = str(record["item_id"])
    if record["kind"] == "command":
        text = f": {record['text']}" if record["text"] else ""
        return item, f"{record['actuator']} {record['outcome']}{text}"[:160]
    label = record["label"] or "no answer"
    sure = f" {record['confidence']:.1%}" if record["confidence"] is not None else ""
    return item, f"{label}{sure} -> {record['route']} ({record['reason']})"


def _verify(reader: LogReader, key: Path | None, heads: Path | None, json: bool) -> None:
    from beltsight.cli.console import print_json, print_line
    from beltsight.store import read_heads, read_key, verify

    # Heads first: what is committed afterwards is no less.
    known = read_heads(heads) if heads is not None else []
    # Whatever the table says of a key: who writes the log anew without one changes the table, too.
    found = verify(reader, read_key(key), known, progress=_noted)
    if json:
        print_json(_verification_record(found))
    else:
        print_line(
            f"line {found.line}: {found.rows:,} rows are as written"
            if found.bad is None
            else f"line {found.line}: {found.bad.text}; {found.rows:,} rows before are as written"
        )
        for said in found.statements():
            print_line(said)
    if not found.ok:
        raise typer.Exit(1)


def _noted(rows: int) -> None:
    from beltsight.cli.console import note

    if rows % 100_000 == 0:
        note(f"{rows:,} rows fit so far")


def _verification_record(found: Verification) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found), "ok": found.ok, "statements": list(found.statements())}


def _export(reader: LogReader, span: Span, kinds: list[str], out: Path | None, json: bool) -> None:
    from beltsight.cli.console import print_json, print_line
    from beltsight.errors import ConfigError
    from beltsight.store import export_log

    if out is None:
        raise ConfigError("export needs the file to write: --out FILE.csv, .parquet or .jsonl")
    n = export_log(reader, out, span, kinds)
    if json:
        print_json({"line": reader.line, "rows": n, "out": str(out)})
    else:
        print_line(f"{n:,} rows written to {out}")
