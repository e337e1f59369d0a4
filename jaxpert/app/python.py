"""jaxpert from Python: fit, predict, evaluate, save and load, whatever the family and the task.

Example:
    cells = jaxpert.add_split(jaxpert.read("screen.h5ad", perturbation="gene"), kind="cells")
    model = jaxpert.conditional_vae.build(jaxpert.make_spec(cells))
    fitted = jaxpert.fit(model, cells, epochs=20)
    predicted = jaxpert.predict(fitted, cells, ["KLF1"])
    jaxpert.save(fitted, cells, "klf1"); fitted, cells = jaxpert.load("klf1")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxpert.app import families, saved
from jaxpert.app.base import plain, revived, spec_with_base
from jaxpert.core import fit as core_fit
from jaxpert.core import settings, workdir
from jaxpert.core.ensemble import Ensemble
from jaxpert.core.errors import InputError
from jaxpert.core.family import Family, Problem
from jaxpert.core.fit import Fitted
from jaxpert.core.paths import path_of
from jaxpert.core.types import Dataset, Model, Spec
from jaxpert.tasks.screen.load import check_effects
from jaxpert.tasks.screen.load import problem_of as screen_problem
from jaxpert.tasks.screen.residual import NONE
from jaxpert.tasks.translation.load import problem_of as rows_problem
from jaxpert.tasks.translation.prepare import Prepared

if TYPE_CHECKING:
    from anndata import AnnData

Data = Dataset | Prepared
"""Cells of a screen (`read`, `add_split`), or paired rows of several lines (`load_lines`,
`prepare_rows`)."""


class Loaded(NamedTuple):
    """A fitted model and the data it was fitted to."""

    fitted: Fitted
    data: Any


def make_spec(data: Data, base: str = NONE) -> Spec:
    """What a model must know of the data to be built, from training cells only.

    Args:
        data: split.
        base: a baseline, or another predictor that is computed from effects, which is fitted here:
            a model built with the same `base` learns what is left over it.

    Example:
        spec = jaxpert.make_spec(cells, base="shrunken_additive")
        model = jaxpert.gears.build(spec, base="shrunken_additive")
    """
    problem = problem_of(data)
    if base != NONE and isinstance(data, Prepared):
        raise InputError(
            f"base is {base!r} and the data are rows of several lines, expected cells of a screen, "
            "whose perturbations a base predicts: leave it out"
        )
    return spec_with_base(problem.spec, problem.dataset, base)


def problem_of(data: Data) -> Problem:
    """The data in every form that training and scoring need."""
    if isinstance(data, Prepared):
        return rows_problem(data)
    if not isinstance(data, Dataset):
        raise InputError(
            f"the data are a {type(data).__name__}, expected what jaxpert.read or "
            "jaxpert.prepare_rows returned: read the file with one of these"
        )
    return screen_problem(data)


def fit(
    model: Model,
    data: Data,
    *,
    epochs: int,
    seed: int = 0,
    seeds: int | None = None,
    **options: Any,
) -> Fitted:
    """Train a model on the training part of the data; keeps the parameters of the lowest validation
    loss.

    Args:
        model: from `build` of `jaxpert.cradle_vae`, `jaxpert.gears` and so on.
        data: with a split, and with quality labels if the model needs them.
        epochs: at most so many passes over the training cells.
        seed: of parameters, noise and the order of cells.
        seeds: train so many seeds at once by vmap; every leaf of the result then has a leading seed
            axis, and seed i is the single run of `seed` + i.
        **options: keys of the section `train` of a config (`batch_size`, `learning_rate`,
            `patience`, `devices` ...; `jaxpert train --help` lists them). Those that are left out
            are as the model's paper has them.

    Raises:
        InputError: for an unknown option, one out of its range, or data that cannot carry the
            model.

    Example:
        model = jaxpert.set_gp.build(jaxpert.make_spec(cells))
        fitted = jaxpert.fit(model, cells, epochs=1)
    """
    family, problem = family_of(model), problem_of(data)
    check_effects(model.name, problem.dataset, family, families.all_families())
    if model.check is not None:
        model.check(problem.dataset)
    keys = families.keys_of(model.name)
    # Whoever passes only epochs gets the paper's training for the rest.
    defaults = dict(family.defaults(model.name, "full")["train"])
    defaults["max_steps"] = 0  # papers count steps of their own screens; here epochs say it
    if not (problem.dataset.split == 1).any():  # patience needs cells to validate on
        defaults["patience"] = 0
    train = settings.read(
        settings.types_of(keys)["train"], defaults | {"epochs": epochs} | options, "train"
    )
    # The feeds depend on the model, which says what tables it needs.
    feeds = problem.feeds(model, train)
    return core_fit.fit(model, problem.dataset, feeds, train, seed=seed, seeds=seeds)


def predict(
    fitted: Fitted | Ensemble, data: Data, perturbations: str | Sequence[str], **options: Any
) -> AnnData:
    """Predict perturbations, seen or not, alone or combined ("A+B"), as an AnnData of one row each.

    Args:
        fitted: from `fit`, `load` or a finished run; several seeds by `ensemble_of`.
        data: what it was fitted to.
        perturbations: names such as "KLF1" or "KLF1+FAR2"; of rows of several lines also
            "KLF1 in K562".
        **options: `particles`, `library` and `seed` for models that generate cells.

    Returns:
        `X` is the predicted mean expression; the layer `effect` is the change from the predicted
        control, `effect_error` its Monte-Carlo standard error, `sd` the spread over cells. `obs`
        says which splits hold cells of it, what stands behind it (`support`) and how unsure the
        model is, where it says so.

    Example:
        predicted = jaxpert.predict(fitted, cells, ["KLF1", "KLF1+FAR2"])
        predicted.to_df(layer="effect").loc["KLF1+FAR2"].nlargest(10)
    """
    family, problem = family_of(fitted.model), problem_of(data)
    # One text is one name and not its letters.
    names = (perturbations,) if isinstance(perturbations, str) else tuple(perturbations)
    _check_single(fitted, data)
    how: Any = family.predict or _task_of(data).predict
    return how(problem, fitted, names, **options)


def _check_single(fitted: Fitted | Ensemble, data: Data) -> None:
    if isinstance(data, Prepared) and isinstance(fitted, Ensemble):
        raise InputError(
            "several seeds as one model were given for rows of lines, expected a model of one "
            "seed: choose it with jaxpert.core.fit.pick_seed(fitted, 0)"
        )


def evaluate(
    fitted: Fitted | Ensemble, data: Data, *, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Score a fitted model beside the baselines.

    Returns the parts of metrics.json: "model", "baselines", "comparison", "verdict" and so on, and
    the scores of the model's paper by the name of its family.

    Example:
        scores = jaxpert.evaluate(fitted, cells)
        print(scores["verdict"])
    """
    family, problem = family_of(fitted.model), problem_of(data)
    # Configs are tasks' own, so each is imported where its data are met.
    if isinstance(data, Prepared):
        _check_single(fitted, data)
        assert isinstance(fitted, Fitted)
        from jaxpert.tasks.translation.keys import TranslationConfig
        from jaxpert.tasks.translation.results import evaluate_run

        return evaluate_run(TranslationConfig(seed=seed), problem, fitted, family, {}).metrics
    from jaxpert.tasks.screen.evaluate import evaluate as evaluate_screen

    return evaluate_screen(fitted, problem.dataset, seed=seed, **options)


