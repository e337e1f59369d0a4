"""A model beside the simple baselines, on every subset of perturbations, with an honest verdict in
words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float

from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.evaluation import scoring
from jaxpert.evaluation.claims import claims
from jaxpert.evaluation.halves import Halves, ceilings_of_halves, half_against_half
from jaxpert.evaluation.intervals import Difference, bootstrap_weights, difference
from jaxpert.evaluation.limits import Limits, joined_limits, limits, progress, uncounted
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.subset_names import described
from jaxpert.evaluation.sums import (
    EffectMatrix,
    Screen,
    Sums,
    all_sums,
    by_subset,
    joined,
    names_of,
    only_test,
    perturbed,
    present_rows,
    rows_of,
    scored_rows,
    values_of,
)
from jaxpert.evaluation.verdict import verdict

MODEL, TRUTH = "model", "truth"


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
    duplicate: Halves | Sequence[Halves] | None = None,
    truth: EffectMatrix | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a model and its baselines on every subset and say in words which is better.

    Args:
        observed: measured effects `[C, G]`, NaN rows where a condition has no cells to measure.
        predictions: predicted effects `[C, G]` by name; "model" is the model, every other name a
            baseline.
        screen: the conditions, the subsets and what single scores need; with `noise` there is a
            ceiling for every score.
        held_out: effects on test cells only (`pseudobulk.held_out_effects`): one more subset. Give
            it for splits of cells, where `observed` shares cells with training.
        duplicate: effects of two halves of the held-out cells, or several random splits of them.
        truth: the planted effects of a simulated screen, scored against too.
        draws, seed: of the bootstrap over perturbations behind each interval of a difference, and
            of what ceilings are drawn from.

    Returns:
        What `metrics.json` holds (docs/guide/files.md); None for undefined.
    """
    # First, since a NaN would pass through all scores and come out as null.
    _check(observed, predictions, screen)
    sums, notes = all_sums(observed, predictions, screen)
    reached = limits(observed, screen, sums, seed)
    # A subset of its own, measured on test cells (docs/evaluation.md, "Targets and subsets").
    if held_out is not None and "test" in screen.subsets:
        test = only_test(screen)
        more, more_notes = all_sums(held_out, predictions, test)
        reached = joined_limits(reached, limits(held_out, test, more, seed))
        sums = joined(sums, more)
        notes += more_notes
        screen = screen._replace(subsets={**screen.subsets, **test.subsets})
    values = {name: values_of(subsets) for name, subsets in sums.items()}
    compared = _comparison(sums, draws, seed)
    result = {
        # Before "baselines", which then holds all others.
        "model": values.pop(MODEL),
        "baselines": values,
        "truth": None,
        "perturbations": {name: len(scores["mse"]) for name, scores in sums[MODEL].items()},
        "subsets": described(_seen(screen)),
        "comparison": compared,
        "calibration": reached.calibration,
        "claims": _claims(compared, reached),
        "notes": notes + reached.notes + _undefined_notes(sums),
    }
    result |= _ceilings(reached, _splits(duplicate), screen, seed)
    result["progress"] = _progress(result)
    if truth is not None:
        result["truth"] = recovery(truth, {"observed": observed, **predictions}, screen)
    return json_safe(result | {"verdict": verdict(result, _seen(screen))})


def _splits(duplicate: Halves | Sequence[Halves] | None) -> Sequence[Halves]:
    """Random splits of cells, of which a single one may be given as it is."""
    if duplicate is None:
        return ()
    if isinstance(duplicate[0], np.ndarray):
        return (cast(Halves, duplicate),)
    return cast(Sequence[Halves], duplicate)


