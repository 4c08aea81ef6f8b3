"""The program starts fast and, with the core alone installed, does all that the core does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import beltsight
from beltsight.model import DEFAULT_MODEL, Model

SOURCE = Path(beltsight.__file__).parent
ONLY_WITH_TRAIN = ("beltsight.train.", "beltsight.cli.training_progress", "beltsight.__main__")
DEMO_PHOTOS = sorted((SOURCE / "assets" / "demo").rglob("*.jpg"))

# As on a machine with the core alone: these cannot be found, whatever is installed here.
WITHOUT_EXTRAS = """
import sys
ABSENT = {
    "torch", "torchvision", "timm", "safetensors", "sklearn", "scipy", "matplotlib", "onnx",
    "onnxscript", "tensorboard", "tomli_w", "hypothesis", "pytest", "openvino", "pyarrow", "fsspec",
    "asyncua", "pymodbus", "aiomqtt", "prometheus_client", "psycopg", "harvesters",
}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the block does not hold")
"""


def fastest_s(command: Sequence[str], runs: int = 5) -> float:
    """The shortest of some runs: what the program needs, without what the machine did beside."""
    times_s = []
    for _ in range(runs):
        began_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        times_s.append(time.perf_counter() - began_s)
    return min(times_s)


def core_modules() -> list[str]:
    """Every module but those that training alone reads, which may need more than the core."""
    paths = sorted(SOURCE.rglob("*.py"))
    names = [
        ".".join(("beltsight", *path.relative_to(SOURCE).with_suffix("").parts)) for path in paths
    ]
    core = [name.removesuffix(".__init__") for name in names]
    return [name for name in core if not name.startswith(ONLY_WITH_TRAIN)]


def test_importing_takes_under_0_3_s_and_no_torch() -> None:
    bare_s = fastest_s([sys.executable, "-c", "pass"])
    found_s = fastest_s([sys.executable, "-c", "import beltsight"]) - bare_s
    print(f"import beltsight: {found_s:.3f} s beyond the {bare_s:.3f} s of Python itself")
    assert found_s < 0.3


def test_help_takes_under_0_6_s() -> None:
    found_s = fastest_s([sys.executable, "-m", "beltsight", "--help"])
    print(f"beltsight --help: {found_s:.3f} s")
    assert found_s < 0.6


HELP = """
from beltsight.cli.app import main
try:
    main(["--help"])
except SystemExit:
    pass
"""


@pytest.mark.parametrize(
    "code",
    ["import beltsight", HELP],
    ids=["import", "help"],
)
def test_neither_reads_torch_nor_another_heavy_part(code: str, run_alone: Any) -> None:
    heavy = """{
        'torch', 'sklearn', 'matplotlib', 'onnx', 'onnxruntime', 'scipy', 'rich.progress',
        'numpy', 'cv2', 'pydantic', 'importlib.metadata',
    }"""
    run = run_alone(f"{code}\nimport sys\nprint('LOADED', sorted({heavy} & set(sys.modules)))")
    assert "LOADED []" in run.stdout


def test_every_public_name_is_found_when_first_asked_for(run_alone: Any) -> None:
    code = """
import beltsight
assert set(beltsight.__all__) <= set(dir(beltsight))
import beltsight.train.settings  # a package of the same name as the function
for name in beltsight.__all__:
    home = getattr(beltsight, name).__module__
    assert home.startswith("beltsight."), (name, home)
print("ALL", beltsight.__version__, callable(beltsight.train))
"""
    assert run_alone(code).stdout.split() == ["ALL", beltsight.__version__, "True"]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'beltsight' has no attribute 'lood'"):
        _ = beltsight.lood  # type: ignore[attr-defined]


def test_every_module_of_the_core_imports_without_the_extras(run_alone: Any) -> None:
    modules = core_modules()
    assert len(modules) > 25
    code = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint('all')"
    assert run_alone(WITHOUT_EXTRAS + code, *modules).stdout.strip() == "all"


def main(run_alone: Any, *arguments: str, without: str = WITHOUT_EXTRAS) -> str:
    """What a command prints where no extra is installed, or only those that ``without`` leaves."""
    code = """
from beltsight.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print("EXIT", stop.code or 0)
"""
    out: str = run_alone(without + code, *arguments).stdout
    return out


def test_help_works_without_the_extras(run_alone: Any) -> None:
    out = main(run_alone, "--help")
    assert "EXIT 0" in out
    for command in ("demo", "predict", "train", "evaluate", "check", "card"):
        assert f" {command} " in out


def test_training_says_which_extra_to_install(run_alone: Any, tmp_path: Path) -> None:
    code = """
from beltsight import train
from beltsight.errors import MissingExtraError
try:
    train(sys.argv[1], sys.argv[2])
except MissingExtraError as error:
    print(error)
"""
    (tmp_path / "data").mkdir()
    run = run_alone(WITHOUT_EXTRAS + code, str(tmp_path / "data"), str(tmp_path / "run"))
    assert "pip install 'beltsight[train]'" in run.stdout


def test_the_packaged_model_answers_without_the_extras(run_alone: Any) -> None:
    assert DEMO_PHOTOS, "the packaged photos are gone"
    code = """
import beltsight
prediction, = beltsight.load().predict(sys.argv[1], explain=True)
print("ANSWER", prediction.tasks["material"].label, prediction.maps["material"].ndim)
"""
    out = run_alone(WITHOUT_EXTRAS + code, str(DEMO_PHOTOS[0])).stdout.split()
    assert out[0] == "ANSWER"
    assert out[1] in {"glass", "paper", "cardboard", "plastic", "metal", "trash"}
    assert out[2] == "3"


def test_the_line_runs_without_the_extras(run_alone: Any, tmp_path: Path) -> None:
    short = ("simulation.length_m=3", "simulation.belt.loop_m=3", "simulation.lead_in_mm=300")
    options = [word for pair in short for word in ("--set", pair)]
    video = ("--video", str(tmp_path / "belt.avi"))
    out = main(run_alone, "line", "simulate", "--seconds", "0.5", *options, *video, "--json")
    assert "EXIT 0" in out and '"state"' in out


def test_calibrate_needs_onnx_and_no_torch(run_alone: Any, tmp_path: Path) -> None:
    for name, colour in {"glass": (150, 118, 120), "metal": (118, 120, 150)}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), colour).save(tmp_path / "data" / name / "1.png")
    out = tmp_path / "mine.onnx"
    words = ("calibrate", str(DEFAULT_MODEL), str(tmp_path / "data"), "--split", "all")
    assert "EXIT 1" in main(run_alone, *words, "--out", str(out))
    assert not out.exists()
    with_onnx = WITHOUT_EXTRAS.replace('"onnx",', "")
    assert "EXIT 0" in main(run_alone, *words, "--out", str(out), without=with_onnx)
    new, old = (Model.load(file, verify=False).temperatures for file in (out, DEFAULT_MODEL))
    assert new["material"] != old["material"]


def test_predict_runs_without_the_extras(run_alone: Any) -> None:
    out = main(run_alone, "predict", str(DEFAULT_MODEL), str(DEMO_PHOTOS[0]), "--json")
    assert '"material"' in out
    assert "EXIT 0" in out
