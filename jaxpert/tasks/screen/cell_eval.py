"""Predictions as a file that cell-eval and other tools read: cells on ln(1 + 1e4 x / sum x), with a
label each, those of the control among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxpert.core.fit import Fitted
from jaxpert.core.streams import Stream
from jaxpert.core.types import Dataset, InputError
from jaxpert.data.labels_asked import conditions_asked, known_names
from jaxpert.data.mapped import totals
from jaxpert.data.moments import LIBRARY, log_normalise
from jaxpert.evaluation import generate, pseudobulk
from jaxpert.tasks.screen.predict import listed, make_request, predict_effects, treatments_of
from jaxpert.tasks.screen.scales import LN2

if TYPE_CHECKING:
    from anndata import AnnData

SCALE = "ln(1 + 1e4 x / sum x)"


class _Cells(NamedTuple):
    """Rows to write."""

    values: Any
    """CSR, on the natural logarithm."""
    name: Int[np.ndarray, "N"]
    """Place of each row's label among the names."""
    notes: list[str]


def predict_cells(
    fitted: Fitted,
    dataset: Dataset,
    perturbations: str | Sequence[str],
    *,
    cells: int = 100,
    seed: int = 0,
) -> AnnData:
    """Predicted cells of the control and of every named perturbation, in the form of cell-eval.

    Args:
        fitted: of one seed.
        dataset: what it was fitted to.
        perturbations: names, as `predict` understands them.
        cells: of each. A model that draws counts draws so many, with library sizes of training
            control cells; one that shifts control cells shifts so many of these (all, where there
            are fewer); any other has its mean, one row each.
        seed: of drawn cells.

    Returns:
        `X` as CSR float32; `obs` has the label under the name of the data's own column; `uns` the
        scale and notes.
    """
    control = dataset.conditions[dataset.control]
    asked = listed(perturbations)
    # As the data call them, since other tools compare labels letter by letter.
    known = conditions_asked(asked, known_names(dataset))
    called = [name or given for name, given in zip(known, asked, strict=True)]
    names = (control, *dict.fromkeys(name for name in called if name != control))
    treatment = treatments_of(dataset, names)
    if fitted.model.scale == "counts" and fitted.model.stochastic:
        made = _drawn(fitted, dataset, treatment, cells, seed)
    elif fitted.model.needs_control:
        made = _shifted(fitted, dataset, treatment, cells, seed)
    else:
        made = _means(fitted, dataset, names, seed)
    return _anndata(_above_zero(made), names, dataset)


def _drawn(
    fitted: Fitted, dataset: Dataset, treatment: Float[np.ndarray, "R T"], cells: int, seed: int
) -> _Cells:
    """Counts of the model, normalised."""
    libraries = totals(dataset.counts, _controls(dataset)).astype(np.float32)
    counts = generate.generated_counts(
        fitted.model,
        fitted.params,
        fitted.state,
        jax.random.fold_in(jax.random.key(seed), Stream.GENERATE),
        make_request(treatment),
        cells_per_row=cells,
        # A library of 0 would generate empty cells.
        libraries=libraries[libraries > 0],
    )
    values, filled = log_normalise(counts)
    # Cells go round the rows, so that row i belongs to i modulo their number.
    name = np.tile(np.arange(len(treatment)), cells)
    notes = []
    if not filled.all():
        notes.append(f"{int((~filled).sum())} drawn cells without counts were left out")
    return _Cells(values[filled], name[filled], notes)


def _shifted(
    fitted: Fitted, dataset: Dataset, treatment: Float[np.ndarray, "R T"], cells: int, seed: int
) -> _Cells:
    """Control cells as the model shifts them, each in its own stratum."""
    from scipy import sparse

    model, rows = fitted.model, _controls(dataset)
    chosen = np.random.default_rng(seed).permutation(rows)[:cells]
    ask = jax.jit(model.predict)
    key = jax.random.fold_in(jax.random.key(seed), Stream.GENERATE)
    blocks = []
    for number, row in enumerate(chosen):
        cell = jnp.asarray(dataset.counts[[row]].toarray(), jnp.float32)
        request = make_request(treatment, stratum=int(dataset.stratum[row]))
        request = request._replace(control=jnp.broadcast_to(cell, (len(treatment), cell.shape[1])))
        made = ask(fitted.params, fitted.state, jax.random.fold_in(key, number), request)
        blocks.append(sparse.csr_matrix(np.asarray(made, np.float64)))
    notes = []
    if len(chosen) < cells:
        notes.append(f"there are {len(chosen)} control cells to shift, fewer than {cells}")
    values = sparse.csr_matrix(sparse.vstack(blocks, format="csr"))
    return _Cells(_natural(values, model.scale), np.tile(np.arange(len(treatment)), len(chosen)),
                  notes)  # fmt: skip


def _means(fitted: Fitted, dataset: Dataset, names: Sequence[str], seed: int) -> _Cells:
    """One row each, of a model that has means alone."""
    from scipy import sparse

    prediction = predict_effects(fitted, dataset, names, seed=seed)
    mean = prediction.effects.moments.mean
    note = "the model predicts means, so that each perturbation has one row"
    values = sparse.csr_matrix(mean.astype(np.float64) * LN2)
    return _Cells(values, np.arange(len(names)), [note])


def _natural(values: Any, scale: str) -> Any:
    """Values of a model's scale on the natural logarithm."""
    if scale not in ("lognorm", "log2"):
        raise InputError(
            f"the model shifts cells on the scale {scale!r}, expected a logarithm: take "
            "jaxpert predict without --format"
        )
    return values * LN2 if scale == "log2" else values


def _above_zero(made: _Cells) -> _Cells:
    """Without values below 0, which no logarithm of normalised counts has and cell-eval refuses."""
    below = made.values.data < 0
    if not below.any():
        return made
    worst = float(made.values.data[below].min())
    made.values.data[below] = 0
    made.values.eliminate_zeros()
    note = (
        f"{int(below.sum())} predicted values below 0 (down to {worst:.3g}) were set to 0, which "
        "cell-eval asks for"
    )
    return made._replace(notes=[*made.notes, note])


def _controls(dataset: Dataset) -> Int[np.ndarray, "n"]:
    """Training control cells that pass quality."""
    rows = pseudobulk.passed_rows(dataset, "train")
    return rows[dataset.condition[rows] == dataset.control]


def _anndata(made: _Cells, names: Sequence[str], dataset: Dataset) -> AnnData:
    import anndata
    import pandas

    # Cells of one perturbation stand together, as in files that are read block by block.
    order = np.argsort(made.name, kind="stable")
    labels = np.asarray(names, object)[made.name[order]]
    index = pandas.Index([f"predicted_{n}" for n in range(len(order))])
    column = dataset.label_rules.perturbation
    obs = pandas.DataFrame({column: pandas.Categorical(labels)}, index=index)
    return anndata.AnnData(
        X=made.values[order].astype(np.float32),
        obs=obs,
        var=pandas.DataFrame(index=pandas.Index(dataset.genes)),
        uns={
            "scale": SCALE,
            "total": LIBRARY,
            "data": dataset.name,
            "control": names[0],
            "notes": np.array(made.notes, dtype=object),
        },
    )
