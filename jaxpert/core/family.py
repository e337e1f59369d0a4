"""What a run is made of, whatever family its model is from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.core.types import Dataset, Feed, Model, TrainState
from jaxpert.tasks.screen.predict import Fitted

Config = dict[str, Any]


def as_it_is(state: TrainState) -> TrainState:
    """The fresh state of a run that starts from nothing."""
    return state


class Job(NamedTuple):
    """Data and model of a config, and what its family does in its own way."""

    dataset: Dataset
    """Split, with every note."""
    truth: Any
    """Behind simulated cells, else None."""
    model: Model
    write: Callable[[Config, Path, Fitted], None]
    """What follows training; it writes metrics.json last, as the sign of a finished run."""
    feeds: Callable[[], tuple[Feed, Feed | None]] | None = None
    """Of training and validation; None for those of `workflow.make_feeds`."""
    start: Callable[[TrainState], TrainState] = as_it_is
    """From the fresh state to the one that training begins with (fine-tuning)."""
    meta: dict[str, Any] = {}
    """Kept beside every checkpoint."""
