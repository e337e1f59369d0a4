"""A model beside the simple baselines, on every subset of perturbations, with an honest verdict in
words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.data.files import shown
from jaxpert.evaluation import scoring
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.scoring import Context, Difference, Scored, difference
from jaxpert.evaluation.verdict import verdict

MODEL, HELD_OUT, TRUTH = "model", "held_out", "truth"
Sums = dict[str, dict[str, dict[str, np.ndarray]]]
"""{predictor: {subset: {score: statistics per perturbation}}}."""
EffectMatrix = Float[np.ndarray, "C G"]
Subsets = Mapping[str, Int[np.ndarray, "_"]]


class Screen(NamedTuple):
    """What a comparison needs to know of the conditions and genes behind the rows and columns of
    effects."""

    conditions: Sequence[str]
    control: int
    """Row of the control condition."""
    subsets: Subsets
    """Conditions to score, by name; see `subsets`."""
    trained: Bool[np.ndarray, "C"] | None = None
    """Conditions with training cells; only the wording needs it."""
    control_mean: Float[np.ndarray, "G"] | None = None
    """Mean expression of control cells, for the L2 over the most expressed genes."""
    reference: Float[np.ndarray, "G"] | None = None
    """Mean effect of the training perturbations, for the Pearson delta with perturbed reference."""
    own_genes: Bool[np.ndarray, "C G"] | None = None
    """See `own_genes`."""


def subsets(dataset: Dataset) -> dict[str, np.ndarray]:
    """Perturbations (control excluded) with at least one cell overall and in train, val and test.

    For a combination split "test" holds the unseen combinations; for a cell split nearly every
    perturbation is in every subset. The split's own subgroups of test conditions come after those.
    Subsets without perturbations are left out.
    """
    members = {}
    for name in ("all", "train", "val", "test"):
        present = np.unique(dataset.condition[dataset.rows(name)])
        # The effect of control is 0 by definition, and would flatter every score.
        members[name] = present[present != dataset.control]
    # Filters may have left a named group without cells, so only tested members count.
    tested = members["test"]
    for name, conditions in dataset.subgroups.items():
        named = np.isin(np.asarray(dataset.conditions, str)[tested], conditions)
        members[name] = tested[named]
    return {name: rows for name, rows in members.items() if len(rows)}


def own_genes(
    condition_treatments: Float[np.ndarray, "C T"], treatments: Sequence[str], genes: Sequence[str]
) -> Bool[np.ndarray, "C G"]:
    """Mask of the genes that each condition perturbs directly; treatments that are no measured gene
    mark nothing."""
    column = {gene: g for g, gene in enumerate(genes)}
    mask = np.zeros((len(condition_treatments), len(genes)), bool)
    for t, name in enumerate(treatments):
        if name in column:
            mask[condition_treatments[:, t] > 0, column[name]] = True
    return mask


def compare(
    observed: EffectMatrix,
    predictions: Mapping[str, EffectMatrix],
    screen: Screen,
    *,
    held_out: EffectMatrix | None = None,
    duplicate: tuple[EffectMatrix, EffectMatrix] | None = None,
    truth: EffectMatrix | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a model and its baselines on every subset and say in words which is better.

    Args:
        observed: measured effects `[C, G]`, NaN rows where a condition has no cells to measure.
        predictions: predicted effects `[C, G]` by name; "model" is the model, every other name a
            baseline.
        screen: the conditions, the subsets and what single scores need.
        held_out: effects on test cells only (`pseudobulk.held_out_effects`): one more subset. Give
            it for splits of cells, where `observed` shares cells with training.
        duplicate: effects of two halves of the held-out cells, scored against each other.
        truth: the planted effects of a simulated screen, scored against too.
        draws, seed: of the bootstrap over perturbations behind each interval of a difference.

    Returns:
        What `metrics.json` holds (docs/guide/files.md); None for undefined.
    """
    # First, since a NaN would pass through all scores and come out as null.
    _check(observed, predictions, screen)
    sums, notes = _all_sums(observed, predictions, screen)
    # A subset of its own, measured on test cells (docs/evaluation.md, "Targets and subsets").
    if held_out is not None and "test" in screen.subsets:
        test = _only_test(screen)
        more, more_notes = _all_sums(held_out, predictions, test)
        sums = _joined(sums, more)
        notes += more_notes
        screen = screen._replace(subsets={**screen.subsets, **test.subsets})
    values = {name: _values(subsets) for name, subsets in sums.items()}
    result = {
        # Before "baselines", which then holds all others.
        "model": values.pop(MODEL),
        "baselines": values,
        "ceiling": None,
        "truth": None,
        "perturbations": {name: len(scores["mse"]) for name, scores in sums[MODEL].items()},
        "comparison": _comparison(sums, draws, seed),
        "notes": notes + _undefined_notes(sums),
    }
    if duplicate is not None:
        result["ceiling"] = ceiling(duplicate, screen)
    if truth is not None:
        result["truth"] = recovery(truth, {"observed": observed, **predictions}, screen)
    return json_safe(result | {"verdict": verdict(result, _seen(screen))})


