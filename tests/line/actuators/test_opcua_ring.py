"""The ring over nodes that take what they like of a request, in whatever order they like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from tests.line.actuators.peers import command, run

from beltsight.errors import LinkError
from beltsight.line.actuators import LineState
from beltsight.line.actuators.opcua_ring import Ring
from beltsight.line.actuators.opcua_space import OpcUaSettings, first_value, variables

SLOTS = 2
SETTINGS = OpcUaSettings(kind="opcua-client", slots=SLOTS)


class HostileNodes:
    """A server that writes a request from its end, but for what it refuses; the PLC beats."""

    def __init__(self) -> None:
        self.values = {one.name: first_value(one.kind) for one in variables(SLOTS)}
        self.requests: list[set[str]] = []
        self.refused: set[str] = set()
        self.states: list[int] = []

    async def read(self, names: Iterable[str]) -> dict[str, Any]:
        self.values["Plc.Beat"] += 1
        return {name: self.values[name] for name in names}

    async def write(self, values: Mapping[str, Any]) -> None:
        self.requests.append(set(values))
        for name, value in reversed(list(values.items())):
            if name not in self.refused:
                self.values[name] = value
            if name == "Host.State":
                self.states.append(value)
        bad = self.refused & set(values)
        if bad:
            raise LinkError(f"{bad} not written")

    def take(self) -> list[str]:
        """What a PLC's program would take now, in order; it goes on behind it."""
        slots = [f"Slots[{slot}]" for slot in range(SLOTS)]
        found = sorted((self.values[f"{slot}.Sequence"], slot) for slot in slots)
        new = [(number, slot) for number, slot in found if number > self.values["Plc.Tail"]]
        for number, slot in new:
            self.values["Plc.Tail"] = number
            assert self.values[f"{slot}.Lanes"] == 1 << number % 64, "half a command"
        return [self.values[f"{slot}.Id"] for _, slot in new]


def one(number: int) -> Any:
    """The command that gets this sequence; the fake PLC knows it by its lane."""
    return command(number, lanes=(number % 64,))


@pytest.mark.parametrize("part", ["Id", "Lanes", "FireCount", "Sequence"])
@pytest.mark.parametrize("number", [1, 4])
def test_half_a_slot_is_never_taken_and_never_known(part: str, number: int) -> None:
    """The first command into an empty slot, and one into a slot that was used before."""

    async def body() -> None:
        nodes, ring = HostileNodes(), Ring(SETTINGS, confirms=False)
        await ring.open(nodes)
        for before in range(1, number):
            await ring.send(nodes, one(before))
            assert nodes.take() == [f"run1-{before}"]
        nodes.refused = {f"Slots[{number % SLOTS}].{part}"}
        with pytest.raises(LinkError, match="not written"):
            await ring.send(nodes, one(number))
        assert nodes.take() == []
        await ring.open(nodes)
        assert await ring.known(nodes, [f"run1-{number}"]) == frozenset()
        nodes.refused = set()
        await ring.send(nodes, one(number))
        known = await ring.known(nodes, [f"run1-{number}", "run1-99"])
        assert known == frozenset({f"run1-{number}"})
        assert nodes.take() == [f"run1-{number}"]

    run(body())


def test_the_sequence_goes_out_by_itself_after_the_rest() -> None:
    async def body() -> None:
        nodes, ring = HostileNodes(), Ring(SETTINGS, confirms=False)
        await ring.open(nodes)
        nodes.requests.clear()
        await ring.send(nodes, one(1))
        fields, last = nodes.requests
        assert len(fields) == 9 and "Slots[1].Sequence" not in fields
        assert last == {"Slots[1].Sequence"}

    run(body())


def test_a_new_session_is_told_when_no_old_slot_is_left() -> None:
    async def body() -> None:
        nodes = HostileNodes()
        nodes.values |= {"Slots[0].Sequence": 8, "Slots[1].Sequence": 7}
        nodes.refused = {"Slots[0].Sequence"}
        ring = Ring(SETTINGS, confirms=False)
        with pytest.raises(LinkError, match="not written"):
            await ring.open(nodes)
        assert nodes.values["Host.Session"] == 0
        nodes.refused = set()
        await ring.open(nodes)
        assert nodes.values["Host.Session"] > 0
        assert nodes.values["Slots[0].Sequence"] == nodes.values["Slots[1].Sequence"] == 0
        assert all(len(request) == 1 for request in nodes.requests if "Host.Session" in request)

    run(body())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("Plc.Run", 7, "has started anew; what it held"), ("Host.Session", 0, "another host writes")],
)
def test_what_a_plc_lost_by_a_restart_or_to_another_host_is_known_no_more(
    name: str, value: int, said: str
) -> None:
    async def body() -> None:
        nodes, ring = HostileNodes(), Ring(SETTINGS, confirms=False)
        await ring.open(nodes)
        await ring.send(nodes, one(1))
        await ring.beat(nodes, LineState("running"))
        nodes.values[name] = value
        with pytest.raises(LinkError, match=said):
            await ring.beat(nodes, LineState("running"))
        await ring.open(nodes)
        assert await ring.known(nodes, ["run1-1"]) is None

    run(body())


def test_a_plc_that_took_more_than_was_written_is_not_believed() -> None:
    async def body() -> None:
        nodes, ring = HostileNodes(), Ring(SETTINGS, confirms=False)
        await ring.open(nodes)
        await ring.send(nodes, one(1))
        nodes.values["Plc.Tail"] = 99
        with pytest.raises(LinkError, match="command 99 of the ring, but only 1 have been written"):
            await ring.beat(nodes, LineState("running"))

    run(body())


def test_a_ring_that_is_opened_again_says_safe_till_the_first_beat() -> None:
    async def body() -> None:
        nodes, ring = HostileNodes(), Ring(SETTINGS, confirms=False)
        nodes.values["Host.State"] = 1  # of a program that died
        await ring.open(nodes)
        await ring.beat(nodes, LineState("running"))
        await ring.open(nodes)
        assert nodes.values["Host.Reason"] == "the link is being made"
        await ring.beat(nodes, LineState("running"))
        assert nodes.states == [3, 1, 3, 1]

    run(body())
