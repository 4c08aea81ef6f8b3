"""Resident memory of a process, now and at its peak."""

from __future__ import annotations

import contextlib
from pathlib import Path

from beltsight.errors import BeltsightError

# Written to clear_refs, this sets the peak back to what is resident now.
_RESET_PEAK = "5"


def resident_mb(pid: int | None = None) -> float:
    """Memory that a process holds in RAM now, in MB (2**20 bytes).

    Args:
        pid: of the process; this one by default.

    Raises:
        BeltsightError: there is no such process, or the system does not tell.

    Example:
        >>> resident_mb() > 1
        True
    """
    now_mb = _status_mb("VmRSS", pid)
    if now_mb is None and pid is None:
        return _peak_of_this_process_mb()
    if now_mb is None:
        raise BeltsightError(f"no memory figure of process {pid}: it has ended, or is not on Linux")
    return now_mb


class PeakMemory:
    """The most memory that this process has held since this was made.

    Where the system cannot set its peak back, what was held before counts as well.
    """

    def __init__(self) -> None:
        self.start_mb = resident_mb()
        # Not everywhere allowed, e.g. in some containers, and only on Linux.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        self._before_mb = _status_mb("VmHWM") or self.start_mb

    def growth_mb(self) -> float:
        """The peak beyond the start, in MB; 0 where nothing was added."""
        peak_mb = _status_mb("VmHWM") or resident_mb()
        # An old peak that still stands says nothing of what came since.
        most_mb = peak_mb if peak_mb > self._before_mb else resident_mb()
        return max(0.0, most_mb - self.start_mb)


def _status_mb(field: str, pid: int | None = None) -> float | None:
    status = Path(f"/proc/{'self' if pid is None else pid}/status")
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return next((int(kilobytes) / 1024 for kilobytes in found), None)


def _peak_of_this_process_mb() -> float:
    """Off Linux: the peak of the whole life of the process, which is all that is told."""
    try:
        import resource
    except ImportError as error:  # Windows
        raise BeltsightError("this system does not tell how much memory a process holds") from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