def statistics(
    observed: EffectMatrix,
    predictions: Mapping[str, EffectMatrix],
    screen: Screen,
    *,
    held_out: EffectMatrix | None = None,
    truth: EffectMatrix | None = None,
) -> tuple[dict[str, list[str]], Sums]:
    """Sums per perturbation behind every score, to compare predictors later on
    (`scoring.mean_difference`).

    Returns the perturbations of each subset in the order of the sums' rows, and the sums. Subsets
    are those of `compare`; with `truth` also "truth": all perturbations against planted effects
    instead of measured ones.
    """
    parts = [(observed, screen)]
    if held_out is not None and "test" in screen.subsets:
        parts.append((held_out, _only_test(screen)))
    if truth is not None:
        parts.append((truth, screen._replace(subsets={TRUTH: screen.subsets["all"]})))
    names: dict[str, list[str]] = {}
    sums: Sums = {predictor: {} for predictor in predictions}
    for target, part in parts:
        present, _ = _present(target, part)
        for subset, rows in part.subsets.items():
            # Runs are compared long after, when only names tell which row is whose.
            shown = present[np.isin(present, rows)]
            names[subset] = np.asarray(screen.conditions, str)[shown].tolist()
        more, _ = _all_sums(target, predictions, part)
        sums = _joined(sums, more)
    return names, sums


def _joined(sums: Sums, more: Sums) -> Sums:
    """The subsets of both, for every predictor."""
    return {predictor: subsets | more[predictor] for predictor, subsets in sums.items()}


def recovery(
    truth: EffectMatrix, predictions: Mapping[str, EffectMatrix], screen: Screen
) -> dict[str, Any]:
    """Scores of predictions (the measured effects may be one) against planted effects: {name:
    {subset: {score}}}."""
    scored_by_all = np.isfinite(truth).all(1) & _perturbed(truth, screen)
    # The same perturbations for all predictors, else scores could not be compared.
    for values in predictions.values():
        scored_by_all &= np.isfinite(values).all(1)
    present = np.flatnonzero(scored_by_all)
    scores = {}
    for name, values in predictions.items():
        scored = _scored(truth, values, present, screen)
        scores[name] = _values(_by_subset(scored, present, screen.subsets))
    return scores


def ceiling(
    duplicate: tuple[EffectMatrix, EffectMatrix], screen: Screen
) -> dict[str, dict[str, float]]:
    """Scores of one half of the cells as the prediction of the other, over the conditions that both
    halves hold.

    Subsets of which they hold none are left out.
    """
    first, second = duplicate
    finite = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    present = np.flatnonzero(finite & _perturbed(first, screen))
    there = {name: rows for name, rows in screen.subsets.items() if np.isin(rows, present).any()}
    # One half is the measurement, the other the prediction (docs/evaluation.md, "Ceiling").
    return _values(_by_subset(_scored(second, first, present, screen), present, there))


def json_safe(tree: Any) -> Any:
    """The same tree of plain Python values, with None for every number that is not finite."""
    if isinstance(tree, Mapping):
        return {str(key): json_safe(leaf) for key, leaf in tree.items()}
    # Before tuples, of which a NamedTuple is one.
    if hasattr(tree, "_asdict"):
        return json_safe(tree._asdict())
    if isinstance(tree, np.ndarray):
        return json_safe(tree.tolist())
    if isinstance(tree, list | tuple):
        return [json_safe(leaf) for leaf in tree]
    if isinstance(tree, np.generic):
        return json_safe(tree.item())
    # JSON has no NaN, and readers of other languages refuse what Python writes for it.
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree


def _check(observed: EffectMatrix, predictions: Mapping[str, EffectMatrix], screen: Screen) -> None:
    if MODEL not in predictions:
        raise InputError(
            f"predictions are {sorted(predictions)}, expected one of them to be {MODEL!r}: name "
            "the model's so"
        )
    rows = _rows_of(screen)
    for name, values in predictions.items():
        if values.shape != observed.shape:
            raise InputError(
                f"{name} has shape {values.shape}, expected that of the observed effects "
                f"{observed.shape}: predict the same conditions and genes"
            )
        # Rows in no subset are never scored and may be undefined.
        bad = rows[~np.isfinite(values[rows]).all(1)]
        if len(bad):
            raise InputError(
                f"{name} predicts values that are not finite for {_names(bad, screen)}, expected "
                "numbers: its parameters may have diverged, or a row generated no counts at all"
            )


