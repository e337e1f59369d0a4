"""Pairs of genes that nobody measured: how far each is to depart from the sum of its genes, how
sure that is, and which to measure next (docs/models/set_gp.md, "Pairs")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.spreadsheets import write_table
from jaxpert.core.types import InputError
from jaxpert.data.labels_asked import known_names, sets_asked
from jaxpert.models.set_gp import process
from jaxpert.models.set_gp.fitting import Fitting
from jaxpert.models.set_gp.marginal import Hyper
from jaxpert.models.set_gp.posterior import Posterior, relations
from jaxpert.models.set_gp.process import Process
from jaxpert.models.set_gp.sets import same

TABLE = "pairs.csv"
COLUMNS = (
    "first",
    "second",
    "measured",
    "effect",
    "summed",
    "departure",
    "probability_strong",
    "information",
)
BLOCK = 256
"""Pairs at a time."""


@dataclass(frozen=True)
class Options:
    """Which pairs, and what makes one worth measuring."""

    genes: tuple[str, ...] = setting(
        (), "to pair, joined by commas; empty: all that training perturbed alone", joined=True
    )
    strong: float = setting(
        0.5,
        "a departure is strong from so large a share of the length of the summed effect",
        above=0,
        at_most=100,
    )
    draws: int = setting(
        1000, "from the posterior behind each probability", at_least=10, at_most=10**6
    )
    rank: str = setting(
        "probability",
        "what is to be measured first: the likeliest strong departure, or what tells most",
        choices=("probability", "information"),
    )


class Departures(NamedTuple):
    """Scores of pairs minus those of their genes along the directions."""

    mean: Float[Any, "R K"]
    variance: Float[Any, "R K"]
    information: Float[Any, "R"]
    """Nats that a measurement of the pair would tell of its scores."""


def write_pairs(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """`jaxpert pairs RUN`: one line for each pair, the one to measure next first."""
    import pandas

    finished = runs[0].finished
    dataset, fitted = finished.problem.dataset, Fitting(**finished.fitted.state)
    if not isinstance(fitted.process.posterior, Posterior):
        raise InputError(
            f"{runs[0].workdir} has more than model.kwargs.exact training conditions, expected no "
            "more, since covariances are not kept whole there: raise it, or train on fewer"
        )
    chosen = _genes(options.genes, dataset, np.asarray(fitted.process.known.alone))
    pairs = np.array(list(itertools.combinations(chosen, 2)))
    rows: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(0)
    for start in range(0, len(pairs), BLOCK):
        rows += _block(
            fitted.process, dataset.treatments, pairs[start : start + BLOCK], options, rng
        )
    place = {"probability": COLUMNS.index("probability_strong"), "information": -1}[options.rank]
    rows.sort(key=lambda row: -row[place])
    write_table(folder / TABLE, pandas.DataFrame(rows, columns=pandas.Index(COLUMNS)), index=False)


def _genes(asked: Sequence[str], dataset: Any, alone: np.ndarray) -> list[int]:
    """Numbers of the genes to pair."""
    column = {name: t for t, name in enumerate(dataset.treatments)}
    if asked:
        sets = sets_asked(list(asked), known_names(dataset))
        chosen = sorted({column[name] for parts in sets for name in parts.names})
    else:
        chosen = np.flatnonzero(alone).tolist()
    if len(chosen) < 2:
        raise InputError(
            f"there are {len(chosen)} genes to pair, expected two at least: name some with --genes"
        )
    return chosen


def _block(
    of: Process, names: Sequence[str], pairs: np.ndarray, options: Options, rng: Any
) -> list[tuple[Any, ...]]:
    first, second = (jnp.eye(len(names), dtype=jnp.float32)[pairs[:, k]] for k in (0, 1))
    together = first + second
    found = departures(of, first, second)
    effects = [np.asarray(process.predict(of, sets)) for sets in (together, first, second)]
    summed = effects[1] + effects[2]
    length = np.linalg.norm(summed, axis=1)
    # The mean effect is taken off once in a pair and twice in its sum.
    mean = np.asarray(of.mean) @ np.asarray(of.directions)
    centre = np.asarray(found.mean) * np.asarray(of.scale) - mean
    spread = np.sqrt(np.asarray(found.variance)) * np.asarray(of.scale)
    strong = _share_beyond(centre, spread, options.strong * length, options.draws, rng)
    measured: np.ndarray = np.asarray(same(together, exact_of(of).member)).max(1)
    rows = []
    for r, (a, b) in enumerate(pairs):
        departure = float(np.linalg.norm(effects[0][r] - summed[r]))
        numbers = np.linalg.norm(effects[0][r]), length[r], departure, strong[r]
        known = "yes" if measured[r] else "no"
        told = float(found.information[r])
        rows.append((names[a], names[b], known, *map(float, numbers), told))
    return rows


def _share_beyond(
    centre: np.ndarray, spread: np.ndarray, bound: np.ndarray, draws: int, rng: Any
) -> np.ndarray:
    """Posterior probability that the length of a departure is beyond a bound."""
    beyond = np.zeros(len(centre))
    for _ in range(draws):
        drawn = centre + spread * rng.normal(size=centre.shape)
        beyond += np.linalg.norm(drawn, axis=1) > bound
    return beyond / draws


@jax.jit
def departures(of: Process, first: Float[Array, "R T"], second: Float[Array, "R T"]) -> Departures:
    """Posterior of z_AB - z_A - z_B along every direction."""
    together = first + second
    parts = ((together, 1.0), (first, -1.0), (second, -1.0))
    posterior = exact_of(of)
    cross, prior, mean = 0.0, 0.0, 0.0
    for sets, sign in parts:
        single = (sets.sum(1) == 1) * 1.0
        cross = cross + sign * relations(posterior, sets, single)[0]
        mean = mean + sign * process.scores(of, sets)[0]
        for others, other_sign in parts:
            prior = prior + sign * other_sign * between(posterior, sets, others)
    explained = (jnp.einsum("pcd,prd->prc", posterior.whitening, cross) ** 2).sum(2)
    variance = jnp.maximum(prior - explained, 0)[:-1].T
    left, noise = process.variances(of, together)
    told = 0.5 * jnp.log1p(left[:, :-1] / noise[:, :-1]).sum(1)
    return Departures(mean, variance, told)


def exact_of(of: Process) -> Posterior:
    """The posterior of a process, which was found to be kept whole."""
    assert isinstance(of.posterior, Posterior)
    return of.posterior


def between(
    of: Posterior, one: Float[Array, "R T"], other: Float[Array, "R T"]
) -> Float[Array, "P R"]:
    """Prior covariances of the scores of two sets, row by row."""
    alike = jnp.einsum("rt,jtu,ru->jr", one, of.kernels, other)
    single, other_single = one.sum(1) == 1, other.sum(1) == 1
    equal = (one == other).all(1)

    def each(hyper: Hyper) -> Array:
        weight = jnp.where(single, 1.0, hyper.rho) * jnp.where(other_single, 1.0, hyper.rho)
        of_class = jnp.where(single, hyper.mean[0], hyper.mean[1]) * (single == other_single)
        own = hyper.pair * (equal & ~single)
        return of_class + weight * jnp.tensordot(hyper.genes, alike, 1) + own

    return jax.vmap(each)(of.hyper)
