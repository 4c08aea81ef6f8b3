"""What ``beltsight log report`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beltsight.store import Confusion, Estimate, LogReader, LogReport, Span, Targets


def print_report(
    reader: LogReader,
    span: Span,
    bucket_s: float,
    models: list[str],
    policy: str | None,
    taxonomy: Path | None,
    shifts: Path | None,
    json: bool,
) -> None:
    """Print a log's figures; see the command's options."""
    import time

    from beltsight.cli.console import print_json
    from beltsight.store import load_shifts, report_log
    from beltsight.store.oee import simulated_runs

    confusions, targets = _models(models, policy, taxonomy)
    known = load_shifts(shifts) if shifts is not None else None
    found = report_log(
        reader, span, time.time(),
        bucket_s=bucket_s, confusions=confusions, targets=targets, shifts=known,
    )  # fmt: skip
    simulated, runs = simulated_runs(reader, span)
    if json:
        print_json({**found.to_record(), "simulated_runs": simulated})
    else:
        _print_report(found, f"{simulated:,} of {runs:,}" if simulated else "")


def _models(
    models: list[str], policy: str | None, taxonomy: Path | None
) -> tuple[dict[str, Confusion | str], Targets | None]:
    """Confusion matrices by model hash, and what belongs where by the policy and the last model."""
    from beltsight.cli.model_argument import open_model, open_policy
    from beltsight.decide import bind
    from beltsight.errors import ConfigError
    from beltsight.store import confusion_of, policy_targets
    from beltsight.taxonomy import load_taxonomy

    if policy is not None and not models:
        raise ConfigError("--policy is bound to a model: name it with --model")
    opened = [open_model(name, verify=False) for name in models]
    confusions = {one.hash: confusion_of(one.card) for one in opened}
    if policy is None:
        return confusions, None
    last, known = opened[-1], load_taxonomy(taxonomy)
    return confusions, policy_targets(bind(open_policy(policy), last.tasks, last.hash, known))


def _print_report(found: LogReport, simulated: str) -> None:
    from beltsight.cli.console import print_line, print_table

    stream, times = found.stream, found.latency
    record = found.to_record()
    busy = [row for row in record["throughput"] if row["items"]]
    print_table(
        f"Line {found.line}: {found.late.items:,} items, by {found.bucket_s:g} s (UTC)",
        ["From", "Items", "Per second", "Routes"],
        [
            (row["start"][:19].replace("T", " "), f"{row['items']:,}", f"{row['items_s']:.2f}",
             ", ".join(f"{route} {n:,}" for route, n in row["routes"].items()))
            for row in busy
        ],
    )  # fmt: skip
    print_line("")
    spread = ", ".join(f"p{p:g} {_ms(value)}" for p, value in times.percentiles.items())
    print_line(f"Last view to decision: {spread}, most {_ms(times.most)}")
    if simulated:
        print_line(
            f"In {simulated} runs the clock was simulated: their times and items a second are "
            "the belt's, and say nothing of this machine; see line simulate --real-time"
        )
    print_line(
        f"Late: {found.late.late:,} of {found.late.items:,} items, {_share(found.late.share)}"
    )
    print_line(
        f"Not sent: {found.late.not_sent:,} of {found.late.items:,} items (the command refused, or "
        "in conflict with a neighbour's)"
    )
    print_line("")
    kind = "corrected by the confusion matrix" if stream.corrected else "UNCORRECTED"
    intervals = ", 95 % intervals" if stream.corrected else ""
    print_table(
        f"Composition, {kind}{intervals}",
        ["Class", "Share"],
        [(name, _share(share)) for name, share in stream.composition.items()],
    )
    print_line("")
    print_table(
        f"Routes, {kind}",
        ["Route", "Items", "Purity", "Recovery"],
        [(r.route, f"{r.items:,}", _share(r.purity), _share(r.recovery)) for r in stream.routes],
    )
    print_line("")
    print_line(f"Sent where it belongs: {_share(stream.right)}")
    for said in stream.notes:
        print_line(f"Note: {said}.")
    if found.shifts:
        _print_shifts(found)


def _print_shifts(found: LogReport) -> None:
    from beltsight.cli.console import print_line, print_table

    print_line("")
    print_table(
        "Shifts: availability x performance x quality",
        ["Day", "Shift", "Items", "Late", "Not sent", "Availability", "Performance", "Quality",
         "OEE"],
        [
            (str(s.day), s.name, f"{s.items:,}", f"{s.late:,}", f"{s.not_sent:,}",
             _percent(s.availability), _percent(s.performance), _percent(s.quality),
             _percent(s.oee))
            for s in found.shifts
        ],
    )  # fmt: skip


def _share(share: Estimate) -> str:
    if share.value is None:
        return "-"
    if share.low is None or share.high is None:
        return _percent(share.value)
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
