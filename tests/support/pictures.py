"""What is on a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def ink(path: Path) -> float:
    """Share of the page that is not white."""
    image = pixels(path)
    assert image.shape[0] > 300 and image.shape[1] > 300 and image.std() > 0.02
    return float((image.min(-1) < 0.95).mean())


def colour_share(path: Path, colour: str) -> float:
    """Share of pixels within a little of a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float((np.abs(pixels(path) - wanted).max(-1) < 0.04).mean())
