"""Rows of a small screen of lines, and what they should be by dense arithmetic."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core.feed import Span
from jaxpert.tasks.translation.rows import blocks_of_rows

SMALL = {"replicates": 8, "cells_per_draw": 25, "seed": 3}


def draw(feed, epoch=0, seed=1):
    """Batches of an epoch."""
    key, data = jax.random.key(seed), feed.data
    if feed.windows is not None:
        # The whole epoch is one window.
        with contextlib.closing(feed.windows.read(key, [Span(epoch, 0, feed.steps)])) as windows:
            data = next(windows)
    order = jax.jit(feed.order)(data, key, jnp.int32(epoch))
    batch = jax.jit(feed.batch)
    return [batch(data, jax.random.fold_in(key, i), order, jnp.int32(i)) for i in range(feed.steps)]


def numbers(batches):
    """Pairs in their order, padding left out."""
    return np.concatenate([np.asarray(b.extras["pair"])[np.asarray(b.mask)] for b in batches])


def host_rows(prepared, split):
    """{pair: (row, control row)}, lists of them where cells are rows."""
    rows = {}
    for block in blocks_of_rows(prepared, split, block=7):
        for pair, x, control in zip(block.pair, block.x, block.control, strict=True):
            rows.setdefault(int(pair), []).append((x, control))
    return rows


def adjusted_cells(prepared):
    """Every cell on the scale of the rows, dense: what is never made otherwise."""
    x = prepared.dataset.counts.toarray().astype(float)
    y = np.log2(1 + 1e4 * x / np.maximum(x.sum(1, keepdims=True), 1))
    stratum = prepared.dataset.stratum
    return prepared.affine.scale[stratum] * y + prepared.affine.shift[stratum]
