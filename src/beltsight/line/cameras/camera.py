"""What every camera of the line is: frames one at a time, each with its time and encoder count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from beltsight.records import Frame

# The belt encoder's counter as it stands now, as the encoder gives it; None: no answer.
Encoder = Callable[[], int | None]
# Seconds that never go back, e.g. time.monotonic.
Clock = Callable[[], float]


class EndOfFrames(Exception):  # noqa: N818  no error: a file is over, as with StopIteration
    """A video file or folder has been read to its end.

    Args:
        missing: frames that the file's header promises and that are not there.
    """

    def __init__(self, missing: int = 0) -> None:
        self.missing = missing
        super().__init__("no more frames")

    def __reduce__(self) -> tuple[type[EndOfFrames], tuple[int]]:
        return type(self), (self.missing,)


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """What has become of a camera's frames since it was opened.

    Args:
        delivered: given to the reader.
        dropped: thrown away since the reader was slower than the camera.
        lost: never came from the camera, by its own numbering or by the times of the others.
        corrupt: came and could not be decoded, or had another size than the first.
    """

    delivered: int = 0
    dropped: int = 0
    lost: int = 0
    corrupt: int = 0


class Camera(Protocol):
    """Gives frames in order. One reader; ``close`` may be called from anywhere, and again."""

    @property
    def name(self) -> str:
        """What people call it; never with a password."""

    @property
    def counts(self) -> CameraCounts:
        """Delivered, dropped, lost and corrupt frames so far."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None where none came within ``timeout_s`` seconds.

        Raises:
            CameraError: it is broken; close it, wait, and open it again.
            EndOfFrames: the file is over.
        """

    def close(self) -> None:
        """Let the source go. Does not wait for one that hangs."""