def _ceilings(
    reached: Limits, splits: Sequence[Halves], screen: Screen, seed: int
) -> dict[str, Any]:
    """What a perfect model would score: from standard errors, else from halves; and both as they
    came out."""
    halves = ceilings_of_halves(splits, screen, np.random.default_rng(seed)) if splits else {}
    chosen = {subset: dict(scores) for subset, scores in halves.items()}
    for subset, scores in reached.ceilings.items():
        chosen[subset] = {**chosen.get(subset, {}), **scores}
    values, intervals = {}, {}
    for subset, scores in chosen.items():
        values[subset] = {name: of.value for name, of in scores.items()}
        intervals[subset] = {name: {"low": of.low, "high": of.high} for name, of in scores.items()}
    return {
        # None and not empty: a reader asks whether there is one.
        "ceiling": values or None,
        "ceiling_interval": intervals or None,
        "ceiling_by_halves": halves or None,
        "half_against_half": half_against_half(splits[0], screen) if splits else None,
    }


def _claims(compared: Mapping[str, Any], reached: Limits) -> dict[str, Any]:
    """What may be claimed on every subset."""
    made = {}
    for subset, scores in compared.items():
        made[subset] = claims(scores, uncounted(reached.calibration.get(subset, {})))
    return made


def _progress(result: Mapping[str, Any]) -> dict[str, Any]:
    """The way from the best baseline to the ceiling on every subset that has one."""
    shares = {}
    for subset, ceilings in (result["ceiling"] or {}).items():
        baselines = {who: scores[subset] for who, scores in result["baselines"].items()}
        shares[subset] = progress(result["model"][subset], baselines, ceilings)
    return shares


def statistics(
    observed: EffectMatrix,
    predictions: Mapping[str, EffectMatrix],
    screen: Screen,
    *,
    held_out: EffectMatrix | None = None,
    truth: EffectMatrix | None = None,
) -> tuple[dict[str, list[str]], Sums]:
    """Sums per perturbation behind every score, to compare predictors later on
    (`intervals.mean_difference`).

    Returns the perturbations of each subset in the order of the sums' rows, and the sums. Subsets
    are those of `compare`; with `truth` also "truth": all perturbations against planted effects
    instead of measured ones.
    """
    parts = [(observed, screen)]
    if held_out is not None and "test" in screen.subsets:
        parts.append((held_out, only_test(screen)))
    if truth is not None:
        parts.append((truth, screen._replace(subsets={TRUTH: screen.subsets["all"]})))
    names: dict[str, list[str]] = {}
    sums: Sums = {predictor: {} for predictor in predictions}
    for target, part in parts:
        present, _ = present_rows(target, part)
        for subset, rows in part.subsets.items():
            # Runs are compared long after, when only names tell which row is whose.
            shown = present[np.isin(present, rows)]
            names[subset] = np.asarray(screen.conditions, str)[shown].tolist()
        more, _ = all_sums(target, predictions, part)
        sums = joined(sums, more)
    return names, sums


def recovery(
    truth: EffectMatrix, predictions: Mapping[str, EffectMatrix], screen: Screen
) -> dict[str, Any]:
    """Scores of predictions (the measured effects may be one) against planted effects: {name:
    {subset: {score}}}."""
    scored_by_all = np.isfinite(truth).all(1) & perturbed(truth, screen)
    # The same perturbations for all predictors, else scores could not be compared.
    for values in predictions.values():
        scored_by_all &= np.isfinite(values).all(1)
    present = np.flatnonzero(scored_by_all)
    scores = {}
    for name, values in predictions.items():
        scored = scored_rows(truth, values, present, screen)
        scores[name] = values_of(by_subset(scored, present, screen.subsets))
    return scores


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
    rows = rows_of(screen)
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
                f"{name} predicts values that are not finite for {names_of(bad, screen)}, expected "
                "numbers: its parameters may have diverged, or a row generated no counts at all"
            )


def _comparison(sums: Sums, draws: int, seed: int) -> dict[str, Any]:
    """Model minus each baseline: {subset: {score: {baseline: Difference}}}, all from the same
    bootstrap samples."""
    # Subsets draw from one stream in their order, so a report comes out again.
    rng = np.random.default_rng(seed)
    baselines = [name for name in sums if name != MODEL]
    compared: dict[str, dict[str, dict[str, Difference]]] = {}
    for subset, scores in sums[MODEL].items():
        # One draw for all scores and baselines (docs/evaluation.md, "Intervals").
        weights = bootstrap_weights(rng, len(scores["mse"]), draws)
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
