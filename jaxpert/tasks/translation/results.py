"""What follows the training of CycSeq: scores in both directions, changes, figures, and the files
of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.types import SPLITS, InputError
from jaxpert.evaluation import compare as benchmark
from jaxpert.models.cycseq.setup import CycSeq
from jaxpert.models.gears import translation as cycseq_gears
from jaxpert.models.scgen import translation as cycseq_scgen
from jaxpert.report import plots
from jaxpert.tasks import translation as spectra
from jaxpert.tasks.screen import results
from jaxpert.tasks.screen.load import split_names
from jaxpert.tasks.screen.predict import Fitted
from jaxpert.tasks.translation import baselines as cycseq_baselines
from jaxpert.tasks.translation import effects as cycseq_effects
from jaxpert.tasks.translation import evaluate as cycseq_assess
from jaxpert.tasks.translation.baselines import Groups, Predictor

Config = dict[str, Any]
MOST_SHOWN = 6


def check(config: Config, prepared: spectra.Prepared, truth: Any) -> None:
    """What would otherwise be found wrong only after training."""
    names = cycseq_baselines.find_groups(prepared).names
    unknown = [name for name in split_names(config["evaluation"]["shown"]) if name not in names]
    if unknown:
        raise InputError(
            f"evaluation.shown asks for {unknown[0]!r}, expected pairs of perturbation and line "
            f"such as {names[0]!r}"
        )
    if config["train"]["seeds"] != 1:
        raise InputError(
            f"train.seeds is {config['train']['seeds']}, expected 1 for CycSeq: run each seed in "
            "a work directory of "
            "its own"
        )
    if not (prepared.pairs.part != SPLITS.index("train")).any():
        raise InputError(
            f"split.kind is {config['split']['kind']!r}, which leaves no rows to score, expected "
            "replicate, "
            "perturbation, cell_line or perturbation_in_line"
        )
    if config["evaluation"]["gears"] and not cycseq_gears.why_not(prepared):
        cycseq_gears.check(config, prepared, truth)


def write(
    config: Config,
    workdir: Path,
    prepared: spectra.Prepared,
    net: CycSeq,
    fitted: Fitted,
    unit_scale: np.ndarray | None,
    truth: Any,
) -> None:
    """Everything that follows training; metrics.json comes last, as the sign of a finished run.

    rows.npz has every score of every evaluated row, predictions.h5ad the mean row and change that
    the model predicts for each pair of perturbation and line.
    """
    groups = cycseq_baselines.find_groups(prepared)
    means = cycseq_baselines.group_means(prepared, groups)
    model = cycseq_assess.predictor(net, fitted.params, fitted.state, prepared, unit_scale)
    others, notes = cycseq_baselines.predictors(prepared, groups, means)
    beside, more = _beside(config, prepared, truth)
    split = cycseq_assess.evaluated_split(prepared)
    log.say(f"scoring {len(prepared.pair_numbers(split))} rows of {split} in both directions")
    methods = {benchmark.MODEL: model, **others, **beside}
    scored = cycseq_assess.score(prepared, groups, methods, *facets_of(prepared, groups))
    found = cycseq_effects.changes(prepared, groups, means, model, truth)
    metrics = cycseq_effects.compare(prepared, groups, means, found, config["seed"])
    own = scored.table | {"notes": [*scored.table["notes"], *notes, *more]}
    named = split_names(config["evaluation"]["triangular"])
    own["triangular"] = cycseq_assess.triangular(prepared, groups, model, named)
    metrics["cycseq"] = benchmark.json_safe(own)
    metrics["data"] = describe(prepared)
    metrics["run"] = benchmark.json_safe(results.about(config, workdir, fitted))
    save_rows(workdir / "rows.npz", groups, scored)
    to_anndata(prepared, groups, means, found).write_h5ad(workdir / "predictions.h5ad")
    draw(config, workdir, prepared, groups, found, metrics)
    folder.write_json(workdir / "metrics.json", metrics)
    log.say(str(metrics["verdict"]))


def _beside(
    config: Config, prepared: spectra.Prepared, truth: Any
) -> tuple[dict[str, Predictor], list[str]]:
    """The models that are trained beside, and what to know of them or why they cannot be."""
    found: dict[str, Predictor] = {}
    said: list[str] = []
    for name, why_not, fit in (
        ("scgen", cycseq_scgen.why_not, cycseq_scgen.fit),
        ("gears", cycseq_gears.why_not, partial(cycseq_gears.fit, config, truth=truth)),
    ):
        epochs = config["evaluation"][name]
        reason = (why_not(prepared) or _alone(name)) if epochs else ""
        if epochs and not reason:
            log.say(f"training {name} beside, {epochs} epochs at most")
            found[name], notes = fit(prepared, epochs=epochs, seed=config["seed"])
            said += notes
        elif reason:
            said.append(reason)
    return found, said


def _alone(name: str) -> str:
    """Why one process, which writes the results of several, cannot train a model on the devices of
    all."""
    return (
        f"{name} is not trained beside in a run of several processes"
        if jax.process_count() > 1
        else ""
    )


def facets_of(prepared: spectra.Prepared, groups: Groups) -> tuple[tuple[str, ...], np.ndarray]:
    """What tables are made for: lines, or with doses compounds; and the one of each group."""
    if prepared.pairs.dose is None:
        return prepared.spectra.lines, groups.line
    names = [prepared.dataset.conditions[c].rsplit("@", 1)[0] for c in groups.condition]
    compounds, number = np.unique(names, return_inverse=True)
    return tuple(map(str, compounds)), number


def describe(prepared: spectra.Prepared) -> dict[str, Any]:
    """The data in numbers."""
    pairs = {name: len(prepared.pair_numbers(name)) for name in SPLITS[:3]}
    return results.describe(prepared.dataset) | {
        "lines": len(prepared.spectra.lines),
        "pairs of rows": pairs,
    }


def save_rows(path: Path, groups: Groups, scored: cycseq_assess.Scored) -> None:
    """`pair` and `group` of each evaluated row, names of groups, and DIRECTION|METHOD|GENES|SCORE
    of each."""
    group = groups.of_pair[scored.pair]
    arrays: dict[str, np.ndarray] = {
        "pair": scored.pair,
        "group": group,
        "groups": np.array(groups.names),
    }
    for direction, methods in scored.rows.items():
        for method, sets in methods.items():
            for genes, metrics in sets.items():
                arrays |= {
                    f"{direction}|{method}|{genes}|{name}": of for name, of in metrics.items()
                }
    folder.write_arrays(path, arrays)


def to_anndata(
    prepared: spectra.Prepared,
    groups: Groups,
    means: cycseq_baselines.Means,
    found: cycseq_effects.Changes,
) -> Any:
    """Predicted mean rows of each pair of perturbation and line; layers have the change, and both
    as measured."""
    import anndata
    import pandas as pd

    dataset, effect = prepared.dataset, found.predicted[benchmark.MODEL][1:]
    obs = pd.DataFrame(
        {
            "condition": [dataset.conditions[c] for c in groups.condition],
            "line": [prepared.spectra.lines[i] for i in groups.line],
            "batch": [dataset.strata[b] for b in groups.batch],
            "split": _splits(prepared, groups),
        },
        index=pd.Index(groups.names),
    )
    layers = {
        "effect": effect,
        "measured": means.upper,
        "measured_effect": found.observed[1:],
        "control": means.lower,
    }
    return anndata.AnnData(
        X=(means.lower + effect).astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index(dataset.genes)),
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={"scale": f"{prepared.scale.kind}, adjusted for batch", "data": dataset.name},
    )


def _splits(prepared: spectra.Prepared, groups: Groups) -> list[str]:
    """Splits that hold pairs of each group, joined by "+"."""
    part = prepared.pairs.part
    own = [np.unique(part[groups.of_pair == k]) for k in range(len(groups.names))]
    return ["+".join(SPLITS[p] for p in parts) for parts in own]


def draw(
    config: Config,
    workdir: Path,
    prepared: spectra.Prepared,
    groups: Groups,
    found: cycseq_effects.Changes,
    metrics: dict[str, Any],
) -> None:
    """Training curves, the model beside its baselines, and predicted changes against measured
    ones."""
    pictures, rows = workdir / "figures", log.read_metrics(workdir / "metrics.jsonl")
    if rows:
        plots.loss_curves(rows, pictures / "loss_curves.png")
    plots.baseline_bars(metrics, pictures / "baselines.png")
    observed, predicted = found.observed[1:], found.predicted[benchmark.MODEL][1:]
    members = [["train"] if trained else ["test"] for trained in groups.trained]
    plots.ate_scatter(
        observed, predicted, groups.names, members, pictures / "ate_scatter.png", metrics["model"]
    )
    shown = split_names(config["evaluation"]["shown"])
    strength = np.abs(observed).mean(1) - 1e9 * groups.trained
    chosen = [groups.names.index(name) for name in shown] or np.argsort(-strength)[
        :MOST_SHOWN
    ].tolist()
    names = [groups.names[k] for k in chosen]
    plots.effect_panels(
        observed[chosen], predicted[chosen], prepared.dataset.genes, names, pictures / "effects.png"
    )
