"""What this machine is, for figures that are true of it alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_CGROUP_OF_PROCESS, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, and of them a container's share.

    A share is rounded down, to 1 at least: a thread beyond it would make all of them stand still
    for the rest of each period.
    """
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:
        bound = os.cpu_count() or 1
    share = cores_of_share(_CGROUP_OF_PROCESS, _CGROUPS)
    return bound if share is None else min(bound, max(1, int(share)))


def cores_of_share(membership: Path, groups: Path) -> float | None:
    """The processor time that a control group may take, in cores.

    Args:
        membership: names the process's group, as ``/proc/self/cgroup`` does.
        groups: the folder of all groups (version 2), as ``/sys/fs/cgroup``.

    Returns:
        The least quota of the group and of those around it; None where none is set. Source: the
        Linux kernel's documentation of ``cpu.max``: a quota or ``max``, and a period.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return None
    found = []
    for name in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        group = groups / name
        for folder in (group, *group.parents[: len(group.parts) - len(groups.parts)]):
            # Of a group whose name the container cannot see there is no file, and the root has it.
            with suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
                if quota != "max":
                    found.append(int(quota) / int(period))
    return min(found, default=None)


def describe_machine() -> dict[str, object]:
    """Processor, the instructions that networks profit from, cores, system and libraries."""
    name, flags = _processor()
    return {
        "processor": name,
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": library_versions(_LIBRARIES),
    }


def library_versions(libraries: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed, by the names that pip calls them."""
    found = {}
    for library in libraries:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def _processor() -> tuple[str, frozenset[str]]:
    name, flags = platform.processor() or platform.machine(), ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return name, frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = value
    return name, frozenset(flags.split())
