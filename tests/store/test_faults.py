"""What a plant does to a database: power, disks, locks, clocks and people."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from tests.store.making import KEY, append_at_once, decision, event, fill, wait_for

from beltsight.errors import StoreError
from beltsight.store import StoreSettings, open_log, open_store, verify

REPOSITORY = Path(__file__).resolve().parents[2]
HASTE = StoreSettings(retry_first_ms=5, retry_most_ms=20)


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs Python code; it is ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


WRITE_FOR_EVER = """
import os, sys
from tests.store.making import KEY, decision
from beltsight.errors import StoreError
from beltsight.store import open_store
store = open_store(sys.argv[1], "north", KEY)
def told(ids):
    os.write(1, b"%d\\n" % ids[-1])
item = 0
while True:
    item += 1
    try:
        store.append([decision(item)], told)
    except StoreError:
        store.flush(0.01)
        item -= 1
"""


@pytest.mark.parametrize("rows", [1, 300])
def test_kill_9_loses_no_acknowledged_row(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "a.db"
    with child(WRITE_FOR_EVER, path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= rows:
                break
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line), *(int(more) for more in process.stdout if more.endswith("\n"))]
    with open_store(path, "north", KEY) as store:  # its lock died with it
        first = store.append([event(kind="again")]).ids[0]
    assert first > max(acknowledged)
    reader = open_log(path)
    assert verify(reader, KEY).rows == first
    items = [row.item_id for row in reader.rows(kinds=["decision"])]
    assert items == list(range(1, first))


FILL_DISK = """
import resource, sys
from tests.store.making import KEY, decision, wait_for
from beltsight.errors import StoreError
from beltsight.store import StoreSettings, open_store
settings = StoreSettings(queue_rows=300, retry_first_ms=5, retry_most_ms=20)
kept = []
with open_store(sys.argv[1], "north", KEY, settings=settings) as store:
    assert store.append([decision(0)], lambda ids: kept.extend(ids)).wait(20)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    refused = 0
    for item in range(1, 3_000):
        try:
            store.append([decision(item)], lambda ids: kept.extend(ids))
        except StoreError:
            refused = item
            break
        if item % 100 == 0:
            store.flush(0.2)
    wait_for(store, healthy=False)
    state = store.state()
    assert state.waiting_rows > 200, state
    print(state.failure.reason)
    before = len(kept)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert store.flush(20), store.state()
    assert store.state().healthy
    print(refused, before, len(kept), kept == list(range(1, refused + 1)))
"""


def test_a_full_disk_is_told_of_and_nothing_is_lost(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "a.db"
    with child(FILL_DISK, path) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    reason, figures = out.splitlines()
    assert "disk" in reason
    assert "room" in reason
    refused, before, kept, in_order = figures.split()
    assert 0 < int(before) < int(kept) == int(refused)
    assert in_order == "True"
    assert verify(open_log(path), KEY).rows == int(refused)


HOLD = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
other.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""


def test_a_database_locked_by_another_process_delays_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY, settings=HASTE) as store, child(HOLD, path) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        ticket = append_at_once(store, event())
        wait_for(store, healthy=False)
        failure = store.state().failure
        assert failure is not None
        assert "another process holds it" in failure.reason
        assert not ticket.committed
        other.stdin.write("\n")
        other.stdin.flush()
        assert ticket.wait(20)
        wait_for(store, healthy=True)
    assert verify(open_log(path), KEY).rows == 1


def test_a_commit_that_only_seems_to_fail_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY, settings=HASTE) as store:
        kind: Any = type(store._writer._session)
        add, fails = kind.add, iter([True])

        def add_and_fail(session: object, *rows: object) -> None:
            add(session, *rows)
            if next(fails, False):
                raise OperationalError("COMMIT", {}, OSError("the answer was lost"))

        monkeypatch.setattr(kind, "add", add_and_fail)
        assert store.append([event(), decision(1)]).wait(20)
        assert next(fails, "failed once") == "failed once"
        assert store.state().healthy
        assert store.append([event()]).wait(20)
    assert verify(open_log(path), KEY).rows == 3


def test_what_close_could_not_keep_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = open_store(path, "north", KEY, settings=HASTE)
    assert store.append([event()]).wait(20)
    with child(HOLD, path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        ticket = store.append([decision(1), decision(2)])
        unkept = store.close(timeout_s=0.1)
    assert unkept is not None
    assert (unkept.ids, len(unkept.bodies), ticket.wait(1)) == (range(2, 4), 2, False)
    assert "another process holds it" in unkept.reason
    with open_store(path, "north", KEY) as again:
        assert again.append([event()]).ids == range(2, 3)


def test_leaving_with_rows_that_are_not_kept_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with (
        pytest.raises(StoreError, match="1 rows were not stored"),
        open_store(path, "north", settings=HASTE) as store,
    ):
        path.rename(tmp_path / "b.db")
        store.append([event()])
        wait_for(store, healthy=False)
        store.close(timeout_s=0.05)  # sooner than leaving would


def test_a_file_that_was_deleted_is_not_written_to_unseen(tmp_path: Path) -> None:
    """The system would let the open file be written on, to nobody's use."""
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY, settings=HASTE) as store:
        assert store.append([event()]).wait(20)
        for name in ("a.db", "a.db-wal", "a.db-shm"):
            (tmp_path / name).rename(tmp_path / f"away-{name}")
        ticket = store.append([event()])
        wait_for(store, healthy=False)
        assert not path.exists()
        for name in ("a.db", "a.db-wal", "a.db-shm"):
            (tmp_path / f"away-{name}").rename(tmp_path / name)
        assert ticket.wait(20)
    assert verify(open_log(path), KEY).rows == 2