def _rows_of(screen: Screen) -> np.ndarray:
    """Conditions that are in any subset."""
    members = list(screen.subsets.values())
    return np.unique(np.concatenate(members)) if members else np.zeros(0, np.int64)


def _present(observed: EffectMatrix, screen: Screen) -> tuple[np.ndarray, list[str]]:
    """Rows that can be scored, and a note on those that cannot."""
    finite = np.isfinite(observed).all(1) & _perturbed(observed, screen)
    wanted, notes = _rows_of(screen), []
    gone = wanted[~finite[wanted]]
    if len(gone):
        notes.append(
            f"{len(gone)} perturbations have no cells to measure an effect on and are not scored: "
            f"{_names(gone, screen)}"
        )
    return np.flatnonzero(finite), notes


def _all_sums(
    observed: EffectMatrix, predictions: Mapping[str, EffectMatrix], screen: Screen
) -> tuple[Sums, list[str]]:
    """Statistics of every predictor on every subset, and notes on what could not be scored."""
    present, notes = _present(observed, screen)
    sums = {}
    for name, values in predictions.items():
        scored = _scored(observed, values, present, screen)
        sums[name] = _by_subset(scored, present, screen.subsets)
    return sums, notes


def _only_test(screen: Screen) -> Screen:
    return screen._replace(subsets={HELD_OUT: screen.subsets["test"]})


def _perturbed(effects: EffectMatrix, screen: Screen) -> np.ndarray:
    return np.arange(len(effects)) != screen.control


def _scored(
    observed: EffectMatrix, predicted: EffectMatrix, present: np.ndarray, screen: Screen
) -> Scored:
    left_out = None if screen.own_genes is None else screen.own_genes[present]
    context = Context(screen.control_mean, screen.reference, left_out)
    return scoring.statistics(observed[present], predicted[present], context)


def _by_subset(
    scored: Scored, present: np.ndarray, subsets: Subsets
) -> dict[str, dict[str, np.ndarray]]:
    selected = {}
    for name, rows in subsets.items():
        # Statistics are there for the present rows only, so places among those are asked for.
        selected[name] = scoring.select(scored, np.flatnonzero(np.isin(present, rows)))
    return selected


def _values(sums: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    return {subset: scoring.values(scores) for subset, scores in sums.items()}


def _comparison(sums: Sums, draws: int, seed: int) -> dict[str, Any]:
    """Model minus each baseline: {subset: {score: {baseline: Difference}}}, all from the same
    bootstrap samples."""
    # Subsets draw from one stream in their order, so a report comes out again.
    rng = np.random.default_rng(seed)
    baselines = [name for name in sums if name != MODEL]
    compared: dict[str, dict[str, dict[str, Difference]]] = {}
    for subset, scores in sums[MODEL].items():
        # One draw for all scores and baselines (docs/evaluation.md, "Intervals").
        weights = scoring.bootstrap_weights(rng, len(scores["mse"]), draws)
        compared[subset] = {score: {} for score in scores}
        for score, rows in scores.items():
            for baseline in baselines:
                rival = sums[baseline][subset][score]
                compared[subset][score][baseline] = difference(score, rows, rival, weights)
    return compared


def _undefined_notes(sums: Sums) -> list[str]:
    """One note per predictor and score that its prediction leaves undefined, for all or some
    perturbations."""
    where: dict[tuple[str, str], list[str]] = {}
    for name, subsets in sums.items():
        for subset, scores in subsets.items():
            for score, text in _undefined_on(subset, scores).items():
                where.setdefault((name, score), []).append(text)
    notes = []
    for (name, score), subsets in where.items():
        notes.append(
            f"{METRICS[score].label} of {name} is undefined on {', '.join(subsets)} (a constant "
            "prediction, or too few perturbations or genes)"
        )
    return notes


def _undefined_on(subset: str, scores: dict[str, np.ndarray]) -> dict[str, str]:
    """The scores that are undefined on a subset, for all ("test") or some ("test (2 of 9)") of its
    perturbations."""
    missing, count = scoring.undefined(scores), len(scores["mse"])
    texts = {}
    for score, value in scoring.values(scores).items():
        if score in missing and missing[score] < count:
            texts[score] = f"{subset} ({missing[score]} of {count})"
        elif score in missing or not math.isfinite(value):
            texts[score] = subset
    return texts


def _seen(screen: Screen) -> dict[str, float]:
    """Share of the perturbations of each subset that training cells exist for; NaN where
    unknown."""
    shares = {}
    for name, rows in screen.subsets.items():
        shares[name] = math.nan
        if screen.trained is not None and len(rows):
            shares[name] = float(screen.trained[rows].mean())
    return shares


def _names(rows: np.ndarray, screen: Screen) -> str:
    return shown(np.asarray(screen.conditions)[rows])
