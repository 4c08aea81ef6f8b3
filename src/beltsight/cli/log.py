"""``beltsight log``"""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beltsight.cli.dataset_options import TaxonomyOption
from beltsight.cli.model_argument import PolicyOption

if TYPE_CHECKING:
    from beltsight.store import Span, Verification

app = typer.Typer(
    name="log",
    help="Show, verify, export or report a line's log.",
    no_args_is_help=True,
)


class Kind(StrEnum):
    """Kinds of rows."""

    DECISION = "decision"
    COMMAND = "command"
    EVENT = "event"


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
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Only rows from this time on: 2026-11-21, or 2026-11-21T06:00+01:00; UTC where no "
        "offset is given.",
    ),
]
UntilOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only rows before this time.")
]
KindOption = Annotated[
    list[Kind] | None,
    typer.Option(help="Only rows of this kind; may be given again."),
]


@app.command("show")
def show(
    store: StoreArgument,
    line: LineOption = None,
    json: JsonOption = False,
    from_: FromOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 20,
) -> None:
    """Print the newest rows."""
    from beltsight.cli.console import print_json, print_table
    from beltsight.store import export_records, open_log

    span = _span(from_, until)
    with closing(open_log(store, line)) as reader:
        records = export_records(reader, span, [str(k) for k in kind or ()], newest=rows)
        if json:
            for record in records:
                print_json(record)
            return
        cells = [
            (str(r["sequence"]), r["time"][:23].replace("T", " "), r["kind"], *_said(r))
            for r in records
        ]
    title = f"Line {reader.line}, times in UTC"
    print_table(title, ["Row", "Time", "Kind", "Item", "What"], cells)


@app.command("verify")
def verify(
    store: StoreArgument,
    line: LineOption = None,
    json: JsonOption = False,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The chain's key (default: the environment variable BELTSIGHT_LOG_KEY).",
        ),
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file of published heads.")
    ] = None,
) -> None:
    """Look for rows that were changed, removed or inserted.

    The exit status is 1 where a row is bad.
    """
    from beltsight.cli.console import print_json, print_line
    from beltsight.store import open_log, read_heads, read_key
    from beltsight.store import verify as verify_log

    with closing(open_log(store, line)) as reader:
        # Heads first: what is committed afterwards is no less.
        known = read_heads(heads) if heads is not None else []
        # Whatever the table says of a key: who writes the log anew without one changes it, too.
        found = verify_log(reader, read_key(key), known, progress=_noted)
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


@app.command("export")
def export(
    store: StoreArgument,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .csv, .parquet or .jsonl by its name.",
            show_default=False,
        ),
    ],
    line: LineOption = None,
    json: JsonOption = False,
    from_: FromOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
) -> None:
    """Write rows to a file."""
    from beltsight.cli.console import print_json, print_line
    from beltsight.store import export_log, open_log

    span = _span(from_, until)
    with closing(open_log(store, line)) as reader:
        n = export_log(reader, out, span, [str(k) for k in kind or ()])
    if json:
        print_json({"line": reader.line, "rows": n, "out": str(out)})
    else:
        print_line(f"{n:,} rows written to {out}")


@app.command("report")
def report(
    store: StoreArgument,
    line: LineOption = None,
    json: JsonOption = False,
    from_: FromOption = None,
    until: UntilOption = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A model that answered, whose confusion matrix corrects the figures: a model "
            "file, or 'default'; may be given again.",
        ),
    ] = None,
    policy: PolicyOption = None,
    taxonomy: TaxonomyOption = None,
    shifts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Shifts in TOML, for availability and OEE."),
    ] = None,
    bucket: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Pieces of throughput.")
    ] = 3600.0,
) -> None:
    """Print figures: throughput, purity and recovery, shifts.

    What belongs where is said by --policy, bound to the last --model; without it, it is where most
    of each material went.
    """
    from beltsight.cli.log_report import print_report
    from beltsight.store import open_log

    span = _span(from_, until)
    with closing(open_log(store, line)) as reader:
        print_report(reader, span, bucket, model or [], policy, taxonomy, shifts, json)


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


def _noted(rows: int) -> None:
    from beltsight.cli.console import note

    if rows % 100_000 == 0:
        note(f"{rows:,} rows fit so far")


def _verification_record(found: Verification) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found), "ok": found.ok, "statements": list(found.statements())}
