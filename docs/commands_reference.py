"""Writes ``commands.md`` from the program itself, so that the page cannot drift.

Run: ``python docs/commands_reference.py``; ``tests/test_docs.py`` compares.
"""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from beltsight.cli import app as program

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

Shared by all commands: results go to standard output, progress and problems to standard error;
the exit status is 0, or 1 for a problem with the input or the work, or 2 for a wrong command line
or a file of settings that cannot be used, or 130 after Ctrl-C.
`--json` gives what a [script reads](json.md), `NO_COLOR` turns colours off, `--debug` shows the
trace of a problem, and `beltsight --install-completion` completes commands in your shell.

This page is what `--help` prints; it is written by `docs/commands_reference.py`.
"""


def help_text(*command: str) -> str:
    """What ``beltsight COMMAND --help`` prints, 88 columns wide."""
    printed = io.StringIO()
    narrow = {"COLUMNS": "88", "TERMINAL_WIDTH": "88", "NO_COLOR": "1"}
    with (
        mock.patch.dict(os.environ, narrow),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        program.main([*command, "--help"])
    lines = (line.rstrip() for line in printed.getvalue().strip().splitlines())
    return "\n".join(lines)


def command_names() -> list[str]:
    """All commands, in the order of the program's help; those of a group with its name before."""
    help_text()  # registers them
    names = [str(command.name) for command in program.app.registered_commands]
    for group in program.app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            names += [f"{inner.info.name} {command.name}" for command in inner.registered_commands]
    return names


def page() -> str:
    """The whole page, in Markdown."""
    parts = [HEAD, f"```text\n{help_text()}\n```\n"]
    parts += [
        f"## {name}\n\n```text\n{help_text(*name.split())}\n```\n" for name in command_names()
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
