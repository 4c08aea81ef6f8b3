"""Registers, rings and settings of the Modbus link, without a peer."""

from __future__ import annotations

import pytest

from beltsight.config import load_config
from beltsight.errors import ConfigError
from beltsight.line.actuators import modbus_map as layout
from beltsight.line.actuators.modbus import ModbusSettings


def test_numbers_and_rings_wrap() -> None:
    assert (layout.after(65_535), layout.steps(65_530, 4)) == (0, 10)
    assert layout.reached(4, 4) and layout.reached(4, 65_530) and not layout.reached(65_530, 4)
    ring = tuple((number, 0, number) for number in (65_532, 65_533, 65_534, 65_535))
    block = layout.PlcBlock(0, 0, 0, 0, ring)
    assert block.since(65_534) == ring[2:]
    assert block.since(60_000) == ring  # more than the ring holds
    assert block.since(0) == ()


@pytest.mark.parametrize(
    ("value", "high_first"),
    [(0, [0, 0]), (65_536, [1, 0]), ((1 << 32) - 1, [65_535, 65_535]), (-2, [65_535, 65_534])],
)
def test_32_bits_in_either_order(value: int, high_first: list[int]) -> None:
    assert layout.to_words(value, "high-first") == high_first
    assert layout.to_words(value, "low-first") == high_first[::-1]
    assert layout.from_words(layout.to_words(value, "low-first"), "low-first") == value % (1 << 32)


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="unknown key 'prot'; did you mean 'port'"):
        load_config(ModbusSettings, base={"prot": 502})
    with pytest.raises(ConfigError, match=r"base: .*less than or equal to 65184"):
        load_config(ModbusSettings, base={"base": 65_300})
