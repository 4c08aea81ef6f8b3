"""The package holds all that it needs, with its licences, and no more; set-up is reproducible."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import beltsight

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "beltsight"
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
MAX_PACKAGE_BYTES = 20_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source package, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [*command, str(REPOSITORY)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    assert path.stat().st_size < MAX_PACKAGE_BYTES
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    here = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert len(here) > 60
    assert there == here
    for name in ("py.typed", "assets/taxonomy.toml", "assets/schemas/metrics.schema.json"):
        assert f"beltsight/{name}" in there


def test_the_wheel_carries_its_licences(wheel: zipfile.ZipFile) -> None:
    papers = {
        name.rpartition("/")[2]: wheel.read(name).decode()
        for name in wheel.namelist()
        if ".dist-info/licenses/" in name
    }
    assert set(papers) == {"LICENSE", "NOTICE"}
    assert "Apache License" in papers["LICENSE"]
    assert "Version 2.0, January 2004" in papers["LICENSE"]
    assert "Copyright (c) 2017 Gary Thung" in papers["NOTICE"]
    assert (
        "The above copyright notice and this permission notice shall be included"
        in papers["NOTICE"]
    )
    assert "MobileNetV2" in papers["NOTICE"]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Version"] == beltsight.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = {
        Requirement(line).name
        for line in metadata.get_all("Requires-Dist") or ()
        if "extra ==" not in line
    }
    assert needed == {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    assert "torch" not in needed
    (scripts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert b"beltsight = beltsight.cli.app:main" in wheel.read(scripts)


def test_the_source_package_holds_no_tests_data_or_runs(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    assert path.stat().st_size < MAX_PACKAGE_BYTES
    with tarfile.open(path) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    papers = {"README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "pyproject.toml"}
    assert papers <= tops <= papers | {"src", "PKG-INFO", ".gitignore"}


def pins() -> dict[str, Requirement]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert len(found) > 80
    return {normal(pin.name): pin for pin in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> list[Requirement]:
    """Everything that the project asks for by name."""
    extras = PROJECT["project"]["optional-dependencies"]
    lists = [
        PROJECT["project"]["dependencies"],
        *extras.values(),
        PROJECT["build-system"]["requires"],
    ]
    lists.append(PROJECT["dependency-groups"]["dev"])
    found = [Requirement(line) for lines in lists for line in lines]
    return [one for one in found if normal(one.name) != "beltsight"]


def test_all_that_the_project_asks_for_is_pinned_and_fits() -> None:
    pinned = pins()
    assert len(wanted()) > 20
    for requirement in wanted():
        (pin,) = pinned[normal(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


def test_no_file_names_a_registry() -> None:
    words = (
        r"https?://[^\s\"']*(?:pypi|pythonhosted|npmjs|download\.pytorch)|--(?:extra-)?index-url"
    )
    paths = [
        REPOSITORY / name for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run")
    ]
    for path in paths:
        assert not re.search(words, path.read_text(encoding="utf-8")), path


def test_make_says_what_it_can_make() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    targets = [line.split()[1] for line in done.stdout.splitlines()]
    assert {"demo", "test", "check", "bench", "docs"} <= set(targets)


def test_making_the_demo_never_installs_torch() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "pip install" in done.stdout
    assert not re.search(r"\[(all|train|lab)\]|torch|--group", done.stdout)


def test_every_extra_that_a_message_names_exists() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    named = {
        extra
        for path in SOURCE.rglob("*.py")
        for extra in re.findall(r'MissingExtraError\([^()]*?"([\w-]+)"\)', path.read_text("utf-8"))
    }
    assert {"lab", "train", "tensorboard"} <= named
    assert named <= set(extras)
