"""Which views of an item are worth an answer: few, good, and in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from beltsight.line.belt import BeltState
from beltsight.line.track import Track
from beltsight.strict import Strict


class ViewSettings(Strict):
    """When an item is looked at.

    Args:
        per_item: views at most.
        first_from_mm: from this far downstream of the reference line a good view is taken at once.
        first_by_mm: there the first view is taken, good or not; in a hurry from the frame before.
        last_by_mm: no further view is taken beyond.
        apart_mm: belt between two views of an item: nearer ones say the same.
        sharpness: a further view must be at least this share as sharp as the best one.
    """

    per_item: int = Field(2, ge=1, le=16)
    first_from_mm: float = Field(-250.0, allow_inf_nan=False)
    first_by_mm: float = Field(0.0, allow_inf_nan=False)
    last_by_mm: float = Field(100.0, allow_inf_nan=False)
    apart_mm: float = Field(150.0, ge=0, allow_inf_nan=False)
    sharpness: float = Field(0.6, ge=0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """A view that was sent to the model.

    Args:
        u_mm: where the item was.
        sharpness: of the region.
        is_good: the item was whole and alone in it.
    """

    u_mm: float
    sharpness: float
    is_good: bool


def take(track: Track) -> Taken:
    """The view of a track in its frame, to be remembered; a track that is seen."""
    assert track.region is not None
    return Taken(track.u_mm, track.region.sharpness, is_good_view(track))


def is_good_view(track: Track) -> bool:
    """Whether the item is seen whole along the belt, and not with another in its region."""
    region = track.region
    return (
        region is not None
        and not region.touching
        and region.cut_by_edge.isdisjoint(("upstream", "downstream"))
    )


def wants_view(
    track: Track,
    state: BeltState,
    taken: Sequence[Taken] = (),
    settings: ViewSettings | None = None,
    *,
    frame_s: float = 1 / 30,
) -> bool:
    """Whether the view of an item in this frame is to be answered by the model.

    Args:
        track: the item at this frame.
        state: of the belt at this frame; its speed says where the item will be at the next.
        taken: its views so far.
        settings: how many, and where.
        frame_s: time between frames.

    Returns:
        True for a confirmed item that is seen in this frame: for the first view where it is good
        and far enough along, or where the next frame would be too late; for a further one where
        it is good, or better than the last, sharp, and far enough from the last.
    """
    settings = settings or ViewSettings()
    if track.region is None or not track.confirmed or track.left is not None:
        return False
    good = is_good_view(track)
    if not taken:
        next_mm = track.u_mm + max(state.speed_mm_s, 0.0) * frame_s
        is_due = next_mm > settings.first_by_mm
        return is_due or (good and track.u_mm >= settings.first_from_mm)
    if len(taken) >= settings.per_item or track.u_mm > settings.last_by_mm:
        return False
    if abs(track.u_mm - taken[-1].u_mm) < settings.apart_mm:
        return False
    sharp = track.region.sharpness >= settings.sharpness * max(view.sharpness for view in taken)
    return (good and sharp) or (good and not taken[-1].is_good)
