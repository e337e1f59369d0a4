"""The task `screen` by the contract of `core.family`."""

from __future__ import annotations

from typing import Any

from jaxpert.core.about import describe
from jaxpert.core.ensemble import Ensemble
from jaxpert.core.family import Problem, Task
from jaxpert.core.fit import Fitted
from jaxpert.tasks.screen.figures import draw
from jaxpert.tasks.screen.keys import ScreenConfig
from jaxpert.tasks.screen.load import load
from jaxpert.tasks.screen.predict import predict
from jaxpert.tasks.screen.results import evaluate_run


def _predict(problem: Problem, fitted: Fitted | Ensemble, names: Any, **options: Any) -> Any:
    return predict(fitted, problem.dataset, names, **options)


def _about(problem: Problem) -> dict[str, Any]:
    return describe(problem.dataset)


SCREEN = Task(
    name="screen",
    keys=ScreenConfig,
    load=load,
    evaluate=evaluate_run,
    draw=draw,
    predict=_predict,
    about=_about,
)
