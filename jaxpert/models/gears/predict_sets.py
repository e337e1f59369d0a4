"""Predictions of GEARS for any sets of genes, with or without cells in the data, and what each one
rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxpert.core.types import Dataset, InputError
from jaxpert.models.gears import model as gears
from jaxpert.tasks.screen.predict import Fitted

if TYPE_CHECKING:
    from anndata import AnnData

CHUNK = 256
"""Sets that go to the device at a time; memory beyond the answer is theirs."""
SCALE = "mean of ln(1 + 1e4 x / sum x)"
Sets = Sequence[str | Sequence[str]]


class Changes(NamedTuple):
    """Predicted changes of expression (after minus before, ln(1 + 1e4 x / sum x)) of some sets."""

    effect: Float[np.ndarray, "R G"]
    log_variance: Float[np.ndarray, "R G"] | None

    @property
    def uncertainty(self) -> Float[np.ndarray, "R"] | None:
        """Mean log variance over the genes: higher is less certain."""
        return None if self.log_variance is None else self.log_variance.mean(1)


def predict_sets(
    fitted: Fitted,
    dataset: Dataset,
    sets: Sets,
    *,
    absent: str = "refuse",
    signs: Mapping[str, int] | None = None,
    separator: str = "+",
    chunk: int = CHUNK,
) -> AnnData:
    """Predict perturbations of any genes of the graphs, one row each, one pass of the network per
    set.

    `X` is the mean of ln(1 + 1e4 x / sum x) after the perturbation: the mean over all training
    control cells plus the predicted change, which no control cell alters (spec section 0). Layers:
    `effect`, the change, and `log_variance` where the model has an uncertainty head. `obs`: `set`
    as asked for, `genes` (sorted, so "B+A" and "A+B" agree, as do their numbers), `size`,
    `measured` (the data hold cells of it), `support` ("trained", "new combination of trained
    genes", or for each gene without training cells how many trained neighbours it has in the
    graphs), and `uncertainty`, the mean log variance over genes: higher is less certain. With
    `uncertainty="gaussian"` that is the log of the variance that the model expects of single cells;
    the shipped form has no log term in its loss, so that only the order of its values means
    anything, and the authors found even that to depend on the data: compare it with the errors on
    held-out sets before using it.

    Args:
        fitted: a GEARS of one seed (`workflow.pick_seed` takes one of several).
        dataset: that it was trained on.
        sets: "A", "A+ctrl", "A+B", "C+B+A" or sequences of names; control alone is the empty set.
        absent: for genes in no graph: "refuse", or what stands in for them, "average" (the mean
            embedding of trained genes) or "isolated" (an unlinked node at the mean of the untrained
            ones). `support` says so.
        signs: +1 or -1 (activated, repressed) for genes that are no treatment of the data; +1 where
            not given.
        separator: between the genes of a set in text.
        chunk: sets at a time.

    Raises InputError for another model, a gene that `absent` refuses, and a set that is asked for
    twice.
    """
    parsed = parse_sets(dataset, sets, separator)
    net = gears.of(fitted.model)
    members = gears.members_of(net, parsed, absent, signs)
    changes = predict_members(fitted, members, chunk=chunk)
    names = [one if isinstance(one, str) else separator.join(one) for one in sets]
    return _to_anndata(dataset, net, names, parsed, members, changes)


def parse_sets(dataset: Dataset, sets: Sets, separator: str = "+") -> list[tuple[str, ...]]:
    """The genes of each set; condition names of the data, control and any order are understood."""
    rows = dict(zip(dataset.conditions, dataset.condition_treatments != 0, strict=True))
    names, control = np.asarray(dataset.treatments, object), dataset.conditions[dataset.control]

    def one(given: str | Sequence[str]) -> tuple[str, ...]:
        if isinstance(given, str) and given in rows:
            return tuple(names[rows[given]].tolist())
        parts = [
            part.strip() for part in (given.split(separator) if isinstance(given, str) else given)
        ]
        if not all(parts):
            raise InputError(
                f"{given!r} has an empty part, expected names of genes such as A{separator}B: "
                "correct it"
            )
        return tuple(part for part in parts if part != control)

    if not len(sets):
        raise InputError(f"no set of genes was given, expected some such as A{separator}B")
    asked = [one if isinstance(one, str) else separator.join(one) for one in sets]
    twice = (
        sorted({name for name in asked if asked.count(name) > 1})
        if len(set(asked)) < len(asked)
        else []
    )
    if twice:
        raise InputError(
            f"sets are asked for twice ({', '.join(twice[:4])}), expected each once: leave one out"
        )
    return [one(given) for given in sets]


def measured_sets(dataset: Dataset) -> set[frozenset[str]]:
    """The sets of genes that cells of the data have."""
    names = np.asarray(dataset.treatments, object)
    rows = dataset.condition_treatments[np.unique(dataset.condition)] != 0
    return {frozenset(names[row].tolist()) for row in rows}


def predictor(fitted: Fitted, chunk: int = CHUNK) -> Callable[[np.ndarray, np.ndarray], Changes]:
    """(nodes [m, M], signs [m, M]) -> changes, for at most `chunk` rows; compiled once for each
    M."""
    if np.ndim(fitted.params["gene_embedding"]) != 2:
        raise InputError(
            "the model holds several seeds, expected one: choose it with "
            "workflow.pick_seed(fitted, 0)"
        )
    change = jax.jit(partial(gears.changes, gears.of(fitted.model)))

    def predict(nodes: np.ndarray, signs: np.ndarray) -> Changes:
        rows = np.minimum(np.arange(chunk), len(nodes) - 1)
        found = change(
            fitted.params,
            fitted.state,
            jnp.asarray(nodes[rows]),
            jnp.asarray(signs[rows], jnp.float32),
        )
        spread = (
            None if found.log_variance is None else np.asarray(found.log_variance)[: len(nodes)]
        )
        return Changes(np.asarray(found.mean)[: len(nodes)], spread)

    return predict


def predict_members(fitted: Fitted, members: gears.Members, *, chunk: int = CHUNK) -> Changes:
    """Changes of all genes for all sets."""
    chunk = min(chunk, len(members.nodes))
    predict = predictor(fitted, chunk)
    starts = range(0, len(members.nodes), chunk)
    parts = [predict(members.nodes[i : i + chunk], members.signs[i : i + chunk]) for i in starts]
    effect, spread = zip(*parts, strict=True)
    return Changes(np.concatenate(effect), None if spread[0] is None else np.concatenate(spread))


def _to_anndata(
    dataset: Dataset,
    net: gears.Gears,
    names: list[str],
    sets: list[tuple[str, ...]],
    members: Any,
    changes: Changes,
) -> AnnData:
    import anndata
    import pandas as pd

    known = measured_sets(dataset)
    obs = {
        "set": names,
        "genes": ["+".join(sorted(one)) for one in sets],
        "size": [len(one) for one in sets],
        "measured": [frozenset(one) in known for one in sets],
        "support": list(members.support),
    }
    obs |= {} if changes.uncertainty is None else {"uncertainty": changes.uncertainty}
    layers = {"effect": changes.effect}
    layers |= {} if changes.log_variance is None else {"log_variance": changes.log_variance}
    return anndata.AnnData(
        X=(net.spec.control_mean + changes.effect).astype(np.float32),
        obs=pd.DataFrame(obs, index=pd.Index(names)),
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers=layers,
        uns={"scale": SCALE, "data": dataset.name},
    )
