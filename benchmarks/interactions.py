"""All pairs of 105 genes: predicted by GEARS on 5,000 genes and scored for interactions on 1,000,
beside scikit-learn's Theil-Sen on a few of them."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from benchmarks import gears_problem as problem
from benchmarks import measure
from jaxpert.evaluation.interactions import screen as interaction_screen
from jaxpert.evaluation.interactions.theil_sen import MOST, SEED, STEPS

SCORED, SAMPLE = 1_000, 3
TARGET = 180
"""Wall seconds asked for."""


class Work(NamedTuple):
    """Wall and CPU seconds, and the peak memory so far in MB."""

    wall: float
    cpu: float
    peak: float

    def row(self, name: str, times: float = 1) -> list[str]:
        return [name, f"{self.wall * times:,.1f}", f"{self.cpu * times:,.1f}", f"{self.peak:,.0f}"]


def main() -> None:
    sizes = problem.Sizes()
    predicted, scored, vectors, found = measure.in_child(our_screen, sizes)
    theirs, slopes = measure.in_child(their_theil_sen, vectors)
    pairs = sizes.singles * (sizes.singles - 1) // 2
    both = Work(
        predicted.wall + scored.wall, predicted.cpu + scored.cpu, max(predicted.peak, scored.peak)
    )
    measure.show(
        f"Interactions of {pairs:,} pairs of {sizes.singles} genes, predicted by GEARS (random "
        f"parameters) on {sizes.genes:,} genes and scored on {SCORED:,}, compilation counted",
        ("who", "wall s", "CPU s", "peak MB"),
        [
            predicted.row("jaxpert, all pairs predicted"),
            scored.row("jaxpert, all scores"),
            both.row("jaxpert, both"),
            theirs.row(f"scikit-learn, slopes of {SAMPLE} pairs"),
            theirs.row(f"scikit-learn, slopes of {pairs:,} pairs (extrapolated)", pairs / SAMPLE),
        ],
        f"Both under {TARGET} s: {'yes' if both.wall < TARGET else 'no'}; CPU time of "
        f"scikit-learn's slopes over both: {theirs.cpu * pairs / SAMPLE / both.cpu:,.0f}x; largest "
        f"difference of a slope on the {SAMPLE} pairs: {np.abs(found - slopes).max():.1e}",
    )


def our_screen(sizes: problem.Sizes) -> tuple[Work, Work, tuple[np.ndarray, ...], np.ndarray]:
    """Prediction, scoring, the vectors of the sampled pairs (first, second, both) and their
    slopes."""
    import jax
    import jax.numpy as jnp

    from jaxpert.models.gears import model as gears

    net = gears.make(problem.spec_of(sizes), hidden_dim=sizes.hidden)
    params, state = jax.jit(lambda key: gears.init(net, key, None))(jax.random.key(0))  # pyright: ignore
    pairs = interaction_screen.all_pairs(sizes.singles)
    single = np.stack([net.node, np.full_like(net.node, -1)], 1)
    members = np.concatenate([single, net.node[pairs]])

    def predict() -> np.ndarray:
        changes = jax.jit(
            lambda params, members: gears.changes(net, params, state, members).mean[:, :SCORED]
        )
        return np.asarray(changes(params, jnp.asarray(members)))

    effects, predicted = _measured(predict)
    singles, both = effects[: sizes.singles], effects[sizes.singles :]
    table, scored = _measured(
        lambda: interaction_screen.screen(net.spec.treatments, singles, both, pairs=pairs)
    )
    rows = np.arange(0, len(pairs), len(pairs) // SAMPLE)[:SAMPLE]
    names = ["+".join(net.spec.treatments[int(k)] for k in pairs[row]) for row in rows]
    slopes = table.set_index("pair").loc[names, ["c1", "c2"]].to_numpy()
    return predicted, scored, (singles[pairs[rows, 0]], singles[pairs[rows, 1]], both[rows]), slopes


def _measured(call):
    cpu, wall = time.process_time(), time.perf_counter()
    found = call()
    return found, Work(time.perf_counter() - wall, time.process_time() - cpu, measure.peak_mb())


def their_theil_sen(vectors: tuple[np.ndarray, ...]) -> tuple[Work, np.ndarray]:
    """`TheilSenRegressor` with the published settings, pair by pair."""
    from sklearn.linear_model import TheilSenRegressor

    def fit() -> np.ndarray:
        slopes = []
        for first, second, both in zip(*vectors, strict=True):
            model = TheilSenRegressor(
                fit_intercept=False,
                max_subpopulation=MOST,
                max_iter=STEPS,
                random_state=SEED,
                n_jobs=1,
            )
            slopes.append(
                model.fit(np.stack([first, second], 1).astype(float), both.astype(float)).coef_
            )
        return np.stack(slopes)

    slopes, work = _measured(fit)
    return work, slopes
