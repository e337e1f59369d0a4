"""Names for streams of random numbers: what is folded into a key, so that no two uses collide."""

from __future__ import annotations

import enum


class Stream(enum.IntEnum):
    """Numbers folded into a run's root key, or into the key of its seed.

    Steps of training fold in their own number, counted from 0, so that streams of the root key
    count down from the largest 32-bit number.
    """

    ORDER = 2**32 - 1
    """The order of cells in an epoch."""
    VALIDATION = 2**32 - 2
    INIT = 2**32 - 3
    """Initial parameters."""
    AFTER_TRAINING = 2**32 - 4
    """What a model computes once, after training."""
    PREDICT = 1
    """Of the seed's own key: predicted cells."""
    EVALUATE = 2
    """Of the seed's own key: generated cells that are only scored."""
    REMOVE = 3
    """Of a given seed's key: cells without their artifact."""
    INTERPRET = 3
    """Of a given seed's key: the latent space. It has the number of `REMOVE`, as it always had, so
    that numbers stay what they were; no answer draws from both."""
    GENERATE = 4
    """Of a given seed's key: artifact-free cells."""
    CALIBRATE = 5
    """Of the key 0: what widths of intervals are taken from."""
