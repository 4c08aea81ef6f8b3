"""The registers that the line and a PLC share over Modbus (``docs/modbus.md``); no input or output.

All are holding registers, counted from the link's ``base``. The PLC writes its own block; the line
writes its block and a ring of command slots. The number of the last command is written alone and
last, so the PLC never sees half a command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from beltsight.errors import LinkError
from beltsight.line.actuators.protocol import ACKNOWLEDGED, LINE_STATES, Command, LineState

WordOrder = Literal["high-first", "low-first"]

LAYOUT = 1
PLC_AT, PLC_HEAD = 0, 8
OUTCOME_SIZE = 4
LINE_AT, LINE_SIZE = 80, 9
SESSION_AT, WRITTEN_AT = LINE_AT + 7, LINE_AT + 8
RING_AT, SLOT_SIZE = 96, 16
SLOTS = (4, 8, 16)  # divide 65,536, so that the ring goes on where the number wraps
BATCH = 7  # slots that one write can carry: 123 registers at most
_WORD = 0xFFFF
_FLAG_HOST = 1


def plc_size(slots: int) -> int:
    """Registers of the PLC's block, which are read at once."""
    return PLC_HEAD + slots * OUTCOME_SIZE


def map_size(slots: int) -> int:
    """Holding registers that the PLC has to declare from ``base`` on."""
    return RING_AT + slots * SLOT_SIZE


def after(number: int, steps: int = 1) -> int:
    """The number so many commands later; it wraps from 65535 to 0."""
    return (number + steps) & _WORD


def steps(first: int, last: int) -> int:
    """How many commands lie from one number to the other, forward."""
    return (last - first) & _WORD


def reached(number: int, mark: int) -> bool:
    """Whether a number that wraps is at a mark or past it.

    Example:
        >>> reached(3, 65530), reached(65530, 3)
        (True, False)
    """
    return steps(mark, number) <= _WORD >> 1


@dataclass(frozen=True, slots=True)
class PlcBlock:
    """What the PLC says.

    Args:
        beat: the line's beat as the PLC's program has read it.
        taken: number of the last command that the program took out of the ring.
        outcomes: how many outcomes it has written; wraps.
        session: the line's session as the program has read it; 0 after the PLC's start.
        ring: (number, outcome's code, raw count) of each outcome's place.
    """

    beat: int
    taken: int
    outcomes: int
    session: int
    ring: tuple[tuple[int, int, int], ...]

    def since(self, outcomes: int) -> tuple[tuple[int, int, int], ...]:
        """The outcomes after the first so many; of more than the ring holds, the last."""
        new = min(steps(outcomes, self.outcomes), len(self.ring))
        places = range(self.outcomes - new, self.outcomes)
        return tuple(self.ring[place % len(self.ring)] for place in places)


def read_head(registers: Sequence[int]) -> int:
    """Number of slots, from the PLC's first two registers.

    Raises:
        ValueError: another layout, or a number of slots that cannot be.
    """
    if registers[0] != LAYOUT:
        raise ValueError(f"expected layout {LAYOUT} in register 0, got {registers[0]}")
    if registers[1] not in SLOTS:
        raise ValueError(f"expected 4, 8 or 16 slots in register 1, got {registers[1]}")
    return registers[1]


def read_plc(registers: Sequence[int], order: WordOrder) -> PlcBlock:
    """The PLC's block from its registers."""
    ring = []
    for at in range(PLC_HEAD, len(registers), OUTCOME_SIZE):
        number, code, *words = registers[at : at + OUTCOME_SIZE]
        ring.append((number, code, from_words(words, order)))
    beat, taken, outcomes, session = registers[2:6]
    return PlcBlock(beat, taken, outcomes, session, tuple(ring))


def write_line(
    state: LineState, beat: int, watchdog_ms: int, safe_count: int, order: WordOrder
) -> list[int]:
    """What a beat writes: the line's block up to the session."""
    raw = 0 if state.raw_count is None else state.raw_count
    counted = 0 if state.raw_count is None else 1
    name = LINE_STATES.index(state.name)
    return [beat, name, watchdog_ms, safe_count, counted, *to_words(raw, order)]


def write_slot(command: Command, number: int, actuator: int, order: WordOrder) -> list[int]:
    """One command as registers.

    Raises:
        LinkError: a lane over 31, or a time that 16 bits of 0.1 ms do not hold.

    Example:
        >>> made = Command("r1-7", 3, "plc", "air", (0, 2), 900, 940, 70000, 70040, 81.5, 12.0)
        >>> write_slot(made, 5, 1, "high-first")[5:14]
        [1, 0, 5, 1, 4464, 1, 4504, 200, 0]
    """
    if any(not 0 <= lane < 32 for lane in command.lanes):
        raise LinkError(
            f"command {command.command_id}: expected lanes 0 to 31 over Modbus, got "
            f"{list(command.lanes)}; split the actuator in two"
        )
    times = [round(ms * 10) for ms in (command.pulse_ms, command.latency_ms)]
    if any(not 0 <= time <= _WORD for time in times):
        raise LinkError(
            f"command {command.command_id}: expected pulse_ms and latency_ms up to 6553.5, got "
            f"{command.pulse_ms} and {command.latency_ms}"
        )
    mask = sum(1 << lane for lane in command.lanes)
    return [
        number,
        *digest(command.command_id),
        actuator,
        *to_words(mask, order),
        *to_words(command.raw_fire_count, order),
        *to_words(command.raw_end_count, order),
        *times,
        _FLAG_HOST if command.timing == "host" else 0,
        0,
    ]


def digest(command_id: str) -> list[int]:
    """64 bits that stand for an id: the first eight bytes of its SHA-256, as four registers.

    Example:
        >>> [hex(word) for word in digest("abc")]
        ['0xba78', '0x16bf', '0x8f01', '0xcfea']
    """
    first = hashlib.sha256(command_id.encode()).digest()[:8]
    return [int.from_bytes(first[at : at + 2], "big") for at in range(0, 8, 2)]


def to_words(value: int, order: WordOrder) -> list[int]:
    """32 bits as two registers; a negative value as two's complement.

    Raises:
        LinkError: a value that 32 bits do not hold.
    """
    if not -(1 << 31) <= value < 1 << 32:
        raise LinkError(
            f"expected a count of 32 bits, got {value}; set the belt's counter_bits to those of "
            "the PLC's counter"
        )
    words = [value >> 16 & _WORD, value & _WORD]
    return words if order == "high-first" else words[::-1]


def from_words(words: Sequence[int], order: WordOrder) -> int:
    """Two registers as an unsigned value of 32 bits."""
    high, low = words if order == "high-first" else reversed(words)
    return high << 16 | low


def outcome_name(code: int) -> str:
    """The outcome that a code stands for.

    Raises:
        ValueError: no such code.
    """
    if not 0 <= code < len(ACKNOWLEDGED):
        raise ValueError(f"expected an outcome's code up to {len(ACKNOWLEDGED) - 1}, got {code}")
    return ACKNOWLEDGED[code]