def save(fitted: Fitted, data: Data, folder: str | Path) -> Path:
    """Save a fitted model with the data that it was fitted to; `load` reads it back.

    The folder holds parameters, settings and data, in files that run no code when they are read.

    Example:
        jaxpert.save(fitted, cells, "klf1")
    """
    model, folder = fitted.model, path_of(folder)
    # A model without a family could not be made again, so it is refused before writing.
    family_of(model)
    content = {
        "model": model.name,
        "settings": settings.arguments(model.settings),
        # The model is saved as its settings: functions cannot be stored.
        "params": fitted.params,
        "state": fitted.state,
        "data": data,
        "base": plain(model.base),
    }
    with workdir.readable_errors(folder, "folder"):
        saved.write(folder, content)
    return folder


def load(folder: str | Path, *, seed: int = 0) -> Loaded:
    """A fitted model and its data, from what `save` wrote or from the work directory of a finished
    run; `seed` says which of several seeds that were trained at once.

    Example:
        fitted, cells = jaxpert.load("runs/demo")
        jaxpert.predict(fitted, cells, ["PERT001+PERT002"])
    """
    folder = path_of(folder)
    # Without the file of `save` the folder is taken for that of a run.
    if not (folder / saved.STRUCTURE).exists():
        from jaxpert.app.reopen import reopen

        finished = reopen(folder, seed=seed)
        problem = finished.problem
        data = problem.dataset if problem.details is None else problem.details
        return Loaded(finished.fitted, data)
    content = saved.read(folder)
    module = families.module_of(content["model"])
    # The spec follows from the data, so it is made again and not stored.
    spec = make_spec(content["data"])
    # A base is read as it was fitted; saves of before have none.
    if content.get("base") is not None:
        spec = replace(spec, base=revived(content["base"], spec))
    model = module.build(spec, **content["settings"])
    return Loaded(Fitted(model, content["params"], content["state"]), content["data"])


def family_of(model: Model) -> Family:
    """The family of a model."""
    if not model.name:
        raise InputError(
            "the model has no name, expected one from `build` of a family's module: make it with "
            "`build`"
        )
    return families.load(families.family_name_of(model.name))


def _task_of(data: Data) -> Any:
    from jaxpert.tasks.screen.task import SCREEN
    from jaxpert.tasks.translation.task import TRANSLATION

    return TRANSLATION if isinstance(data, Prepared) else SCREEN
