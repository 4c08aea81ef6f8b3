"""A web server of this machine."""

from __future__ import annotations

import http.server
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; of a file whose name begins with ``cut`` the first half alone.

    While there is a file ``down`` in it, it serves nothing.
    """

    def send_head(self) -> Any:
        if (Path(self.directory) / "down").exists():
            self.send_error(503)
            return None
        return super().send_head()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        cut = Path(self.path).name.startswith("cut")
        outputfile.write(content[: len(content) // 2] if cut else content)

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serves ``tmp_path`` with two photos and an archive; gives its address."""
    pytest.importorskip("aiohttp", reason="fsspec reads the web with aiohttp, which is absent")
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"first")
    (tmp_path / "sub" / "b.png").write_bytes(b"second" * 1000)
    (tmp_path / "notes.txt").write_bytes(b"no")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "a.jpg", "in.jpg")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Server, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
