"""The base of a model (`model.kwargs.base`): fitted once, kept with its run, read from there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxpert.app import families, saved
from jaxpert.core.errors import InputError
from jaxpert.core.family import Problem
from jaxpert.core.types import Base, Dataset, Model, Spec
from jaxpert.tasks.screen.residual import NONE, changes_with, fit_base

FOLDER = "base"
"""Of a run's work directory."""


def problem_with_base(checked: Any, problem: Problem, folder: Path | None = None) -> Problem:
    """The problem of a run, its spec with the base that the model's settings name: the one that the
    run has kept in its folder, or one that is fitted now."""
    name = getattr(checked.model.kwargs, "base", NONE)
    if name == NONE:
        return problem
    if folder is not None and is_kept(folder):
        base = revived(saved.read(folder / FOLDER), problem.spec)
        if base.name != name:
            raise InputError(
                f"{folder / FOLDER} holds the base {base.name!r}, expected {name!r}, which the "
                "config names: start the run in a new --workdir"
            )
        return problem._replace(spec=replace(problem.spec, base=base))
    return problem._replace(spec=spec_with_base(problem.spec, problem.dataset, name))


def spec_with_base(spec: Spec, dataset: Dataset, name: str) -> Spec:
    """A spec with the base `name`, fitted to the training cells of the data set; "none" for none.

    Raises InputError for what is no base, and for one that cannot be made of the data.
    """
    if name == NONE:
        return spec
    return replace(spec, base=fit_base(name, predictor(name, spec), dataset))


def predictor(name: str, spec: Spec) -> Model:
    """The model behind a base: one that is computed from effects, and not trained by steps."""
    known = families.models()
    if name not in known or not families.load(known[name]).effects:
        able = [other for other in known if families.load(known[other]).effects]
        raise InputError(
            f"model.kwargs.base is {name!r}, expected {NONE} or one of {', '.join(able)}: correct "
            "it"
        )
    return families.module_of(name).build(spec)


def plain(base: Base | None) -> dict[str, Any] | None:
    """What a base is made of but for its functions, as files hold it."""
    if base is None:
        return None
    content = base._asdict()
    del content["predict"]
    return content


def revived(content: dict[str, Any], spec: Spec) -> Base:
    """A base from what `plain` gave."""
    base = Base(**content, predict=partial(changes_with, predictor(content["name"], spec)))
    if base.left_out.shape != (len(spec.conditions), len(spec.genes)):
        rows, columns = base.left_out.shape
        raise InputError(
            f"the base {base.name!r} was fitted to {rows} conditions and {columns} genes, expected "
            f"{len(spec.conditions)} and {len(spec.genes)}, which the data have: give the data of "
            "the run"
        )
    return base


def note_on(base: Base | None) -> tuple[str, ...]:
    """What a report says of it."""
    if base is None:
        return ()
    number = int(np.sum(base.trained))
    return (
        f"the model learns what is left over the base {base.name}; each of {number} training "
        "perturbations is predicted by a fit of the base that did not see it",
    )


def is_kept(folder: Path) -> bool:
    """Whether a run's folder has its base."""
    return (folder / FOLDER / saved.STRUCTURE).exists()


def keep(base: Base | None, folder: Path) -> None:
    """Write a base beside its run, unless it came from there."""
    if base is not None and not is_kept(folder):
        saved.write(folder / FOLDER, plain(base))
