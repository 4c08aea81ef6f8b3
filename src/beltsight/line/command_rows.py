"""Commands as rows of the log, and back."""

from __future__ import annotations

from beltsight.line.actuators.protocol import Command
from beltsight.store.rows import CommandRow


def command_row(
    command: Command, outcome: str, run_id: str, times_s: tuple[float, float], text: str = ""
) -> CommandRow:
    """A row that tells what became of a command.

    Args:
        command: of which.
        outcome: one of the store's.
        run_id: of the run.
        times_s: monotonic and wall clock.
        text: more, e.g. what the peer said.
    """
    monotonic_s, wall_s = times_s
    return CommandRow(
        run_id=run_id,
        wall_s=wall_s,
        monotonic_s=monotonic_s,
        item_id=command.item_id,
        command_id=command.command_id,
        actuator=command.actuator,
        outcome=outcome,
        lanes=command.lanes,
        belt_position_mm=command.belt_position_mm,
        encoder_count=command.fire_count,
        end_count=command.end_count,
        raw_fire_count=command.raw_fire_count,
        raw_end_count=command.raw_end_count,
        text=text,
    )


def command_of(row: CommandRow) -> Command | None:
    """The command that a row tells of, as far as a scheduler needs it; None where it made none.

    Its counts are of the run that made it; the raw ones are the PLC's and go on.
    """
    if row.command_id is None or row.raw_fire_count is None or row.raw_end_count is None:
        return None
    return Command(
        row.command_id, row.item_id, "", row.actuator, row.lanes, row.encoder_count or 0,
        row.end_count or 0, row.raw_fire_count, row.raw_end_count, row.belt_position_mm or 0.0,
        row.monotonic_s,
    )  # fmt: skip
