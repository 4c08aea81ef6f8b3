from __future__ import annotations

from pathlib import Path

import pytest

from beltsight.bench.grid import Contestant, Grid, GridSettings, Row, Work
from beltsight.bench.summary import Ratio, Summary
from beltsight.report.bench import draw_grid

pytest.importorskip("matplotlib")
MACHINE = {
    "processor": "A 9", "instructions": [], "cores": 2, "system": "Linux", "python": "3.12",
    "libraries": {}, "load_before": None,
}  # fmt: skip


def row(backbone: str, engine: str, ratio: float | None, base: str) -> Row:
    times = Summary(9, 9, 1, 5.0, 5.0, 6.0, 7.0, 4.0, 8.0, 200.0, 201.0, 0.5, 1.0)
    given = Ratio(ratio, ratio, ratio) if ratio else None
    work = Work("network", "prepared", 1)
    return Row(Contestant(backbone, backbone, engine, "float32"), work, times, 9.0, given, base)


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["r50"], "network alone, x: times as fast as r50 in PyTorch"),
        (["r50", "r18"], "network alone, x: times as fast as the best peer of each"),
    ],
)
def test_the_title_says_what_ratios_are_of(names: list[str], title: str, tmp_path: Path) -> None:
    rows = [
        each
        for name in names
        for each in (
            row(name, "onnxruntime-cpu", 3.0, f"{name} in PyTorch"),
            row(name, "PyTorch", None, f"{name} in PyTorch"),
        )
    ]
    draw_grid(Grid(MACHINE, GridSettings(), tuple(rows)), tmp_path / "speed.svg")
    assert title in (tmp_path / "speed.svg").read_text(encoding="utf-8")
