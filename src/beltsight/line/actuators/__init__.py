"""Actuators: whatever opens a valve or a flap, behind one protocol.

``open_actuator`` makes one from its settings; :class:`beltsight.line.actuators.link.Links` runs
them all in one thread. What a peer does with a command stands in ``docs/actuators.md``.
"""

from beltsight.line.actuators.kinds import (
    KINDS,
    LinkTable,
    open_actuator,
    read_peer,
)
from beltsight.line.actuators.protocol import (
    ACKNOWLEDGED,
    FIRING,
    LINE_STATES,
    LINK_STATES,
    SENT_OUTCOMES,
    Acknowledged,
    Acknowledgement,
    Actuator,
    Command,
    LineState,
    LinkState,
    PeerSettings,
    SentOutcome,
    StateName,
    Timing,
)

__all__ = [
    "ACKNOWLEDGED",
    "FIRING",
    "KINDS",
    "LINE_STATES",
    "LINK_STATES",
    "SENT_OUTCOMES",
    "Acknowledged",
    "Acknowledgement",
    "Actuator",
    "Command",
    "LineState",
    "LinkState",
    "LinkTable",
    "PeerSettings",
    "SentOutcome",
    "StateName",
    "Timing",
    "open_actuator",
    "read_peer",
]
