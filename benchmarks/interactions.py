"""Interaction scores of all pairs of 105 genes on 1,000 genes, beside scikit-learn's Theil-Sen on a few."""

from __future__ import annotations

import numpy as np

from benchmarks import measure
from jaxpert.evaluation import interaction_screen
from jaxpert.evaluation.theil_sen import MOST, SEED, STEPS

PERTURBED, GENES, PROGRAMS, SAMPLE = 105, 1000, 12, 3


def main() -> None:
    ours, peak, found = measure.in_child(our_screen)
    theirs, their_peak, slopes = measure.in_child(their_theil_sen)
    pairs = PERTURBED * (PERTURBED - 1) // 2
    times = (("jaxpert, all scores", ours, 1, peak), (f"scikit-learn, slopes of {SAMPLE} pairs", theirs, 1, their_peak))
    times += ((f"scikit-learn, slopes of {pairs:,} pairs (extrapolated)", theirs, pairs / SAMPLE, their_peak),)
    rows = [[name, f"{of[0] * k:,.1f}", f"{of[1] * k:,.1f}", f"{mb:,.0f}"] for name, of, k, mb in times]
    measure.show(
        f"Interaction scores of {pairs:,} pairs of {PERTURBED} genes on {GENES:,} genes, compilation counted",
        ("who", "wall s", "CPU s", "peak MB"),
        rows,
        f"CPU time: {theirs[1] * pairs / SAMPLE / ours[1]:,.0f}x; largest difference of a slope on the {SAMPLE} pairs: "
        f"{np.abs(found - slopes).max():.1e}",
    )


def our_screen() -> tuple[tuple[float, float], float, np.ndarray]:
    """(wall, CPU seconds), peak memory, slopes of the sampled pairs."""
    singles = effects()
    names = [f"P{k}" for k in range(PERTURBED)]
    tables = []
    time = measure.clock(lambda: tables.append(interaction_screen.screen(names, singles, predict)))
    by_pair = tables[0].set_index("pair")
    sample = [f"P{a}+P{b}" for a, b in sampled()]
    return time, measure.peak_mb(), by_pair.loc[sample, ["c1", "c2"]].to_numpy()


def their_theil_sen() -> tuple[tuple[float, float], float, np.ndarray]:
    """The same for `TheilSenRegressor` with the published settings, pair by pair."""
    from sklearn.linear_model import TheilSenRegressor

    singles, pairs = effects(), sampled()
    both = predict(pairs).effects
    slopes: list[np.ndarray] = []

    def fit() -> None:
        for row, (a, b) in enumerate(pairs):
            model = TheilSenRegressor(
                fit_intercept=False, max_subpopulation=MOST, max_iter=STEPS, random_state=SEED, n_jobs=1
            )
            slopes.append(model.fit(singles[[a, b]].T, both[row]).coef_)

    return measure.clock(fit), measure.peak_mb(), np.stack(slopes)


def sampled() -> np.ndarray:
    every = interaction_screen.all_pairs(PERTURBED)
    return every[:: len(every) // SAMPLE][:SAMPLE]


def effects() -> np.ndarray:
    """Made-up single effects: a few shared programs, and noise."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(PERTURBED, PROGRAMS)) @ rng.normal(size=(PROGRAMS, GENES)) / 5 + 0.1 * rng.normal(
        size=(PERTURBED, GENES)
    )


def predict(pairs: np.ndarray) -> interaction_screen.Prediction:
    """Saturating sums with noise of each pair's own."""
    singles = effects()
    noise = np.stack([np.random.default_rng([int(a), int(b)]).normal(size=GENES) for a, b in pairs])
    return interaction_screen.Prediction(np.tanh(singles[pairs[:, 0]] + singles[pairs[:, 1]]) + 0.1 * noise)