def test_an_older_copy_put_in_place_is_not_written_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path, 2)
    shutil.copy(path, tmp_path / "copy.db")
    store = open_store(path, "north", KEY, settings=HASTE)
    assert store.append([event()]).wait(20)
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        (tmp_path / name).unlink()
    shutil.copy(tmp_path / "copy.db", path)
    store.append([event()])
    wait_for(store, healthy=False)
    end_s = time.monotonic() + 20
    while "restored from a copy" not in str(store.state().failure):
        assert time.monotonic() < end_s, store.state()
        time.sleep(0.01)
    assert store.close(timeout_s=0.05) is not None
    assert open_log(path).last_sequence() == 2


OPEN = """
import sys
from tests.store.making import KEY
from beltsight.errors import StoreError
from beltsight.store import open_store
try:
    open_store(sys.argv[1], sys.argv[2], KEY).close()
    print("opened")
except StoreError as error:
    print(error)
"""


def test_a_second_process_on_a_line_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY):
        with child(OPEN, path, "north") as second:
            said = second.communicate(timeout=60)[0]
        assert "being written by another process; end that one, or give this line a name" in said
        with child(OPEN, path, "south") as other:
            assert other.communicate(timeout=60)[0] == "opened\n"
    with child(OPEN, path, "north") as later:
        assert later.communicate(timeout=60)[0] == "opened\n"


AS_NOBODY = """
import os, sys
import beltsight.store.event_store, beltsight.store.oee
from tests.store.making import KEY
from beltsight.errors import StoreError
from beltsight.store import open_log, open_store, verify
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        open_store(path, "north", KEY)
        print("opened")
    except StoreError as error:
        print(error)
print(verify(open_log(sys.argv[1]), KEY).rows)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no users here")
def test_a_read_only_folder_is_said_and_still_read() -> None:
    folder = Path(tempfile.mkdtemp(prefix="beltsight-ro-"))
    try:
        fill(folder / "a.db", 3)
        (folder / "a.db.north.lock").unlink()
        folder.chmod(0o555)
        with child(AS_NOBODY, folder / "a.db", folder / "b.db") as process:
            old, new, rows = process.communicate(timeout=60)[0].splitlines()
        assert "may be written" in old
        assert "folder exists and may be written" in new
        assert rows == "3"
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_clocks_that_step_do_not_disturb_the_writer(tmp_path: Path) -> None:
    clock = iter([1e9, 5e8, 2e9, 1.0] * 1000)
    with open_store(tmp_path / "a.db", "north", KEY, wall=lambda: next(clock)) as store:
        for _ in range(20):
            assert store.append([event()]).wait(20)
    assert verify(open_log(tmp_path / "a.db"), KEY).rows == 20


def test_sqlite_brings_each_commit_to_disk(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        session = store._writer._session
        assert session is not None
        found = session._connection.exec_driver_sql("PRAGMA synchronous").scalar()
        mode = session._connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert (found, mode) == (2, "wal")  # 2: FULL
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
