"""The house holds: imports point one way, and what the design forbids is not there.

The rules are read off the syntax tree, so they hold for code that no test runs.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import beltsight

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "beltsight"

# A room may import from a lower floor or its own room; train and line share a floor and meet only
# through records, the model file and the store.
FLOORS = {"errors": 0, "records": 1, "train": 3, "line": 3, "cli": 4, "__main__": 5}
CORE = 2
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_CALLS = {"torch.load", "eval", "exec", "joblib.load", "os.system", "yaml.load"}
FORBIDDEN_NAMES = {"utils", "helpers", "misc", "common", "manager", "util", "helper"}
IMPORT_NAMES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-learn": "sklearn"}
# Command modules are read for every --help, so these are imported inside the command.
HEAVY = {"numpy", "cv2", "onnxruntime", "jinja2", "rich", "PIL", "pydantic"}
# The default model's study makes the file that this names.
STUDIES_MAY_IMPORT = (  # docs/api.md says so
    "beltsight.scene", "beltsight.dataset.soil", "beltsight.reliability", "beltsight.selective",
    "beltsight.novelty", "beltsight.policy_cost", "beltsight.explain", "beltsight.robustness",
    "beltsight.metrics", "beltsight.dataset.idx", "beltsight.engines", "beltsight.bench",
    "beltsight.quantization", "beltsight.machine", "beltsight.line", "beltsight.store",
    "beltsight.errors", "beltsight.model_file", "beltsight.recalibrate",
)  # fmt: skip
STUDIES_MAY_ALSO = {("beltsight.model", "DEFAULT_MODEL")}


@dataclass(frozen=True)
class Import:
    """One imported module, and the name taken from it where there is one."""

    module: str
    name: str | None
    at_start: bool  # runs when the module is imported

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def sources(folder: Path) -> dict[str, ast.Module]:
    """Path relative to the repository -> syntax tree."""
    return {
        path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


PACKAGE = sources(SOURCE)
OUTSIDE = {**sources(REPOSITORY / "studies"), **sources(REPOSITORY / "benchmarks")}


def module_name(path: str) -> str:
    """``src/beltsight/train/run.py`` -> ``beltsight.train.run``."""
    parts = path.removeprefix("src/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in PACKAGE}


def imports(tree: ast.AST, at_start: bool = True) -> Iterator[Import]:
    """Every import in a tree; those that only a type checker sees are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import by the full name"
            yield from (Import(node.module or "", alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, at_start and not inside)


def target(found: Import) -> str:
    """The module of the package that an import reads: a name may be a module, too."""
    whole = f"{found.module}.{found.name}"
    return whole if whole in MODULES else found.module


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def floor(module: str) -> int:
    return FLOORS.get(room(module), CORE)


def test_the_walk_sees_the_package() -> None:
    assert len(PACKAGE) > 30
    assert {"beltsight.image", "beltsight.train.run", "beltsight.cli.app"} <= MODULES
    assert sum(len(list(imports(tree))) for tree in PACKAGE.values()) > 200


def test_imports_point_one_way() -> None:
    wrong, seen = [], 0
    for path, tree in PACKAGE.items():
        module = module_name(path)
        for found in imports(tree):
            if found.top != "beltsight" or module == "beltsight":
                continue
            seen += 1
            to = target(found)
            upward = floor(to) > floor(module)
            sideways = floor(to) == floor(module) != CORE and room(to) != room(module)
            # The surface imports the whole core: there, importing it back is a circle.
            surface = to == "beltsight" and floor(module) <= CORE
            if upward or sideways or surface:
                wrong.append(f"{module} imports {to}")
    assert seen > 80
    assert wrong == []


def test_the_surface_takes_one_function_from_train_and_nothing_from_above() -> None:
    found = list(imports(PACKAGE["src/beltsight/__init__.py"]))
    above = {(one.module, one.name) for one in found if floor(target(one)) > CORE}
    assert above == {("beltsight.train", "train")}
    when_asked = {getattr(beltsight, name).__module__ for name in beltsight.__all__}
    assert len(when_asked) > 8
    assert {module for module in when_asked if floor(module) > CORE} == {"beltsight.train"}


def test_what_the_surface_names_is_there() -> None:
    assert len(beltsight.__all__) > 12
    assert sorted(beltsight.__all__) == beltsight.__all__
    for name in beltsight.__all__:
        assert getattr(beltsight, name).__doc__, name


def test_no_circles() -> None:
    """Modules that import each other while being imported cannot be read one at a time."""
    reads = {
        module_name(path): {
            target(found) for found in imports(tree) if found.at_start and target(found) in MODULES
        }
        for path, tree in PACKAGE.items()
    }
    while True:
        leaves = {module for module, needs in reads.items() if not needs & reads.keys()}
        if not leaves:
            break
        reads = {module: needs for module, needs in reads.items() if module not in leaves}
    assert reads == {}


def core_dependencies() -> set[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}
    return {IMPORT_NAMES.get(name, name) for name in names}


def test_only_train_needs_more_than_the_core_dependencies() -> None:
    allowed = core_dependencies() | {"beltsight", *sys.stdlib_module_names}
    assert {"numpy", "cv2", "PIL", "onnxruntime"} <= allowed
    assert "torch" not in allowed
    wrong = [
        f"{path} imports {found.module}"
        for path, tree in PACKAGE.items()
        if room(module_name(path)) != "train" or path == "src/beltsight/train/__init__.py"
        for found in imports(tree)
        if found.at_start and found.top not in allowed
    ]
    assert wrong == []


def test_commands_import_heavy_parts_inside() -> None:
    """What only a command reads, when it runs, may import what it likes."""
    commands = {
        path: tree
        for path, tree in PACKAGE.items()
        if "/cli/" in path
        and (path.endswith(("app.py", "console.py")) or "def command(" in ast.unparse(tree))
    }
    assert len(commands) > 8
    wrong = [
        f"{path} imports {found.module}"
        for path, tree in commands.items()
        for found in imports(tree)
        if found.at_start and found.top in HEAVY
    ]
    assert wrong == []


def test_the_package_knows_nothing_of_studies_benchmarks_and_tests() -> None:
    outside = {"studies", "benchmarks", "tests", "docs", "examples"}
    wrong = [
        f"{path} imports {found.module}"
        for path, tree in PACKAGE.items()
        for found in imports(tree)
        if found.top in outside
    ]
    assert wrong == []


def test_studies_and_benchmarks_use_the_public_surface() -> None:
    wrong, seen = [], 0
    public = {*beltsight.__all__, "__version__", "train"}
    for path, tree in OUTSIDE.items():
        for found in imports(tree):
            if found.top != "beltsight":
                continue
            seen += 1
            is_train = found.module.startswith(("beltsight.train", *STUDIES_MAY_IMPORT))
            is_name = found.module == "beltsight" and (found.name is None or found.name in public)
            if not (is_train or is_name or (found.module, found.name) in STUDIES_MAY_ALSO):
                wrong.append(f"{path}: {found.module} {found.name or ''}")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or ast.unparse(node.value) != "beltsight":
                continue
            if node.attr not in {*public, "__file__"}:
                wrong.append(f"{path}: beltsight.{node.attr}")
    assert seen > 1
    assert wrong == []


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_nothing_that_runs_what_a_file_says() -> None:
    wrong, seen = [], 0
    for path, tree in {**PACKAGE, **OUTSIDE}.items():
        wrong += [f"{path}: {one.module}" for one in imports(tree) if one.top in FORBIDDEN_MODULES]
        for call in calls(tree):
            seen += 1
            unpickles = any(
                word.arg == "allow_pickle" and ast.unparse(word.value) != "False"
                for word in call.keywords
            )
            if unpickles or ast.unparse(call.func) in FORBIDDEN_CALLS:
                wrong.append(f"{path}, line {call.lineno}: {ast.unparse(call.func)}")
    assert seen > 500
    assert wrong == []


def test_library_code_neither_prints_nor_exits() -> None:
    """Nor does the core change the warnings of the whole process, which other threads share."""
    forbidden = {
        "print", "exit", "quit", "sys.exit", "os._exit", "input", "sys.stdout.write",
        "sys.stderr.write", "logging.basicConfig", "random.seed", "np.random.seed",
    }  # fmt: skip
    shared = {"warnings.catch_warnings", "warnings.simplefilter", "warnings.filterwarnings"}
    library = {path: tree for path, tree in PACKAGE.items() if "/cli/" not in path}
    assert len(library) > 20
    wrong = [
        f"{path}, line {call.lineno}: {ast.unparse(call.func)}"
        for path, tree in library.items()
        for call in calls(tree)
        if ast.unparse(call.func) in forbidden | (set() if "/train/" in path else shared)
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["src", "tests", "studies", "benchmarks"])
def test_files_are_short_and_named_for_what_they_hold(folder: str) -> None:
    paths = list((REPOSITORY / folder).rglob("*.py"))
    if folder in ("src", "tests"):
        assert len(paths) > 20
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {str(path): n for path, n in lines.items() if n > 400} == {}
    assert [str(path) for path in paths if path.stem in FORBIDDEN_NAMES] == []


def test_functions_are_mostly_short() -> None:
    lengths = {}
    for path, tree in PACKAGE.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                docstring = ast.get_docstring(node) is not None
                described = (first.end_lineno or 0) - first.lineno + 1 if docstring else 0
                length = (node.end_lineno or 0) - node.lineno + 1 - described
                lengths[f"{path}:{node.name}"] = length
    assert len(lengths) > 200
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert sum(n > 40 for n in lengths.values()) <= 0.03 * len(lengths)
