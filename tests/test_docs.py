"""The documentation says what the program does: it is compared with the program."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import beltsight
from beltsight import image
from beltsight.line.actuators import KINDS
from beltsight.line.settings import LineSettings, load_line

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"])


@cache
def reference() -> dict[str, Any]:
    """The functions of the script that writes the commands page."""
    return runpy.run_path(str(DOCS / "commands_reference.py"))


def fences(text: str, language: str) -> list[str]:
    """The contents of a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def command_lines() -> list[tuple[str, str]]:
    """(page, command line) for every ``beltsight ...`` in a shell block."""
    found = []
    for page in PAGES:
        for block in fences(page.read_text(encoding="utf-8"), "(?:bash|console|sh)"):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ").partition("#")[0].strip()
                if command.startswith("beltsight "):
                    found.append((page.name, command))
    return found


def test_the_commands_page_is_what_help_prints() -> None:
    written = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert len(reference()["command_names"]()) > 8
    assert written == reference()["page"](), "run: python docs/commands_reference.py"


def test_the_page_of_line_settings_is_made_of_their_classes() -> None:
    made = runpy.run_path(str(DOCS / "line_settings_reference.py"))
    text = made["page"]()
    tables = re.findall(r"(?m)^## `\[+([\w.]+)\]", text)
    assert set(LineSettings.model_fields) - set(tables) == {
        "name",
        "source",
        "policy",
        "taxonomy",
        "keep_crops",
    }
    assert len([table for table in tables if table == "links"]) == len(KINDS)
    written = (DOCS / "line-settings.md").read_text(encoding="utf-8")
    assert written == text, "run: python docs/line_settings_reference.py"


def test_the_line_of_the_documentation_is_one() -> None:
    written = fences((DOCS / "line.md").read_text(encoding="utf-8"), "toml")[0]
    settings = LineSettings.model_validate(tomllib.loads(written))
    assert settings.camera is not None and settings.camera.producer is not None


def test_the_packaged_line_is_copied_as_the_documentation_says(tmp_path: Path) -> None:
    (command,) = re.findall(r"(?m)^\$ (cp -r .*)$", (DOCS / "line.md").read_text(encoding="utf-8"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd=tmp_path, env={"PATH": path})
    assert load_line(tmp_path / "north" / "line.toml").policy == tmp_path / "north" / "policy.toml"


def test_every_command_in_the_documentation_exists_with_its_options() -> None:
    lines = command_lines()
    assert len(lines) > 8
    names = reference()["command_names"]()
    for page, line in lines:
        words = line.split()
        if words[1].startswith("--"):
            assert words[1] in reference()["help_text"](), (page, line)
            continue
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in names else words[1]
        assert name in names, (page, line)
        text = reference()["help_text"](*name.split())
        for option in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
            assert re.search(rf"{option}\b", text) or option in ("--debug",), (page, line, option)


def test_getting_started_shows_the_whole_road() -> None:
    road = [line.split()[1] for page, line in command_lines() if page == "getting-started.md"]
    assert [name for name in ("fetch", "train", "evaluate", "predict") if name not in road] == []


def test_python_in_the_documentation_uses_the_public_surface() -> None:
    blocks = [
        (page.name, block)
        for page in PAGES
        for block in fences(page.read_text(encoding="utf-8"), "python")
    ]
    assert blocks
    for page, block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "beltsight":
                assert node.attr in beltsight.__all__, (page, node.attr)


def test_the_reference_names_the_whole_public_surface() -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "errors.md"))
    shown = set(re.findall(r"(?m)^\.\. (?:auto\w+|py:class):: beltsight\.(\w+)$", text))
    assert set(beltsight.__all__) <= shown


def test_a_class_of_a_module_stands_with_the_import_that_finds_it() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    deeper = re.findall(r"(?m)^\.\. autoclass:: (beltsight(?:\.\w+)+)\.(\w+)$", text)
    wanted = {(module, name) for module, name in deeper if module != "beltsight"}
    assert wanted
    shown = {
        (node.module, alias.name)
        for block in fences(text, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert wanted <= shown


def test_every_page_is_in_the_contents_and_every_link_leads_somewhere() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([a-z-]+)$", fences(index, r"\{toctree\}")[0], flags=re.MULTILINE))
    assert listed == {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert set(re.findall(r"\]\(([a-z-]+)\.md\)", index)) == listed  # GitHub draws no toctree
    seen = 0
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            seen += 1
            assert (page.parent / link).exists(), (page.name, link)
    assert seen > 5


def test_every_schema_is_shown() -> None:
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    schemas = list((REPOSITORY / "src" / "beltsight" / "assets" / "schemas").glob("*.json"))
    assert len(schemas) >= 2
    for schema in schemas:
        assert schema.name in page


def test_the_bounds_are_those_of_the_code() -> None:
    page = (DOCS / "preparation.md").read_text(encoding="utf-8")
    millions = image.MAX_PIXELS // 10**6
    assert f"| pixels | {millions} million; CMYK JPEG {image._CMYK_JPEG_PIXELS // 10**6}" in page
    for form, pixels in image._FORMAT_PIXELS.items():
        assert re.search(rf"{form} {pixels // 10**6}\b", page, flags=re.IGNORECASE)
    assert f"PPM as text {image._PLAIN_PPM_PIXELS // 10**6} million" in page
    assert f"| side | {image.MAX_SIDE:,} pixels |" in page
    assert f"| file | {image.MAX_BYTES // 10**6} MB |" in page


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "NOTICE", "LICENSE"]
)
def test_the_house_has_its_papers(name: str) -> None:
    assert len((REPOSITORY / name).read_text(encoding="utf-8")) > 500


def test_the_changelog_knows_this_version() -> None:
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {beltsight.__version__}" in changes
