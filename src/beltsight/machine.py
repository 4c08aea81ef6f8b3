"""What this machine is, for figures that are true of it alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
