"""Doublet calls: the Scrublet package, scanpy's version of it, or none."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxpert.core import caches, interrupts
from jaxpert.core.stages import track
from jaxpert.data.mapped import rows_of

METHODS = ("scrublet", "scanpy", "none")
EXPECTED_RATE = 0.05
COMPONENTS = 30
NO_THRESHOLD = "it found no threshold between single cells and simulated doublets"
FEWEST_CELLS = 10
"""Below this neither version can simulate, embed and find neighbours."""
FEWEST_FOR_RATES = 700
"""Cells that share one call, where the share of doublets is to mean something.

A score is a share of about 1.5 sqrt(N) neighbours along 30 components: of few cells both follow
noise. The caller is told to expect 5 % of doublets, and calls so many only from here on
(docs/evaluation.md, Quality pass rate)."""
MOST_PARTS = 10
DEGENERATE = (ValueError, IndexError, ArithmeticError, RuntimeError)
"""How the libraries fail on data of too few cells or variable genes."""


def call_doublets(
    counts: Any, method: str, seed: int = 0, group: int | None = None
) -> tuple[Bool[np.ndarray, "N"], tuple[str, ...]]:
    """Return which cells of a CSR matrix are called doublets, and what there is to say about the
    calls.

    Settings are those of scanpy's defaults for both versions: two simulated doublets per cell,
    expected rate 0.05, no subsampling, 30 principal components, automatic threshold. The versions
    agree only roughly. Where no threshold is found nothing is called a doublet and a note says so.
    `group` calls in random groups of at most so many cells: Scrublet holds some 3 N x 0.15 G
    float64 values at once.
    """
    doublet = np.zeros(counts.shape[0], bool)
    if method == "none":
        return doublet, ("doublets were not called",)
    # Both versions import libraries that cache.
    caches.ensure_writable()
    call = {"scrublet": _by_package, "scanpy": _by_scanpy}[method]
    remarks: Counter[str] = Counter()
    parts = _groups(counts.shape[0], group, seed)
    for rows in track(parts, "calling doublets"):
        calls, remark = None, "too few cells"
        if len(rows) >= FEWEST_CELLS:
            calls, remark = _quietly(call, rows_of(counts, rows), seed)
        if calls is None:
            remark = f"gave no calls, so none is a doublet: {remark}"
        else:
            doublet[rows] = calls
        if remark:
            # Counted by text, so that many groups with one problem make one note.
            remarks[remark] += len(rows)
    notes = [f"{method}, called on {cells} cells, {remark}" for remark, cells in remarks.items()]
    total = f"{method} called {int(doublet.sum())} of {len(doublet)} cells doublets"
    if len(parts) > 1:
        total += f" in {len(parts)} random groups of cells"
    return doublet, (*notes, total)


def parts_of(rows: int, cells_per_row: int, fewest: int = FEWEST_FOR_RATES) -> int:
    """In how many parts (1 to 10) generated cells are called, each with cells of every row and at
    least `fewest` cells; 0 where all of them together are fewer."""
    # Cells of each row that make one part large enough, rounded up.
    needed = -(-fewest // rows)
    return min(MOST_PARTS, cells_per_row // max(needed, 1))


def too_few(cells: int, method: str) -> str:
    """Why doublets of generated cells are no criterion of their pass rate."""
    return (
        f"doublets are left out of the pass rate of generated cells: {method} needs "
        f"{FEWEST_FOR_RATES} cells to call no more than it expects, and {cells} were generated "
        "(raise evaluation.pass_cells)"
    )


def _groups(cells: int, group: int | None, seed: int) -> list[np.ndarray]:
    if group is None or cells <= group:
        return [np.arange(cells)]
    order = np.random.default_rng(seed).permutation(cells)
    # Random, since neighbours in a file are often of one batch; sorted for cutting rows of CSR.
    return [np.sort(part) for part in np.array_split(order, -(-cells // group))]


def _quietly(call: Any, counts: Any, seed: int) -> tuple[np.ndarray | None, str]:
    """Keep the libraries' prints and warnings off the screen, and NumPy's global generator as it
    was."""
    # The libraries seed NumPy's global stream, which a user's own code may draw from.
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _largest_embedding(call, counts, seed)
    finally:
        np.random.set_state(state)


def _largest_embedding(call: Any, counts: Any, seed: int) -> tuple[np.ndarray | None, str]:
    """Call with the usual number of components, or fewer where small data have too few variable
    genes for them."""
    problem = ""
    for components in (COMPONENTS, 10, 3):
        try:
            calls = call(counts, seed, components)
        except DEGENERATE as error:
            interrupts.raise_again(error)
            problem = f"it stopped with {type(error).__name__}: {' '.join(str(error).split())}"
            continue
        # No threshold is an answer and no failure, so fewer components are not tried.
        if calls is None:
            return None, NO_THRESHOLD
        if components == COMPONENTS:
            return calls, ""
        return calls, f"took {components} principal components, for want of variable genes"
    return None, problem


def _by_package(counts: Any, seed: int, components: int) -> np.ndarray | None:
    import scrublet
    from scipy import sparse

    # float32: the package adds pairs of cells in the type it is given, and small integers would
    # wrap around
    model = scrublet.Scrublet(
        sparse.csc_matrix(counts, dtype=np.float32),
        sim_doublet_ratio=2.0,
        expected_doublet_rate=EXPECTED_RATE,
        stdev_doublet_rate=0.02,
        random_state=seed,
    )
    model.scrub_doublets(n_prin_comps=components, verbose=False)
    return model.predicted_doublets_


def _by_scanpy(counts: Any, seed: int, components: int) -> np.ndarray | None:
    import anndata
    import scanpy

    adata = anndata.AnnData(counts.astype(np.float32))
    scanpy.pp.scrublet(
        adata,
        expected_doublet_rate=EXPECTED_RATE,
        stdev_doublet_rate=0.02,
        sim_doublet_ratio=2.0,
        n_prin_comps=components,
        random_state=seed,
        verbose=False,
    )
    calls = adata.obs.get("predicted_doublet")
    # scanpy scores only cells with 3 genes or more; the others are no doublets
    return None if calls is None else np.asarray(calls.fillna(False), bool)
