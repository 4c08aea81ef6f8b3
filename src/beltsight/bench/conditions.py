"""What a figure of speed depends on: the machine, its libraries, and what else it was doing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from beltsight.machine import describe_machine, library_versions

# Beside those of beltsight.machine: what decodes, prepares and calibrates, and the peers.
_LIBRARIES = ("numpy", "opencv-python-headless", "torchvision", "timm", "ultralytics")


def describe_conditions() -> dict[str, Any]:
    """The machine as :func:`beltsight.machine.describe_machine` has it, and more.

    Returns:
        Also the versions of further libraries, and ``load_before``: processes that wanted to run,
        in the mean of the last minute, or None where the system does not tell. Well over 0, the
        machine was not quiet.
    """
    machine = describe_machine()
    known: Any = machine["libraries"]
    return {
        **machine,
        "libraries": {**known, **library_versions(_LIBRARIES)},
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def conditions_line(conditions: Mapping[str, Any]) -> str:
    """What :func:`describe_conditions` gives, in one line.

    Example:
        >>> conditions_line({"processor": "A 9", "instructions": ["avx2"], "cores": 2,
        ...     "system": "Linux", "python": "3.12", "libraries": {"numpy": "2"},
        ...     "load_before": 0.0})
        'A 9 (avx2), 2 cores, Linux, Python 3.12, numpy 2; load before: 0.00'
    """
    instructions = " ".join(conditions["instructions"])
    libraries = ", ".join(f"{name} {number}" for name, number in conditions["libraries"].items())
    load = conditions["load_before"]
    return (
        f"{conditions['processor']}{f' ({instructions})' if instructions else ''}, "
        f"{conditions['cores']} cores, {conditions['system']}, Python {conditions['python']}, "
        f"{libraries}{'' if load is None else f'; load before: {load:.2f}'}"
    )
