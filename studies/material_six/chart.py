"""The paper's confusion matrix beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt
from studies.material_six.figures import CLASSES, PAPER, in_order


def draw_matrices(result: dict[str, Any], file: Path) -> Path:
    """Draw both matrices, counts in the cells, shaded by the share of their row.

    Args:
        result: a measured result.
        file: the SVG to write.

    Returns:
        The file.
    """
    test = result["test"]
    ours = in_order(np.array(test["confusion"]), test["classes"], CLASSES)
    # Text stays text, and the same figures give the same file.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "material_six", "font.size": 10}
    style |= {"figure.constrained_layout.w_pad": 0.1, "figure.constrained_layout.h_pad": 0.1}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(1, 2, figsize=(10.4, 5.0), layout="constrained")
        _draw(axes[0], PAPER, "The paper")
        _draw(axes[1], ours, f"Ours ({result['variant']}, seed {result['seed']})")
        axes[0].set_ylabel("true")
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)
    return file


def _draw(axis: Any, matrix: NDArray[np.int64], title: str) -> None:
    n = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(n, 1)
    right, total = int(np.trace(matrix)), int(matrix.sum())
    # The root, so that a mistake in a hundred is seen, too.
    axis.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1.15)
    for row, column in np.ndindex(matrix.shape):
        count, share = matrix[row, column], shares[row, column]
        text = f"{count}\n{100 * share:.{int(share < 0.01)}f} %" if count else "0"
        strong = {"color": "white" if share > 0.4 else "black" if count else "#8a8a8a"}
        axis.text(column, row, text, ha="center", va="center", fontsize=9, **strong)
    axis.set_xticks(range(len(CLASSES)), CLASSES)
    labels = [f"{name}\nn = {each}" for name, each in zip(CLASSES, n[:, 0], strict=True)]
    axis.set_yticks(range(len(CLASSES)), labels)
    axis.set_xlabel("answered")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(
        f"{title}: {right} of {total:,} = {100 * right / max(total, 1):.1f} %", loc="left"
    )
