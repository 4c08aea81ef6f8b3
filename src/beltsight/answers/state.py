"""How far a run has come: a small file beside the answers, replaced as a whole.

It names how many photos are answered and how many bytes of rows hold them. Rows are safely on disk
before it says so; what a killed run wrote beyond is cut off and answered again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from beltsight.errors import ResumeError
from beltsight.files import whole

_SCHEMA = 1
_LARGEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class RunState:
    """What is answered so far.

    Args:
        settings: what must not change between two halves of a run, by name.
        answered: photos.
        failed: those of them with an error.
        size_bytes: of the rows that hold them.
        last: the name of the last.
        names: a digest of all their names in order, hexadecimal.
    """

    settings: dict[str, str] = field(default_factory=dict, hash=False)
    answered: int = 0
    failed: int = 0
    size_bytes: int = 0
    last: str = ""
    names: str = ""

    def after(self, name: str, failed: bool, row_bytes: int) -> RunState:
        """The state when one more photo is answered."""
        return replace(
            self,
            answered=self.answered + 1,
            failed=self.failed + failed,
            size_bytes=self.size_bytes + row_bytes,
            last=name,
            names=chain_name(self.names, name),
        )


def chain_name(names: str, name: str) -> str:
    """The digest of names with one more: any other name or order gives another.

    Example:
        >>> chain_name(chain_name("", "a"), "b") == chain_name(chain_name("", "b"), "a")
        False
    """
    return hashlib.sha256(f"{names}\n{name}".encode("utf-8", "surrogateescape")).hexdigest()


def state_path(out: Path) -> Path:
    """The file beside the answers that says that they are unfinished."""
    return out.with_name(f"{out.name}.unfinished")


def write_state(path: Path, state: RunState) -> None:
    """Replace the state on disk; after a crash there is the old one or the new one."""
    with whole(path) as draft, draft.open("w", encoding="ascii") as file:
        json.dump({"schema": _SCHEMA, **asdict(state)}, file)
        file.flush()
        os.fsync(file.fileno())


def read_state(path: Path) -> RunState:
    """The state on disk.

    Raises:
        ResumeError: it is none, or of a newer version.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        found = json.loads(path.read_text(encoding="ascii"))
        schema = found.pop("schema")
        if schema != _SCHEMA:
            raise ResumeError(
                f"{path}: written by another version of Beltsight (schema {schema}, read here: "
                f"{_SCHEMA}); go on with that version, or answer again under another name"
            )
        return _checked(RunState(**found))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResumeError(
            f"{path}: damaged; it should say how far the run has come. Delete it and the "
            "answers, and run again"
        ) from error


def _checked(state: RunState) -> RunState:
    counts: tuple[Any, ...] = (state.answered, state.failed, state.size_bytes)
    texts: tuple[Any, ...] = (state.last, state.names)
    if not (
        all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(text, str) for text in texts)
        and isinstance(state.settings, dict)
        and all(isinstance(value, str) for value in state.settings.values())
    ):
        raise ValueError("wrong types")
    return state
