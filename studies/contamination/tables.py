"""The study's tables in Markdown: pure functions over results as JSON holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studies.contamination.answers import LEVELS
from studies.contamination.figures import summary
from studies.contamination.photos import Plan
from studies.tables import percent

Result = dict[str, Any]


def first_seeds(results: Sequence[Result], split: str) -> dict[str, Result]:
    """Per variant the result of its smallest seed that has figures of a split."""
    chosen: dict[str, Result] = {}
    for result in results:
        if split in result.get("asked", {}):
            chosen.setdefault(result["variant"], result)
    return chosen


def by_kind(chosen: dict[str, Result], plan: Plan, split: str) -> dict[str, dict[str, Any]]:
    """Figures of each kind, ``seen`` by the model of all kinds and ``unseen`` by its own model."""
    found: dict[str, dict[str, Any]] = {}
    seen = chosen.get("all-kinds", {}).get("asked", {}).get(split, {}).get("kinds", {})
    for kind in plan.kinds:
        own = chosen.get(f"without-{kind}", {}).get("asked", {}).get(split, {}).get("kinds", {})
        pair = {"seen": seen.get(kind), "unseen": own.get(kind)}
        found[kind] = {name: figures for name, figures in pair.items() if figures}
    return {kind: pair for kind, pair in found.items() if pair}


def results_text(results: Sequence[Result], plan: Plan, split: str) -> str:
    """All tables of a split, with what must be known to read them."""
    chosen = first_seeds(results, split)
    kinds = by_kind(chosen, plan, split)
    if not kinds:
        return f"Nothing is measured on {split} yet."
    parts = [f"Split: **{split}**; simulated dirt throughout.", kind_table(kinds)]
    parts.append(reading_notes(chosen, plan, split))
    parts.append(map_table(kinds, plan))
    if "all-kinds" in chosen:
        parts.append(recall_text(chosen["all-kinds"]["asked"][split]["together"]))
        parts.append(confusion_text(chosen["all-kinds"]["asked"][split]["together"]))
    if text := stages_text(chosen, split):
        parts.append(text)
    return "\n\n".join(parts)


def kind_table(kinds: dict[str, dict[str, Any]]) -> str:
    """Per kind what is told of it, by a model that knows it and by one that does not."""
    rows = [
        "| kind | model | AUC clean / dirty | AUC spotless / dirty | level | level, with dirt "
        "| level, outside the margin | level error | dirt | material, clean | material, dirty |",
        "|---" * 11 + "|",
    ]
    for kind, pair in kinds.items():
        for name, each in pair.items():
            auc, spotless = each["auc"], each["auc_spotless"]
            cells = [
                _with_interval(auc["value"], auc["interval"], 3),
                _with_interval(spotless["value"], spotless["interval"], 3),
                _share(each["level"]),
                _share(each["level_with_dirt"]),
                _share(each["level_outside_margin"]),
                _number(each["ordinal_error"]),
                _share(each["dirt"]),
                _share(each["material"]["clean"], brief=True),
                _share(each["material"]["dirty"], brief=True),
            ]
            rows.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    for name in ("seen", "unseen"):
        own = {kind: pair[name] for kind, pair in kinds.items() if name in pair}
        if own:
            rows += summary_rows(name, own)
    return "\n".join(rows)


def summary_rows(name: str, kinds: dict[str, Any]) -> list[str]:
    """The mean over kinds, and the worst kind of each figure."""
    found = summary(kinds)
    areas, levels = ("auc", "auc_spotless"), ("level", "level_with_dirt", "level_outside_margin")
    mean = [f"**{found[key]['mean']:.3f}**" if key in found else "-" for key in areas]
    mean += [f"**{percent(found[key]['mean'])}**" if key in found else "-" for key in levels]
    worst = [_worst(found.get(key), "{:.3f}", 1) for key in areas]
    worst += [_worst(found.get(key), "{:.1f} %", 100) for key in levels]
    errors = found.get("ordinal_error", {"mean": None, "most": None, "worst": "-"})
    mean.append(_number(errors["mean"]))
    worst.append(f"{_number(errors['most'])} ({errors['worst']})")
    count = len(kinds)
    return [
        f"| mean of {count} | {name} | {' | '.join(mean)} | | | |",
        f"| worst of {count} | {name} | {' | '.join(worst)} | | | |",
    ]


def reading_notes(chosen: dict[str, Result], plan: Plan, split: str) -> str:
    """What the figures rest on."""
    first = next(iter(chosen.values()))
    each = next(iter(first["asked"][split]["kinds"].values()))
    seconds = [result["seconds"] for result in chosen.values()]
    lines = [
        "Seen: the model of all kinds. Unseen: a model that learned from every kind but this one, "
        "and chose its epoch without it.",
        "AUC clean / dirty: photos of the kind whose level is clean, with specks or without "
        f"(about {each['auc']['n_clean']}), against those that are partly or heavily dirty (about "
        f"{each['auc']['n_dirty']}), by 1 - P(clean). Spotless / dirty: the "
        f"{each['auc_spotless']['n_clean']} photos without any dirt against them, which is easier.",
        f"Intervals: {each['n']} photos of a kind show {each['level']['n_items']} items, as those "
        "whose outline is trusted stand for others of their class. Photos of one item are no "
        "independent trials: DeLong's variance is over items, Wilson's interval at an effective "
        "count.",
        f"Outside the margin: shares that are more than {100 * plan.margin:g} points from both "
        "thresholds. With dirt: any share over 0. Level error: mean distance in levels.",
        "Dirt: told where it has a label (none, dust, organic). Wet has none, and nobody can tell "
        "unseen dust by a label that no other kind has.",
        "Material: of the items that are dirty, on their photos with and without the dirt.",
        f"Seeds: {', '.join(sorted({str(r['seed']) for r in chosen.values()}))}; "
        f"training took {min(seconds) / 60:.1f} to {max(seconds) / 60:.1f} minutes "
        f"({first['machine']['processor']}, {first['machine']['cores']} cores).",
    ]
    return "\n".join(f"- {line}" for line in lines)


def map_table(kinds: dict[str, dict[str, Any]], plan: Plan) -> str:
    """Where the maps of contamination look on partly dirty items."""
    maps = [each["map"] for pair in kinds.values() for each in pair.values()]
    placed = any(found["hit"] != found["class_map"]["hit"] for found in maps)
    near = f"within {plan.near_px} px"
    titles = ["partly dirty items", "model", "chance: on dirt", near]
    titles += ["places: on dirt", near, "overlap"] * placed + [
        "class map: on dirt",
        near,
        "overlap",
    ]
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for kind, pair in kinds.items():
        for name, each in pair.items():
            if each["map"]["hit"]["n"]:
                cells = _map_cells(each["map"], placed=placed)
                rows.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    for name in ("seen", "unseen"):
        own = {kind: pair[name] for kind, pair in kinds.items() if name in pair}
        found = summary(own) if own else {}
        if "map_hit" in found:
            chance = [percent(found[f"map_{each}"]["mean"]) for each in ("chance", "near_chance")]
            hit = found["map_hit"]
            means = [
                f"**{percent(hit['mean'])}**, worst {percent(hit['least'])} ({hit['worst']})",
                percent(found["map_near"]["mean"]),
                *([""] * (4 if placed else 1)),
            ]
            rows.append(f"| mean of {len(own)} | {name} | {' | '.join([*chance, *means])} |")
    shown = (
        "Places: how much of each place is covered, learned from masks; this is what is shown. "
        if placed
        else "These models' files do not say how much of each place is covered. "
    )
    note = (
        f"{shown}Class map: of the likelier dirty level, where its evidence lies. Chance: a point "
        "drawn on the item. Overlap: intersection over union of dirt and what is over "
        f"{100 * plan.map_threshold:.0f} % of the peak; maps are 7 x 7 cells, dirt is not."
    )
    return "\n".join(rows) + f"\n\n{note}"


def _map_cells(found: dict[str, Any], *, placed: bool) -> list[str]:
    cells = [f"{100 * found[name]:.0f} %" for name in ("chance", "near_chance")]
    for each in ([found] if placed else []) + [found["class_map"]]:
        cells += [_share(each["hit"]), _share(each["near"], brief=True), _number(each["overlap"])]
    return cells


def recall_text(together: dict[str, Any]) -> str:
    """Per material and level, all kinds together."""
    rows = [
        "| told by the model of all kinds, all kinds together | " + " | ".join(LEVELS) + " |",
        "|---" * (len(LEVELS) + 1) + "|",
    ]
    for material, levels in together["recall"].items():
        cells = [_share(levels[level], counts=True) for level in LEVELS]
        rows.append(f"| {material} | {' | '.join(cells)} |")
    return "\n".join(rows)


def confusion_text(together: dict[str, Any]) -> str:
    """Levels against answers, all kinds together."""
    rows = [
        "| true level, answered as | " + " | ".join(LEVELS) + " |",
        "|---" * (len(LEVELS) + 1) + "|",
    ]
    for level, counts in zip(LEVELS, together["confusion"], strict=True):
        rows.append(f"| {level} | {' | '.join(str(count) for count in counts)} |")
    return "\n".join(rows)


def stages_text(chosen: dict[str, Result], split: str) -> str:
    """P1's two stages beside joint training, on the same photos."""
    names = [name for name in ("all-kinds", "two-stage") if name in chosen]
    if len(names) < 2:
        return ""
    rows = [
        "| training | material, photos without dirt | material, all photos | level | AUC, mean |",
        "|---|---|---|---|---|",
    ]
    titles = {"all-kinds": "joint (all-kinds)", "two-stage": "two stages (two-stage)"}
    for name in names:
        asked = chosen[name]["asked"][split]
        together = asked["together"]
        rows.append(
            f"| {titles[name]} | {_share(together['material_clean'])} "
            f"| {_share(together['material'])} | {_share(together['level'])} "
            f"| {_mean_auc(asked['kinds'])} |"
        )
    pairs = chosen["two-stage"]["asked"][split].get("against_joint", {})
    told = [
        f"{task}: {100 * pair['gain']:+.1f} points ({100 * pair['interval'][0]:+.1f} to "
        f"{100 * pair['interval'][1]:+.1f}, {pair['n_items']} items)"
        for task, pair in pairs.items()
    ]
    note = f"\n\nJoint training over two stages on the same items: {'; '.join(told)}."
    return "\n".join(rows) + (note if told else "")


def _mean_auc(kinds: dict[str, Any]) -> str:
    found = summary(kinds)
    return f"{found['auc']['mean']:.3f}" if "auc" in found else "-"


def _share(found: dict[str, Any], *, brief: bool = False, counts: bool = False) -> str:
    if found["share"] is None:
        return "-"
    if counts:
        low, high = (100 * end for end in found["interval"])
        told = f"{found['right']}/{found['n']} = {100 * found['share']:.0f} %"
        return f"{told} ({low:.0f} to {high:.0f})"
    if brief:
        return percent(found["share"])
    low, high = found["interval"]
    return f"{percent(found['share'])} ({100 * low:.1f} to {100 * high:.1f})"


def _with_interval(value: float | None, interval: Sequence[float] | None, digits: int) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.{digits}f} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _worst(found: dict[str, Any] | None, shape: str, unit: float) -> str:
    return f"{shape.format(unit * found['least'])} ({found['worst']})" if found else "-"
