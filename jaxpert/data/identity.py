"""Which data a run belongs to: kept beside its parameters, compared before these are used again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.data.counts import row_blocks
from jaxpert.data.files import shown

DIGEST = "digest"
PARTS = {
    "cells": "names or order of cells",
    "labels": "labels of cells",
    "counts": "counts",
}
"""What has a checksum, and how messages call it. Genes and treatments are kept by name."""


def identity(dataset: Dataset) -> dict[str, Any]:
    """What tells these data from others: names of genes and treatments, and checksums.

    Split and quality labels are left out: they follow from what is in, the config and the libraries
    that compute them.
    """
    names = [*dataset.conditions, "", *dataset.strata]
    labels = _crc(dataset.stratum.astype(np.int32), _crc(dataset.condition.astype(np.int32)))
    return {
        "genes": dataset.genes,
        "treatments": dataset.treatments,
        DIGEST: {
            "cells": _crc_of_texts(dataset.cells),
            "labels": _crc_of_texts(names, labels),
            "counts": _crc_of_counts(dataset.counts),
        },
    }


def check_same(dataset: Dataset, before: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Compare data with the `identity` of those that a run was trained on; a note where it is of a
    version that kept no checksums.

    Raises:
        InputError: for other data, or the same in another order: parameters go by position.
    """
    for what, now in (("genes", dataset.genes), ("treatments", dataset.treatments)):
        then = tuple(before[what])
        if then != now:
            raise changed(dataset, folder, _difference(what, then, now))
    if DIGEST not in before:
        return (
            f"the run in {folder} is of an older version, which kept no checksum of its data: "
            "genes and treatments are as they were, counts could not be compared",
        )
    digest = identity(dataset)[DIGEST]
    differing = [name for part, name in PARTS.items() if digest[part] != before[DIGEST].get(part)]
    if differing:
        raise changed(dataset, folder, f"other {', '.join(differing)}")
    return ()


def changed(dataset: Dataset, folder: Path, how: str) -> InputError:
    """The error for data that are no longer those of a run."""
    return InputError(
        f"the data {dataset.name!r} are no longer those that the run in {folder} was trained on "
        f"({how}), expected the same: put the file of then in its place, or train again in a new "
        "--workdir"
    )


def _difference(what: str, then: tuple[str, ...], now: tuple[str, ...]) -> str:
    """Where two lists of names part."""
    # One may be the beginning of the other, so the longer one is gone through.
    longest = max(len(then), len(now))
    at = next(i for i in range(longest) if then[i : i + 1] != now[i : i + 1])
    old, new = shown(then[at : at + 1]) or "none", shown(now[at : at + 1]) or "none"
    order = "in another order, " if sorted(then) == sorted(now) else ""
    return f"{order}of the {what} number {at + 1} was {old} and is now {new}"


def _crc(array: np.ndarray, start: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, start)


def _crc_of_texts(texts: Sequence[str] | np.ndarray, start: int = 0) -> int:
    # With a separator that no name holds, so that "ab", "c" is not "a", "bc".
    return zlib.crc32("\x00".join(map(str, texts)).encode(), start)


def _crc_of_counts(counts: Any) -> int:
    total = 0
    for _, block in row_blocks(counts):
        # Blocks are views; the order within a row is that of whoever wrote the file.
        if not block.has_sorted_indices:
            block = block.sorted_indices()
        lengths = np.diff(block.indptr).astype(np.int32)
        total = _crc(block.data, _crc(block.indices.astype(np.int32, copy=False), total))
        total = _crc(lengths, total)
    return total
