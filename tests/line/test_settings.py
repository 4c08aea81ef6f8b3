"""What a line's file may not say: refused before anything is opened."""

from __future__ import annotations

import pytest

from beltsight.errors import ConfigError
from beltsight.line.settings import DEFAULT_LINE, load_line

NUMBERS = {"paper": 1, "plastic": 2, "glass": 3, "metal": 4}
MODBUS = {"links": [{"kind": "modbus", "name": "plc", "actuators": NUMBERS}]}
LANES = {"name": "jets", "routes": ["paper"], "distance_mm": 600,
         "lanes": [[8 * lane, 8 * lane + 8] for lane in range(70)]}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**MODBUS, "belt.counter_bits": 0}, "counters of 1 to 32 bits, belt.counter_bits is 0"),
        ({**MODBUS, "belt.counter_bits": 64}, "counters of 1 to 32 bits, belt.counter_bits is 64"),
        ({"links": [{"kind": "modbus", "name": "plc"}]}, "has no number for it"),
        ({**MODBUS, "schedule.actuators": [LANES]}, "70 lanes, the link carries 32"),
        (
            {"links": [{"kind": "opcua-server", "name": "plc"}], "schedule.actuators": [LANES]},
            "70 lanes, the link carries 64",
        ),
        ({"belt.counter_bits": 14}, "comes round every 1,638 mm, too soon for 600 mm"),
    ],
)
def test_what_a_link_cannot_carry_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_line(DEFAULT_LINE, values)


def test_what_it_can_carry_is_taken() -> None:
    assert load_line(DEFAULT_LINE, {**MODBUS, "belt.counter_bits": 16}).belt.counter_bits == 16
