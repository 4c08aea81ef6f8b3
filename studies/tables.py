"""Results of a study's runs -> Markdown tables: pure functions over results as JSON holds them.

Seeds of a variant answer the same test photos. Their answers are no independent trials, so they
are pooled photo by photo: what varies is the share of seeds that were right on a photo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from studies.study import Study

Result = dict[str, Any]
Marks = NDArray[np.float64]
_RESAMPLES = 10_000
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval, all 0 to 1."""

    mean: float
    low: float
    high: float


def pooled(correct: Marks) -> Share:
    """The mean accuracy of several seeds on the same photos, with a Wilson interval.

    Args:
        correct: (S, N) 1 where seed s was right on photo n, else 0.

    Returns:
        The share and its interval at the effective count N p (1 - p) / v, where v is the variance
        over photos of the share of seeds that were right. For one seed that is N and the
        interval is the usual one; for seeds that all err on the same photos it stays N; for
        seeds that err independently it comes near S N.

    Example:
        >>> one = pooled(np.array([[1.0] * 8 + [0.0] * 2]))
        >>> round(one.low, 4), round(one.high, 4)
        (0.4902, 0.9433)
    """
    per_photo = correct.mean(axis=0)
    mean, variance, n = float(per_photo.mean()), float(per_photo.var()), per_photo.size
    count = n * mean * (1 - mean) / variance if variance > 0 else n
    centre = (mean + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * sqrt(mean * (1 - mean) / count + _Z**2 / (4 * count**2))
    return Share(mean, max(0.0, centre - half), min(1.0, centre + half))


def difference(a: Marks, b: Marks) -> Share:
    """How much better a is than b on the same photos: a paired bootstrap over photos.

    Args:
        a: (S, N) as for :func:`pooled`.
        b: (T, N) of the same N photos in the same order.

    Returns:
        The difference of means and the 2.5th and 97.5th percentile over resampled photos.
    """
    gap = a.mean(axis=0) - b.mean(axis=0)
    # Few values are possible; how often each is drawn is all that a resample's mean depends on.
    values, counts = np.unique(gap.round(9), return_counts=True)
    drawn = np.random.default_rng(0).multinomial(gap.size, counts / gap.size, size=_RESAMPLES)
    low, high = np.percentile(drawn @ values / gap.size, [2.5, 97.5])
    return Share(float(gap.mean()), float(low), float(high))


def mcnemar(a: Marks, b: Marks) -> tuple[int, int, float]:
    """McNemar's exact test of one run against another: (only a right, only b right, p).

    Args:
        a: (N,) 1 where right, else 0.
        b: (N,) of the same photos.

    Example:
        >>> mcnemar(np.array([1.0, 1, 1, 1, 1, 1]), np.array([0.0, 0, 0, 0, 0, 1]))
        (5, 0, 0.0625)
    """
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    both = only_a + only_b
    return only_a, only_b, float(binomtest(only_a, both).pvalue) if both else 1.0


def marks(results: Sequence[Result], label: str = "") -> Marks:
    """Right or wrong per run and test photo, (S, N); of one class where ``label`` names it.

    Raises:
        SystemExit: the runs were measured on different photos.
    """
    if len({result["test"]["photos_sha256"] for result in results}) > 1:
        names = ", ".join(f"{result['variant']}-{result['seed']}" for result in results)
        raise SystemExit(f"not measured on the same test photos: {names}")
    rows = []
    for result in results:
        correct = result["test"]["correct"]
        signs = correct[label] if label else "".join(correct[name] for name in sorted(correct))
        rows.append([float(sign) for sign in signs])
    return np.array(rows)


def results_text(study: Study, results: Sequence[Result]) -> str:
    """All tables of a study in Markdown, with what must be known to read them."""
    known = [variant.name for variant in study.variants]
    groups = {name: [r for r in results if r["variant"] == name] for name in known}
    missing = [name for name, group in groups.items() if not group]
    groups = {name: group for name, group in groups.items() if group}
    if not groups:
        return "No run has a result yet."
    tested = {name: [r for r in group if "test" in r] for name, group in groups.items()}
    tested = {name: group for name, group in tested.items() if group}
    parts = [main_table(study, groups), reading_notes(groups)]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    parts.append(recall_table(tested or groups, "test" if tested else "val"))
    if rows := comparison_table(study, tested):
        parts.append(rows)
    return "\n\n".join(parts)


def main_table(study: Study, groups: dict[str, list[Result]]) -> str:
    """Accuracy and time per variant."""
    rows = [
        "| variant | seeds | validation | test | range over seeds | 95 % interval | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        note = study.variant(name).note
        shown = f"{name}: {note}" if note else name
        val = percent(np.mean([result["val"]["accuracy"] for result in group]))
        minutes = np.mean([result["seconds"] for result in group]) / 60
        cells = _test_cells([result for result in group if "test" in result])
        seeds = ", ".join(str(result["seed"]) for result in group)
        rows.append(f"| {shown} | {seeds} | {val} | {cells} | {minutes:.1f} |")
    return "\n".join(rows)


def _test_cells(group: Sequence[Result]) -> str:
    if not group:
        return "- | - | -"
    share = pooled(marks(group))
    each = [result["test"]["accuracy"] for result in group]
    spread = f"{100 * min(each):.1f} to {percent(max(each))}" if len(each) > 1 else "-"
    return f"**{percent(share.mean)}** | {spread} | {_interval(share)}"


def reading_notes(groups: dict[str, list[Result]]) -> str:
    """What the table rests on: counts, interval, machines, weights."""
    everything = [result for group in groups.values() for result in group]
    first = everything[0]
    n_test = sorted({result["test"]["n"] for result in everything if "test" in result})
    n_val = sorted({result["val"]["n"] for result in everything})
    machines = sorted({f"{r['machine']['processor']}, {r['machine']['cores']} cores"
                       for r in everything})  # fmt: skip
    lines = [
        f"Validation: {_counts(n_val)} photos; it chose the epoch, so its figures flatter. "
        f"Test: {_counts(n_test) if n_test else 'not looked at yet, 0'} photos, one look per run.",
        "Seeds answer the same photos: the interval is Wilson's for their mean, at the effective "
        "count that the variance over photos gives. It says how much other photos of this kind "
        "would move the mean of these runs; how much other seeds would, only the range hints at.",
        "Minutes: mean over seeds, from the start of the work to the exported file, all "
        f"resumptions summed, without the start of Python ({'; '.join(machines)}; "
        f"Beltsight {first['versions']['beltsight']}).",
    ]
    if any("resnet" in str(result["settings"].get("weights", "")) for result in everything):
        lines.append(
            "The ResNet weights are approximations of the published ones (decoded from 16-fold "
            "compression; top-1 a few points lower) and their licence is non-commercial: models "
            "made from them are measured only, never shipped."
        )
    busy = [r for r in everything if (r["busy_cores_before"] or 0) > 0.3 or r["starts"] > 1]
    if busy:
        names = ", ".join(f"{r['variant']}-{r['seed']}" for r in busy)
        lines.append(f"Started beside other work, or in several goes, so slower: {names}.")
    return "\n".join(f"- {line}" for line in lines)


def recall_table(groups: dict[str, list[Result]], split: str) -> str:
    """Recall of every class with counts, pooled over seeds."""
    classes = list(next(iter(groups.values()))[0][split]["recall"])
    title = {"test": "test", "val": "validation"}[split]
    rows = [
        f"| recall on {title}, seeds pooled | {' | '.join(classes)} |",
        "|---" * (len(classes) + 1) + "|",
    ]
    for name, group in groups.items():
        cells = []
        for label in classes:
            right = sum(result[split]["recall"][label]["right"] for result in group)
            n = sum(result[split]["recall"][label]["n"] for result in group)
            cells.append(f"{right}/{n} = {100 * right / n:.0f} %" if n else "no photo")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def comparison_table(study: Study, tested: dict[str, list[Result]]) -> str:
    """The study's pairs on the same test photos; empty where none can be compared."""
    pairs = [(a, b) for a, b in study.compare if a in tested and b in tested]
    if not pairs:
        return ""
    focus = f" recall of {study.focus} |" if study.focus else ""
    rows = [
        f"| on the same test photos | accuracy, in points |{focus} only one right | McNemar p |",
        "|---|---|---|---|" + ("---|" if focus else ""),
    ]
    for a, b in pairs:
        gap = _points(difference(marks(tested[a]), marks(tested[b])))
        if study.focus:
            of_class = [marks(tested[name], study.focus) for name in (a, b)]
            gap += f" | {_points(difference(*of_class))}"
        counts, values = _mcnemar_cells(tested[a], tested[b])
        rows.append(f"| {a} against {b} | {gap} | {counts} | {values} |")
    note = (
        "Differences with the 95 % interval of a paired bootstrap over photos, seeds pooled "
        "(it says nothing of other seeds); counts (only the first : only the second right) and "
        "McNemar's exact p for each seed that both have."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _mcnemar_cells(a: Sequence[Result], b: Sequence[Result]) -> tuple[str, str]:
    others = {result["seed"]: result for result in b}
    counts, values = [], []
    for result in a:
        if result["seed"] in others:
            pair = marks([result, others[result["seed"]]])
            only_a, only_b, p = mcnemar(pair[0], pair[1])
            counts.append(f"{only_a}:{only_b}")
            values.append(f"{p:.2g}" if p >= 0.001 else "< 0.001")
    return ", ".join(counts) or "-", ", ".join(values) or "-"


def fill_markers(path: Path, name: str, text: str) -> None:
    """Replace what lies between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        SystemExit: the file does not have both markers once.
    """
    content = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    filled, count = pattern.subn(lambda found: f"{found[1]}{text}\n{found[2]}", content)
    if count != 1:
        raise SystemExit(f"{path}: expected <!-- {name} --> and <!-- /{name} --> once each")
    path.write_text(filled, encoding="utf-8")


def percent(share: Any) -> str:
    """``93.7 %`` of 0.9372."""
    return f"{100 * share:.1f} %"


def _interval(share: Share) -> str:
    return f"{100 * share.low:.1f} to {percent(share.high)}"


def _points(share: Share) -> str:
    return f"{100 * share.mean:+.1f} ({100 * share.low:+.1f} to {100 * share.high:+.1f})"


def _counts(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)
