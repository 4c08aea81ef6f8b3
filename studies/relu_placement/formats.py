"""How figures stand in the tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from studies.relu_placement.comparison import LEVEL, Pair
from studies.relu_placement.model import PUBLISHED_NAME
from studies.tables import Share


def failed_is(chance: float) -> str:
    """What :func:`~studies.relu_placement.comparison.failures` counts, in words."""
    return (
        "failed: over 1.5 times the best of its size and seed plus 5 points, or over "
        f"{0.75 * chance:.1f} %, three quarters of a guess's"
    )


def counted(n: int, what: str) -> str:
    """1 seed, 3 seeds."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def whole_number(value: float) -> str:
    """Without digits after the point; ? where it is no number."""
    return "?" if np.isnan(value) else f"{value:.0f}"


def named(name: str) -> str:
    """A placement; the published winner in bold."""
    return f"**{name}**" if name == PUBLISHED_NAME else name


def listed(names: Sequence[str]) -> str:
    """In brackets, where there are any."""
    return f" ({', '.join(names)})" if names else ""


def pair_cells(pair: Pair | None, *, alone: bool = False) -> str:
    """Two cells of a table; bold where shown, or by the corrected p alone."""
    if pair is None:
        return "- | -"
    is_bold = pair.p_holm < LEVEL if alone else pair.is_shown
    shown = f"**{p_value(pair.p_holm)}**" if is_bold else p_value(pair.p_holm)
    return f"{points(pair.gap)} | {shown}"


def error_with(share: Share) -> str:
    """An error in percent with its interval."""
    return f"{share.mean:.2f} % ({share.low:.2f} to {share.high:.2f})"


def points(share: Share) -> str:
    """A difference with its interval, where it has one."""
    if np.isnan(share.mean):
        return "-"
    if np.isnan(share.low):
        return f"{share.mean:+.2f}"
    return f"{share.mean:+.2f} ({share.low:+.2f} to {share.high:+.2f})"


def number(value: float) -> str:
    """Two digits after the point."""
    return "-" if np.isnan(value) else f"{value:.2f}"


def p_value(value: float) -> str:
    """Two digits, or less than a thousandth."""
    return f"{value:.2g}" if not value < 0.001 else "< 0.001"
