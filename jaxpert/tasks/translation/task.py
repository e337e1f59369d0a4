"""The task `translation` by the contract of `core.family`."""

from __future__ import annotations

from typing import Any

from jaxpert.core.family import Problem, Task
from jaxpert.core.fit import Fitted
from jaxpert.core.types import InputError
from jaxpert.tasks.translation.keys import TranslationConfig
from jaxpert.tasks.translation.load import load
from jaxpert.tasks.translation.results import describe_rows, draw, evaluate_run


def _predict(problem: Problem, fitted: Fitted, names: Any, **options: Any) -> Any:
    """Rows of perturbations that were never paired need the family's own way."""
    raise InputError(
        f"{fitted.model.name or 'this model'} cannot predict further perturbations of rows, "
        "expected a family that says how (`Family.predict`): train another model"
    )


TRANSLATION = Task(
    name="translation",
    keys=TranslationConfig,
    load=load,
    evaluate=evaluate_run,
    draw=draw,
    predict=_predict,
    about=describe_rows,
)
