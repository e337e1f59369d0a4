"""`jaxpert predict FILE PERTURBATION ... --model=NAME`: predictions of a baseline, which needs no
training, from a file of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxpert.app import families
from jaxpert.app.flags import Parser, add_options, read_options
from jaxpert.core import settings, workdir
from jaxpert.core.errors import InputError
from jaxpert.core.settings import setting
from jaxpert.tasks.screen.keys import DataKeys

USAGE = "jaxpert predict FILE PERTURBATION ... --model=NAME [flags]"


@dataclass(frozen=True)
class Known:
    """What the baseline knows beside the cells."""

    model: str = setting("", "the baseline, such as shrunken_additive", filled=True)
    ontology: str = setting("", "annotations of genes (.gmt, .gaf), or `human`; empty: none")
    other_screen: str = setting("", "effects of another screen (conditions x genes); empty: none")


def parser() -> Parser:
    """The flags of predicting from a file; those that all predictions have are added by the
    command."""
    made = Parser("jaxpert predict", usage=USAGE, description="Predict with a baseline, untrained.")
    made.add_argument("run", metavar="FILE", help="cells with raw counts (.h5ad, .zarr, .h5mu)")
    add_options(made, Known)
    add_options(made, DataKeys, leave_out=("source",))
    return made


def predict_to_files(parsed: Any, names: Sequence[str], output: Path) -> list[Path]:
    """Fit the baseline that the flags name to all cells of the file, and write what it predicts."""
    workdir.check_file_place(output)
    known = read_options(Known, parsed)
    if known.model not in families.models() or not families.entry_of(known.model).named:
        simple = [name for name in families.models() if families.entry_of(name).named]
        raise InputError(
            f"--model is {known.model!r}, expected a baseline ({', '.join(simple)}): other models "
            "are trained with jaxpert train, and asked by the folder of their run"
        )
    config = config_of(parsed.run, known, settings.plain(read_options(DataKeys, parsed)))
    # Imported after all flags were checked: it pulls in JAX.
    import jax

    from jaxpert.app import ask, run
    from jaxpert.core.fit import Fitted

    checked, family = run.read(config)
    prepared = run.prepare(checked, family)
    model, problem = prepared.ready.model, prepared.problem
    assert model.after_training is not None, "a baseline is computed once, from the cells"
    state = model.after_training({}, {}, jax.random.key(0), problem.dataset)
    predicted = family.task.predict(problem, Fitted(model, {}, state), names)
    return ask.write_predictions(predicted, output)


def config_of(file: str, known: Known, columns: dict[str, Any]) -> dict[str, Any]:
    """The config of a run on all cells of a file."""
    family = families.settings_of(families.family_name_of(known.model))
    config = family.defaults(known.model, "full")
    config["data"] |= columns | {"source": file}
    # Nothing is to be scored, so that no cell need be held out.
    config["split"]["kind"] = "none"
    config["evaluation"]["other_screen"] = known.other_screen
    if known.ontology:
        config["graphs"]["ontology"] = known.ontology
        config["model"]["kwargs"]["perturbation_graphs"] = "ontology"
    return config
