"""The ``beltsight`` program: its commands, and what all of them share.

Results go to standard output, progress and problems to standard error. The exit status is 0,
1 for a problem with the input or the work, 2 for a wrong command line.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

from beltsight.errors import BeltsightError, ConfigError, TaxonomyError

app = typer.Typer(
    name="beltsight",
    help="Vision for waste-sorting lines: what is it, how sure, and why.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of the help; each is a module beside this one, with a function or an app of its own.
_COMMANDS = (
    "demo", "predict", "train", "evaluate", "calibrate", "bench", "export", "quantize", "check",
    "split", "soil", "fetch", "card", "tune", "policy", "schema",
)  # fmt: skip
_GROUPS = ("line", "log")


def _version(asked: bool) -> None:
    if asked:
        from beltsight import __version__

        typer.echo(f"beltsight {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of a problem.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of every command; handled in :func:`main`."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and turn errors into one sentence and an exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Wherever it stands, as in 'beltsight predict x.jpg --debug'.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in options
    arguments = [a for i, a in enumerate(arguments) if not (a == "--debug" and i < len(options))]
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        _register()
        app(arguments, prog_name="beltsight")
    except BeltsightError as error:
        if debug:
            raise
        # A wrong setting is a wrong command line; a label that no taxonomy knows is wrong data.
        wrong_use = isinstance(error, ConfigError) and not isinstance(error, TaxonomyError)
        _fail(str(error), 2 if wrong_use else 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:  # the last resort: no trace unless asked for
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug", 1)


def _fail(message: str, status: int) -> None:
    from beltsight.cli.console import note

    note(f"beltsight: {message}")
    sys.exit(status)


def _register() -> None:
    """Attach each command; its module imports nothing heavy."""
    if app.registered_commands:
        return
    for name in _COMMANDS:
        module = import_module(f"beltsight.cli.{name}")
        app.command(name)(_until_reader_leaves(module.command))
    for name in _GROUPS:
        group: typer.Typer = import_module(f"beltsight.cli.{name}").app
        for command in group.registered_commands:
            command.callback = _until_reader_leaves(command.callback) if command.callback else None
        app.add_typer(group)


def _until_reader_leaves(command: Callable[..., None]) -> Callable[..., None]:
    """The command, ending quietly when the reader of its output (head, less) has gone.

    That is the reader's right and not a problem; the framework would exit with 1.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return run
