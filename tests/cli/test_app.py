from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.cli.program import beltsight, spawn
from tests.tiny import write_tiny

import beltsight as package
from beltsight.cli import app
from beltsight.cli.console import print_json, print_table
from beltsight.errors import BeltsightError, ConfigError, TaxonomyError

COMMANDS = (
    "demo", "predict", "train", "evaluate", "calibrate", "bench", "export", "quantize", "check",
    "split", "soil", "fetch", "card", "tune", "policy", "schema", "line", "log",
)  # fmt: skip


def test_help_lists_every_command_by_a_whole_sentence() -> None:
    result = beltsight("--help")
    assert result.status == 0
    listed = result.out.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert beltsight("-h").out == result.out


def test_results_are_printed_by_the_console_alone() -> None:
    """It keeps a file name's control characters from the terminal, unlike the framework's echo."""
    paths = sorted(Path(app.__file__).parent.glob("*.py"))
    assert len(paths) > 20
    assert [path.name for path in paths if "typer.echo(" in path.read_text()] == ["app.py"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = beltsight(command, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: beltsight {command} ")


def test_version() -> None:
    assert beltsight("--version").out == f"beltsight {package.__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("dance",), ("predict", "--dance"), ("--dance",)])
def test_wrong_use_is_status_2(arguments: tuple[str, ...]) -> None:
    result = beltsight(*arguments)
    assert result.status == 2
    assert "Usage" in result.out + result.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BeltsightError("sad"), 1),
        (ConfigError("sad"), 2),
        (TaxonomyError("sad"), 1),
        (RuntimeError("sad"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_problem_is_one_line_and_a_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    failing = typer.Typer()
    failing.command("fail")(fail)
    failing.callback()(app.root)
    monkeypatch.setattr(app, "app", failing)
    monkeypatch.setattr(app, "_register", lambda: None)
    result = beltsight("fail")
    assert result.status == status
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 1
    if not isinstance(error, KeyboardInterrupt):
        assert result.err.startswith("beltsight: ")
        assert "sad" in result.err
        with pytest.raises(type(error), match="sad"):
            beltsight("fail", "--debug")


def test_an_error_cannot_steer_the_terminal() -> None:
    result = beltsight("card", "\x1b]0;owned\x07.onnx")
    assert result.status == 1
    assert "owned" in result.err
    assert "\x1b" not in result.err
    assert "\x07" not in result.err


def test_debug_shows_the_trace_wherever_it_stands() -> None:
    for arguments in (("--debug", "card", "no.onnx"), ("card", "no.onnx", "--debug")):
        result = spawn(*arguments)
        assert result.returncode == 1
        assert "Traceback" in result.stderr
        assert "ModelFileError" in result.stderr
    assert "Traceback" not in spawn("card", "no.onnx").stderr
    # After -- it is a name.
    assert "--debug: no such model file" in spawn("card", "--", "--debug").stderr


def test_no_color_and_no_terminal_give_no_escape_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    assert "\x1b" not in spawn("card", str(model)).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table("title", ("a", "b"), [("1", "2")])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    print_table("title", ("a", "b"), [("1", "2")])
    plain = capsys.readouterr().out
    assert "title" in plain
    assert not any(f"\x1b[{code}m" in plain for code in range(30, 50))


def test_a_table_takes_names_of_strangers_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 150
    print_table("", ("file", "n"), [("[red]a[/red]\x1b[2J.jpg", long)])
    out = capsys.readouterr().out
    assert "[red]a[/red]" in out
    assert long in out
    assert "\x1b" not in out


def test_json_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\x7f.jpg", "\x9b2J.jpg", "\u202egpj.exe", "a\u2028b", "\x1b[2J"):
        print_json({"path": name})
        out = capsys.readouterr().out
        assert out[:-1].isprintable() and json.loads(out) == {"path": name}
    print_json({"path": "Größe.jpg"})
    assert capsys.readouterr().out == '{"path": "Größe.jpg"}\n'


def complete(words: str, **env: str) -> str:
    """What bash would offer for this line."""
    return spawn(
        _BELTSIGHT_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
        **env,
    ).stdout


def test_completion_offers_commands_options_and_values() -> None:
    assert complete("beltsight ev").split() == ["evaluate"]
    assert complete("beltsight s").split() == ["split", "soil", "schema"]
    assert "--explain" in complete("beltsight predict --e").split()
    assert complete("beltsight evaluate m d --split t").split() == ["test", "train"]
    assert complete("beltsight schema p").split() == ["predict"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_installs(shell: str, tmp_path: Path) -> None:
    script = spawn("--show-completion", shell, HOME=str(tmp_path))
    installed = spawn("--install-completion", shell, HOME=str(tmp_path))
    assert installed.returncode == 0, installed.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_BELTSIGHT_COMPLETE" in path.read_text() for path in files), script.stdout


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from beltsight.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'sklearn', 'onnxruntime', 'rich', 'jinja2', 'PIL'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
