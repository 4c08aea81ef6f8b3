"""A PostgreSQL server of a test's own, run by an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

_FOLDERS = (
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
)


def _program(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join([*_FOLDERS, os.environ.get("PATH", "")]))
    if path is None:
        pytest.skip(f"PostgreSQL is not installed here ({name} is not found)")
    return path


def _user() -> str | None:
    """Whom PostgreSQL runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL refuses root, and there is no user postgres or nobody")


class Postgres:
    """A cluster in a folder that only its user reads; started, killed and started again."""

    def __init__(self) -> None:
        pytest.importorskip("psycopg")
        self._initdb, self._postgres = _program("initdb"), _program("postgres")
        self._user = _user()
        self._folder = Path(tempfile.mkdtemp(prefix="beltsight-pg-"))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [self._initdb, "-D", self._data, "-U", "belt", "-A", "trust", "-E", "UTF8",
             "--locale=C"],
            check=True, capture_output=True, timeout=120, user=self._user, cwd=self._folder,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://belt@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as said:
            self._process = subprocess.Popen(
                [self._postgres, "-D", self._data, "-p", str(self.port), "-h", "127.0.0.1",
                 "-k", self._folder, "-c", "shared_buffers=16MB"],
                stdout=said, stderr=said, user=self._user, cwd=self._folder,
            )  # fmt: skip
        end_s = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
                return
            except Exception:
                if time.monotonic() > end_s or self._process.poll() is not None:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def execute(self, statement: str) -> None:
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=belt dbname=postgres"
        with psycopg.connect(where, connect_timeout=2) as connection:
            connection.execute(statement.encode())

    def signal_all(self, what: signal.Signals) -> None:
        """To the server and all its backends."""
        assert self._process is not None
        children = subprocess.run(
            ["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        os.kill(self._process.pid, what)
        for child in children.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), what)

    def kill(self) -> None:
        """As a crash: the server and all its backends at once, without a word."""
        assert self._process is not None
        self.signal_all(signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
