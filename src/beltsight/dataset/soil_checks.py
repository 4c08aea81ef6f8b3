"""What must hold before photos are soiled; a folder that was begun refuses the corrected call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from beltsight.errors import ConfigError, DatasetError, TaxonomyError
from beltsight.scene import LEVELS, DirtSettings
from beltsight.scene.dirt import check_kind

_MADE = re.compile(r"(.+)\.[0-9]+\.jpg", re.DOTALL)


def check_levels(levels: Sequence[str], where: str, *, all_needed: bool = True) -> None:
    """Refuse levels of contamination that are not those of simulated dirt.

    Args:
        levels: of a data set or a taxonomy.
        where: they stand, for the error.
        all_needed: False for a data set that needs not use every level.

    Raises:
        TaxonomyError: others, or one of them is missing.
    """
    if set(levels) - set(LEVELS) or (all_needed and set(LEVELS) - set(levels)):
        raise TaxonomyError(
            f"{where}: the levels of contamination are {', '.join(levels)}, those of simulated "
            f"dirt {', '.join(LEVELS)}; name them alike in labels and taxonomy, since made photos "
            "are labelled with the latter"
        )


def check_kinds(kinds: Sequence[str], settings: DirtSettings) -> None:
    """Refuse kinds of dirt of which none can be drawn; none at all stand for all.

    Raises:
        ConfigError: an unknown kind, or all of them without a weight.
    """
    for name in kinds:
        check_kind(name, settings)
    if kinds and not any(settings.kinds[name].weight for name in kinds):
        raise ConfigError(
            f"no kind of dirt to draw from: {', '.join(kinds)} have no weight over 0 in the "
            "settings; name others, or give one of them a weight"
        )


def check_names(kept: Iterable[str], soiled: Iterable[str]) -> None:
    """Refuse photos that would be overwritten by those made of others.

    Args:
        kept: names of the photos that are kept as they are.
        soiled: names of those of which others are made, ``NAME.0.jpg`` and so on.

    Raises:
        DatasetError: one that is kept has such a name.

    Example:
        >>> check_names(["a.jpg", "b.0.jpg"], ["a.jpg"])
    """
    sources = frozenset(soiled)
    for name in kept:
        made = _MADE.fullmatch(name)
        if made and made[1] in sources:
            raise DatasetError(
                f"{name} is kept and has the name of a photo made of {made[1]}, as where these "
                "photos were soiled before; soil the photos as they were, not the made ones"
            )
