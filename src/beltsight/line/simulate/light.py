"""Lamps, lens and sensor between the belt and a frame: a few passes over bytes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.line.simulate.settings import LightLook
from beltsight.records import Photo

_NOISES = 4
_SHIFT_PX = 96
_GAMMA = 1 / 2.2


class Light:
    """Turns a slice of the belt into a frame.

    Args:
        look: of the light.
        height_px, width_px: of a frame.
        seed: of the noise.
    """

    def __init__(self, look: LightLook, height_px: int, width_px: int, seed: int) -> None:
        self.look = look
        self._size = height_px, width_px
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._phase = rng.uniform(0, 2 * np.pi, 2)
        self._vignette = _vignette(look.vignette, height_px, width_px)
        shape = (height_px + _SHIFT_PX, width_px + _SHIFT_PX, 3)
        drawn = [rng.normal(0, look.noise, shape) for _ in range(_NOISES)] if look.noise else []
        # What brightens and what darkens apart, as bytes: adding them saturates at both ends.
        self._up = [np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in drawn]
        self._down = [np.clip(np.rint(-one), 0, 255).astype(np.uint8) for one in drawn]

    def gain(self, time_s: float) -> float:
        """How bright the lamps are at a time, as a factor of linear light; 1 on average."""
        look = self.look
        drift = np.sin(2 * np.pi * time_s / look.drift_period_s + self._phase[0])
        flicker = np.sin(2 * np.pi * time_s * look.flicker_hz + self._phase[1])
        return float(2 ** (look.drift_ev * drift) * (1 + look.flicker * flicker))

    def fall_on(self, belt: Photo, time_s: float, number: int) -> Photo:
        """The frame: the belt in this light, with this frame's own noise.

        Args:
            belt: uint8 (H, W, 3) RGB, changed in place.
            time_s: of the exposure.
            number: of the frame.
        """
        factor = self.gain(time_s) ** _GAMMA
        if self._vignette is not None:
            cv2.multiply(belt, self._vignette, belt, factor / 255)
        elif factor != 1:
            table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
            cv2.LUT(belt, table, belt)
        if self._up:
            rng = np.random.default_rng((self._seed, number))
            bank, top, left = (int(n) for n in rng.integers((_NOISES, _SHIFT_PX, _SHIFT_PX)))
            rows, columns = slice(top, top + self._size[0]), slice(left, left + self._size[1])
            cv2.add(belt, self._up[bank][rows, columns], belt)
            cv2.subtract(belt, self._down[bank][rows, columns], belt)
        return belt


def _vignette(amount: float, height: int, width: int) -> NDArray[np.uint8] | None:
    """Factors of the photo's numbers, in 255ths, for each channel."""
    if amount == 0:
        return None
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - amount * (x**2 + y**2) / 2
    factors = np.rint(255 * light**_GAMMA).astype(np.uint8)
    return np.repeat(factors[:, :, None], 3, axis=2)
