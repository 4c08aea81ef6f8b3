"""Run the program: inside the test's process, or as a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from beltsight.cli.app import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def spawn(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """``beltsight ARGUMENTS`` in a new process, with further variables in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "beltsight", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **env},
    )  # fmt: skip


def beltsight(*arguments: object) -> Result:
    """``beltsight ARGUMENTS``; the status is what the shell would see."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code or 0
    assert isinstance(status, int)
    return Result(status, out.getvalue(), err.getvalue())
