"""Between the picture's pixels and the belt's millimetres.

The mapping is straight: a camera that looks square down on the belt, without distortion. Correct
the frames first where that does not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from beltsight.errors import CameraError
from beltsight.records import Photo
from beltsight.strict import Strict

Box = tuple[int, int, int, int]
Direction = Literal["right", "left", "up", "down"]
Edge = Literal["upstream", "downstream", "left", "right"]

# Quarter turns counterclockwise, as np.rot90 counts them, after which the belt runs to the right
# and its left edge is above.
_TURNS: dict[Direction, int] = {"right": 0, "down": 1, "left": 2, "up": 3}


@dataclass(frozen=True, slots=True)
class BeltBox:
    """A rectangle on the belt, in mm.

    Args:
        u0, u1: its upstream and downstream end from the reference line, downstream positive.
        lateral0, lateral1: its left and right side from the belt's left edge.
    """

    u0: float
    u1: float
    lateral0: float
    lateral1: float

    @property
    def u(self) -> float:
        """The middle along the belt."""
        return (self.u0 + self.u1) / 2

    @property
    def lateral(self) -> float:
        """The middle across the belt."""
        return (self.lateral0 + self.lateral1) / 2

    @property
    def length(self) -> float:
        """Along the belt."""
        return self.u1 - self.u0

    @property
    def width(self) -> float:
        """Across the belt."""
        return self.lateral1 - self.lateral0

    @property
    def area(self) -> float:
        """In mm2; 0 where an end lies before its start."""
        return max(self.length, 0.0) * max(self.width, 0.0)

    def intersection(self, other: BeltBox) -> BeltBox:
        """What both cover; of area 0 where that is nothing."""
        return BeltBox(
            max(self.u0, other.u0),
            min(self.u1, other.u1),
            max(self.lateral0, other.lateral0),
            min(self.lateral1, other.lateral1),
        )

    def union(self, other: BeltBox) -> BeltBox:
        """The least box that holds both."""
        return BeltBox(
            min(self.u0, other.u0),
            max(self.u1, other.u1),
            min(self.lateral0, other.lateral0),
            max(self.lateral1, other.lateral1),
        )

    def moved(self, along_mm: float) -> BeltBox:
        """The box farther downstream."""
        return BeltBox(self.u0 + along_mm, self.u1 + along_mm, self.lateral0, self.lateral1)


class View(Strict):
    """What the camera sees of the belt.

    Args:
        width_px, height_px: of a frame.
        width_mm, height_mm: of what it shows of the belt.
        direction: in which the belt runs through the picture.
        left_edge_mm: from the belt's left edge, seen in the direction of motion, to where the view
            begins; negative where the view goes beyond the belt.

    Example:
        >>> view = View(width_px=1280, height_px=720, width_mm=1000, height_mm=562.5)
        >>> view.to_belt(1280, 0)  # the corner downstream and left
        (500.0, 0.0)
        >>> view.to_pixel(0, 562.5)
        (640.0, 720.0)
    """

    width_px: int = Field(ge=32, le=16_384)
    height_px: int = Field(ge=32, le=16_384)
    width_mm: float = Field(gt=0, allow_inf_nan=False)
    height_mm: float = Field(gt=0, allow_inf_nan=False)
    direction: Direction = "right"
    left_edge_mm: float = Field(0.0, allow_inf_nan=False)

    @property
    def length_mm(self) -> float:
        """Along the belt."""
        return self.width_mm if self._lies else self.height_mm

    @property
    def breadth_mm(self) -> float:
        """Across the belt."""
        return self.height_mm if self._lies else self.width_mm

    @property
    def length_px(self) -> int:
        """Along the belt."""
        return self.width_px if self._lies else self.height_px

    @property
    def breadth_px(self) -> int:
        """Across the belt."""
        return self.height_px if self._lies else self.width_px

    @property
    def bounds(self) -> BeltBox:
        """The whole view on the belt."""
        half = self.length_mm / 2
        return BeltBox(-half, half, self.left_edge_mm, self.left_edge_mm + self.breadth_mm)

    def to_belt(self, x_px: float, y_px: float) -> tuple[float, float]:
        """A point of the picture on the belt: (u, lateral) in mm.

        Args:
            x_px, y_px: pixel i reaches from i to i + 1.
        """
        along, across = self._turned_point(x_px, y_px)
        u = (along / self.length_px - 0.5) * self.length_mm
        return u, across / self.breadth_px * self.breadth_mm + self.left_edge_mm

    def to_pixel(self, u_mm: float, lateral_mm: float) -> tuple[float, float]:
        """A point of the belt in the picture: (x, y) in pixels, perhaps beyond the frame."""
        along = (u_mm / self.length_mm + 0.5) * self.length_px
        across = (lateral_mm - self.left_edge_mm) / self.breadth_mm * self.breadth_px
        x = {"right": along, "left": self.width_px - along, "up": across}.get(
            self.direction, self.width_px - across
        )
        y = {"right": across, "left": self.height_px - across, "down": along}.get(
            self.direction, self.height_px - along
        )
        return x, y

    def box_to_belt(self, box_xyxy: Box) -> BeltBox:
        """A box of the picture, ends exclusive, on the belt."""
        x0, y0, x1, y1 = box_xyxy
        first, second = self.to_belt(x0, y0), self.to_belt(x1, y1)
        (u0, u1), (lateral0, lateral1) = (sorted(pair) for pair in zip(first, second, strict=True))
        return BeltBox(u0, u1, lateral0, lateral1)

    def box_to_pixel(self, box: BeltBox) -> Box:
        """A rectangle of the belt in the picture, rounded outwards and cut to the frame."""
        ends = (self.to_pixel(box.u0, box.lateral0), self.to_pixel(box.u1, box.lateral1))
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(*ends, strict=True))
        spare = 1e-6
        return (
            min(max(math.floor(x0 + spare), 0), self.width_px),
            min(max(math.floor(y0 + spare), 0), self.height_px),
            min(max(math.ceil(x1 - spare), 0), self.width_px),
            min(max(math.ceil(y1 - spare), 0), self.height_px),
        )

    def edges_cut(self, box_xyxy: Box, margin_px: int = 1) -> frozenset[Edge]:
        """The edges of the view that a box reaches, named as seen in the direction of motion.

        Args:
            box_xyxy: in the picture.
            margin_px: a box that ends this near to an edge reaches it.
        """
        x0, y0, x1, y1 = box_xyxy
        reached = (
            x0 <= margin_px,
            y0 <= margin_px,
            x1 >= self.width_px - margin_px,
            y1 >= self.height_px - margin_px,
        )
        names: dict[Direction, tuple[Edge, Edge, Edge, Edge]] = {
            "right": ("upstream", "left", "downstream", "right"),
            "left": ("downstream", "right", "upstream", "left"),
            "up": ("left", "downstream", "right", "upstream"),
            "down": ("right", "upstream", "left", "downstream"),
        }
        return frozenset(
            name for name, is_cut in zip(names[self.direction], reached, strict=True) if is_cut
        )

    def turned(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """The picture turned so that the belt runs to the right, its left edge above; a view."""
        return np.rot90(image, _TURNS[self.direction])

    def turned_back(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """What :meth:`turned` turned, as it was."""
        return np.rot90(image, -_TURNS[self.direction])

    def box_turned_back(self, box: Box) -> Box:
        """A box of the turned picture, in the picture.

        Args:
            box: (along0, across0, along1, across1), ends exclusive.
        """
        a0, b0, a1, b1 = box
        return {
            "right": (a0, b0, a1, b1),
            "left": (self.width_px - a1, self.height_px - b1, self.width_px - a0,
                     self.height_px - b0),
            "up": (b0, self.height_px - a1, b1, self.height_px - a0),
            "down": (self.width_px - b1, a0, self.width_px - b0, a1),
        }[self.direction]  # fmt: skip

    def check_frame(self, image: Photo) -> None:
        """Refuse a frame of another size or form.

        Raises:
            CameraError: says what came.
        """
        expected = (self.height_px, self.width_px, 3)
        got = getattr(image, "shape", None), getattr(image, "dtype", None)
        if got != (expected, np.uint8):
            raise CameraError(
                f"the camera must give uint8 frames of shape {expected} as the view states, got "
                f"{got[1]} {got[0]}; mend width_px and height_px of the view, or the camera's mode"
            )

    @property
    def _lies(self) -> bool:
        return self.direction in ("right", "left")

    def _turned_point(self, x_px: float, y_px: float) -> tuple[float, float]:
        """(along, across) in pixels from the upstream and the left edge."""
        return {
            "right": (x_px, y_px),
            "left": (self.width_px - x_px, self.height_px - y_px),
            "up": (self.height_px - y_px, x_px),
            "down": (y_px, self.width_px - x_px),
        }[self.direction]
