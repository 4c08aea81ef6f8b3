from __future__ import annotations

from pathlib import Path

import pytest

from beltsight import machine
from beltsight.machine import cores_of_share, usable_cores


def group(tmp_path: Path, line: str, quotas: dict[str, str]) -> tuple[Path, Path]:
    """A process's entry, and the folder of groups with these ``cpu.max``."""
    membership, groups = tmp_path / "cgroup", tmp_path / "groups"
    membership.write_text(line)
    groups.mkdir()
    for name, quota in quotas.items():
        folder = groups / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(quota + "\n")
    return membership, groups


@pytest.mark.parametrize(
    ("line", "quotas", "cores"),
    [
        ("0::/\n", {"": "150000 100000"}, 1.5),
        ("0::/\n", {"": "max 100000"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a": "50000 100000", "a/b": "max 100000"}, 0.5),
        ("0::/a/b\n", {"a": "400000 100000", "a/b": "300000 100000", "c": "1 9"}, 3.0),
        ("4:memory:/x\n0::/a\n", {"a": "20000 10000", "x": "1 9"}, 2.0),
        ("4:memory:/x\n", {"": "20000 10000"}, None),  # version 1 alone
        ("0::/\n", {"": "damaged"}, None),
        ("", {}, None),
    ],
)
def test_the_least_quota_of_a_group_and_those_around_it(
    tmp_path: Path, line: str, quotas: dict[str, str], cores: float | None
) -> None:
    assert cores_of_share(*group(tmp_path, line, quotas)) == cores


def test_no_linux_has_no_groups(tmp_path: Path) -> None:
    assert cores_of_share(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("share", "cores"), [(None, 4), (2.9, 2), (0.2, 1), (64.0, 4)], ids=str)
def test_a_containers_share_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, share: float | None, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine, "cores_of_share", lambda *_: share)
    assert usable_cores() == cores
