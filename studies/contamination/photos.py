"""Photos with simulated dirt, made by ``beltsight soil``: to learn from, and to be asked about.

Sets to be asked about hold one kind each. They are drawn with one seed, so that the same item has
the same labels, light and camera in every set and differs in its dirt alone; the set ``clean`` has
the same photos without any.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import beltsight

CLEAN = "clean"
_PREFIX = "without-"
_PACKAGED = Path(beltsight.__file__).parent / "assets" / "dirt.toml"


class Plan(BaseModel):
    """What photos.toml holds; see its comments."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kinds: tuple[str, ...] = Field(min_length=2)
    learn_copies: int = Field(ge=1)
    ask_copies: int = Field(ge=1)
    learn_seed: int = 0
    ask_seed: int = 1
    margin: float = Field(gt=0, lt=0.5)
    map_threshold: float = Field(gt=0, lt=1)
    near_px: int = Field(ge=0)

    def kinds_of(self, variant: str) -> tuple[str, ...]:
        """The kinds that a variant learns.

        Raises:
            SystemExit: it leaves out a kind that there is not.
        """
        left_out = self.left_out(variant)
        return tuple(kind for kind in self.kinds if kind != left_out)

    def left_out(self, variant: str) -> str:
        """The kind that a variant never sees, or an empty text."""
        kind = variant.removeprefix(_PREFIX) if variant.startswith(_PREFIX) else ""
        if kind and kind not in self.kinds:
            raise SystemExit(
                f"variant {variant}: no kind {kind}; there are {', '.join(self.kinds)}"
            )
        return kind

    def asked_of(self, variant: str) -> tuple[str, ...]:
        """The sets that a variant is asked about."""
        kind = self.left_out(variant)
        return (CLEAN, kind) if kind else (CLEAN, *self.kinds)


def load_plan(path: Path) -> Plan:
    """Read photos.toml.

    Raises:
        SystemExit: it has an unknown key or a wrong value.
    """
    try:
        return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{path}: {error}") from error


def thresholds(folder: Path) -> tuple[float, float]:
    """The shares from which the photos in a folder are partly and heavily contaminated."""
    levels = tomllib.loads((folder / "dirt.toml").read_text(encoding="utf-8"))["levels"]
    return levels["partly"], levels["heavily"]


def photos_to_learn(data: Path, folder: Path, plan: Plan, variant: str) -> Path:
    """Make, where they are not there, a variant's photos of train and val.

    Args:
        data: clean photos with splits.
        folder: of all made photos.
        plan: says how many.
        variant: decides the kinds.

    Returns:
        The CSV of the data set.
    """
    kinds = plan.kinds_of(variant)
    name = f"learn/{_PREFIX}{plan.left_out(variant)}" if plan.left_out(variant) else "learn/all"
    parts = []
    for split in ("train", "val"):
        options = ["--split", split, "--no-originals", "--masks"]
        options += ["--copies", str(plan.learn_copies)]
        options += ["--seed", str(plan.learn_seed), *_kind_options(kinds)]
        parts.append(make_set(data, folder, f"{name}/{split}", options))
    return join_sets(folder, parts, f"{name.replace('/', '-')}.csv")


def photos_to_ask(
    data: Path,
    folder: Path,
    plan: Plan,
    variant: str,
    split: str,
    dirt: Collection[str],
) -> Path:
    """Make, where they are not there, the photos of a split to be asked about.

    Args:
        data: clean photos with splits.
        folder: of all made photos.
        plan: says how many.
        variant: that is asked: about every kind, or about the one that it left out.
        split: ``val`` or ``test``.
        dirt: labels of task ``dirt`` that the model knows; it is not asked for others.

    Returns:
        The CSV of the data set, with a column ``set``.
    """
    parts = []
    for name in plan.asked_of(variant):
        options = ["--split", split, "--no-originals", "--masks"]
        options += ["--copies", str(plan.ask_copies), "--seed", str(plan.ask_seed)]
        if name != CLEAN:
            options += _kind_options([name])
        parts.append(make_set(data, folder, f"ask/{split}/{name}", options, clean=name == CLEAN))
    # The ledger shows this name.
    return join_sets(folder, parts, f"trashnet-{split}-soiled-{variant}.csv", dirt)


def make_set(
    data: Path, folder: Path, name: str, options: Sequence[str], *, clean: bool = False
) -> str:
    """Call ``beltsight soil`` unless the set is there; an interrupted call goes on.

    Raises:
        SystemExit: it fails, or the set was made of other photos, with other options or settings.
    """
    settings = write_settings(folder, clean=clean)
    made = {
        "options": list(options),
        "settings": settings.read_text(encoding="utf-8"),
        "photos": digest_of(data),
        "version": beltsight.__version__,
    }
    note = folder / f"{name}.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != made:
        raise SystemExit(
            f"{folder / name} was made with other options or settings, of other photos or by "
            f"another version; remove {folder} to make the photos anew"
        )
    if not (folder / name / "labels.csv").exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(made, indent=1), encoding="utf-8")
        print(f"photos: {name}", flush=True)
        call = [sys.executable, "-m", "beltsight", "soil", str(data), "--out", str(folder / name)]
        call += ["--settings", str(settings), *options]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(call)} failed:\n{done.stderr[-2000:]}")
    return name


@cache
def digest_of(data: Path) -> str:
    """Of the names and the contents of all files of a data set, a folder or a CSV beside photos."""
    root = data if data.is_dir() else data.parent
    found = hashlib.sha256()
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return found.hexdigest()


def write_settings(folder: Path, *, clean: bool) -> Path:
    """The packaged settings of dirt, kept beside the photos; with ``clean`` none gets any."""
    settings: dict[str, Any] = tomllib.loads(_PACKAGED.read_text(encoding="utf-8"))
    if clean:
        settings["draw"] = {**settings.get("draw", {}), "clean": 1.0}
    file = folder / ("dirt-clean.toml" if clean else "dirt.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return file


def join_sets(
    folder: Path, names: Sequence[str], out: str, dirt: Collection[str] | None = None
) -> Path:
    """Several sets as one data set: a CSV whose paths lead into them.

    Args:
        folder: of all made photos.
        names: of the sets, relative to it; the last part stands in the column ``set``.
        out: name of the CSV.
        dirt: labels of task ``dirt`` that are kept, where two or more are left; all where None.
    """
    rows: list[dict[str, str]] = []
    for name in names:
        with (folder / name / "labels.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                row |= {key: f"{name}/{row[key]}" for key in ("path", "mask") if row[key]}
                row["set"] = Path(name).name
                rows.append(row)
    known = {row["dirt"] for row in rows} - {""}
    asked = known if dirt is None else known & set(dirt)
    for row in rows:  # a single label is no question
        row["dirt"] = row["dirt"] if row["dirt"] in asked and len(asked) > 1 else ""
    with (folder / out).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / out


def mask_of(folder: Path, path: str) -> Path:
    """Where the mask of a made photo lies: in ``masks/`` of its set."""
    name, _, photo = path.partition("/images/")
    return folder / name / "masks" / "images" / f"{photo}.png"


def _kind_options(kinds: Sequence[str]) -> list[str]:
    return [word for kind in kinds for word in ("--kind", kind)]
