"""The ``beltsight`` program: its commands, and what all of them share.

Results go to standard output, progress and problems to standard error. The exit status is 0,
1 for a problem with the input or the work, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from beltsight import __version__
from beltsight.errors import BeltsightError, ConfigError

app = typer.Typer(
    name="beltsight",
    help="Vision for waste-sorting lines: what is it, how sure, and why.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
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
        _fail(str(error), 2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        # The reader (head, less) has gone: that is its right, not a problem.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:  # the last resort: no trace unless asked for
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug", 1)


def _fail(message: str, status: int) -> None:
    typer.echo(f"beltsight: {message}", err=True)
    sys.exit(status)


def _register() -> None:
    """Attach each command; its module imports nothing heavy."""
    from beltsight.cli import card, check, demo, evaluate, fetch, predict, schema, split, train

    if app.registered_commands:
        return
    for module in (demo, predict, train, evaluate, check, split, fetch, card, schema):
        app.command(module.__name__.rpartition(".")[2])(module.command)
