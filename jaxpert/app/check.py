"""`jaxpert check`: what is understood of the data, and whether they carry a run, before anything is
trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from jaxpert import data
from jaxpert.app import run
from jaxpert.core import settings
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.types import Dataset
from jaxpert.tasks.screen import audit, load, understood
from jaxpert.tasks.screen.keys import DataKeys, QualityKeys, ScreenConfig

QUICK = QualityKeys(doublets="none")
"""Doublets take long to call and say little of the file."""


class Checked(NamedTuple):
    """What `jaxpert.check` finds; printed, it is a page of text."""

    facts: Mapping[str, Any]
    """What was understood, in words and numbers."""
    notes: tuple[str, ...]
    """What looks odd, or was left out, merged or decided."""
    refusal: InputError | None
    """What a run of the data would be refused with; None where one can be made."""

    @property
    def problem(self) -> str:
        """Why no run can be made of the data; empty where one can."""
        return "" if self.refusal is None else str(self.refusal)

    @property
    def usable(self) -> bool:
        """Whether a run can be made of the data."""
        return self.refusal is None

    @property
    def text(self) -> str:
        """All of it, to be read."""
        parts = ["Understood:", *_lines(self.facts)]
        if self.notes:
            parts += ["", "To know:", *(f"  - {note}" for note in self.notes)]
        verdict = f"not usable: {self.problem}" if self.problem else "usable"
        return "\n".join([*parts, "", f"The data are {verdict}."])

    def __str__(self) -> str:
        return self.text


def check(source: Any, **columns: Any) -> Checked:
    """What is understood of a screen, and whether it carries a run; nothing is trained.

    Args:
        source: path of a file, or an AnnData.
        **columns: keys of the section `data` of a config: `perturbation`, `control`, `stratum` ...

    Raises:
        InputError: for a file that cannot be read, and for an unknown key.

    Example:
        print(jaxpert.check("screen.h5ad", perturbation="gene", control="ctrl"))
    """
    in_memory = not isinstance(source, str) and not hasattr(source, "__fspath__")
    given = dict(columns) if in_memory else columns | {"source": str(source)}
    config = ScreenConfig(data=settings.read(DataKeys, given, "data"), quality=QUICK)
    if not in_memory:
        return _checked(config, load.read_source(config)[0])
    return _checked(config, data.read(source, **load.read_options(config.data)))


def check_config(raw: Config) -> Checked:
    """What is understood of the data of a config, with every demand of its run checked.

    Raises:
        InputError: for whatever would stop the run before its training.
    """
    checked, family = run.read(raw)
    prepared = run.prepare(checked, family)
    run.check_names(prepared)
    return Checked(prepared.problem.audit, prepared.problem.dataset.notes, None)


def _checked(config: ScreenConfig, dataset: Dataset) -> Checked:
    """Facts first, so that they are there to explain a problem."""
    dataset = audit.with_controls(config, dataset)
    facts = understood.facts_of(dataset)
    try:
        audit.check_cells(dataset)
        if config.data.variable_genes:
            dataset = data.keep_variable(dataset, config.data.variable_genes)
        dataset = load.label(config.quality, dataset)
    except InputError as error:
        return Checked(facts, dataset.notes, error)
    facts = understood.facts_of(dataset)
    facts["splits"] = understood.splits_of(config, dataset, load.split)
    # The kind that a run takes unless it is told another one.
    try:
        divided = load.split(replace(config.split, kind="auto"), dataset)
        audit.check_split(config, divided)
    except InputError as error:
        return Checked(facts, dataset.notes, error)
    notes = (*divided.notes, *audit.notes_of(config, divided))
    return Checked(facts, notes, None)


def _lines(facts: Mapping[str, Any], indent: str = "  ") -> list[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines
