"""Train GEARS without each measured pair in turn, and see whether it finds the pairs' interactions
(Figure 4).

python experiments/gears_leave_pairs_out.py --config=configs/gears_norman.py
--config.data.source=FILE.h5ad

--config=FILE[:VARIANT]  a GEARS config; its split is replaced by that of each fold
--config.KEY=VALUE       override a key (experiments/main.py --help lists them)
--output=FOLDER          one file per fold, agreement.md, agreement.json (default:
runs/gears_pairs_out) --leave=pair             pair: one pair at a time; gene: all of a gene's pairs
and its single (Seen 1), of which the
                         more certain half is scored too where the model has an uncertainty head
--epochs=0               of each training; 0: as the config says
--folds=0                at most so many folds, spread evenly; 0: all
--val_share=0.1          share of the other pairs that choose the model
--seed=0                 of parameters, batches and validation pairs

The same command goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import config_flags

from jaxpert.app.flags import guarded, leave
from main import explain


class Options(NamedTuple):
    """What the flags say."""

    config: dict[str, Any]
    output: Path
    leave: str
    folds: int
    val_share: float
    seed: int


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 1 for a diverged loss, 2 for bad input, 130 after
    Ctrl-C."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: leave_out(parse(argv)))


def leave_out(options: Options) -> int:
    """Do the missing folds, score all of them, write and print the tables."""
    from jaxpert.app import run
    from jaxpert.core.types import InputError
    from jaxpert.models.gears.paper import leave_pairs_out as study
    from jaxpert.models.gears.screen_pairs import scored_columns

    config = options.config
    if config["model"]["name"] != "gears":
        raise InputError(
            f"model.name is {config['model']['name']!r}, expected gears: give one of "
            "configs/gears_*.py"
        )
    dataset, _ = run.load_dataset(config)
    folds = study.plan(dataset, options.leave)
    step = max(1, len(folds) // options.folds) if options.folds else 1
    folds = folds[::step][: options.folds or None]
    columns = scored_columns(dataset)
    settings = {
        "config": {name: value for name, value in config.items() if name not in ("split", "seed")}
    }
    fit = fit_with(config, options.output)
    common = {"seed": options.seed, "val_share": options.val_share}
    found = study.run(
        dataset, folds, fit, options.output, settings=settings | {"leave": options.leave}, **common
    )
    tables = {
        f"{len(found.pairs)} predictions": study.compare(dataset, found, columns, seed=options.seed)
    }
    if options.leave == "gene" and found.uncertainty is not None:
        half = study.more_certain_half(found)
        tables["the more certain half"] = study.compare(dataset, half, columns, seed=options.seed)
    text = f"{heading(options, len(folds), len(columns))}\n\n" + "\n\n".join(
        map(table, tables, tables.values())
    )
    (options.output / "agreement.md").write_text(text + "\n")
    last = [{k: None if v != v else v for k, v in row.items()} for row in list(tables.values())[-1]]
    (options.output / "agreement.json").write_text(
        json.dumps({"leave": options.leave, "rows": last}) + "\n"
    )
    print(text)
    return 0


def fit_with(config: dict[str, Any], output: Path) -> Any:
    """The function that trains one fold by the config and predicts; its work directory is gone
    afterwards.

    The co-expression graph is made anew from the cells that the fold trains on; the others know
    nothing of cells.
    """
    from jaxpert.app import run
    from jaxpert.data import gene_graphs as networks
    from jaxpert.models.gears.paper.leave_pairs_out import Predicted
    from jaxpert.models.gears.predict_sets import predict_sets

    settings = config["graphs"]
    options = {name: settings[name] for name in ("neighbours", "signed", "all_cells")}
    options["threshold"] = settings["correlation"]

    def fit(dataset: Any, names: Sequence[str], seed: int) -> Predicted:
        work = (output / ".training").absolute()
        shutil.rmtree(work, ignore_errors=True)  # of a fold that was stopped
        work.mkdir(parents=True)
        if networks.COEXPRESSION in dataset.graphs:
            linked = networks.coexpression_graph(dataset, **options)
            dataset = replace(dataset, graphs={**dataset.graphs, networks.COEXPRESSION: linked})
        fitted = run.fit(config | {"seed": seed}, work, dataset, run.build_model(config, dataset))
        if fitted.outcome.reason == "interrupted":
            raise KeyboardInterrupt
        found = predict_sets(fitted, dataset, names)
        shutil.rmtree(work)
        unsure = found.obs["uncertainty"].to_numpy() if "uncertainty" in found.obs else None
        return Predicted(np.asarray(found.layers["effect"]), unsure)

    return fit


def heading(options: Options, folds: int, genes: int) -> str:
    """What the tables rest on."""
    what = "pair" if options.leave == "pair" else "gene with all its pairs"
    return (
        f"{folds} trainings, each without one {what}; scores on {genes:,} genes with more than "
        "0.5 counts per cell; "
        f"seed {options.seed}, {options.config['train']['epochs']} epochs at most. Random sets: "
        "mean and middle 95 %."
    )


def table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Agreement of predicted with measured interactions, a row for each sub-type."""
    k = rows[0]["k"]
    header = (
        "sub-type",
        "true",
        "predicted",
        f"precision@{k}",
        "random",
        f"top-{k} accuracy",
        "random",
        "precision",
    )
    lines = [
        f"**{title}**",
        "",
        f"| {' | '.join((*header, 'recall'))} |",
        "|" + "---|" * (len(header) + 1),
    ]
    for row in rows:
        chance = {
            name: "{:.2f} ({:.2f} to {:.2f})".format(*values)
            for name, values in row["chance"].items()
        }
        cells = [row["subtype"], str(row["true"]), str(row["predicted"])]
        for name in ("precision_at_10", "top_10_accuracy"):
            cells += [f"{row[name]:.2f}", chance[name]]
        cells += [f"{row['precision']:.2f}", f"{row['recall']:.2f}" if row["true"] else "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse(argv: list[str]) -> Options:
    """The flags and the resolved config; InputError says what is wrong."""
    from jaxpert.core.types import InputError

    given = next((a.split("=", 1)[1] for a in argv if a.startswith("--config=")), None)
    if given is None or not Path(given.partition(":")[0]).is_file():
        raise InputError(
            f"--config={given or ''} is no file, expected one such as configs/gears_norman.py"
        )
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    flags.DEFINE_string("output", "runs/gears_pairs_out", "", flag_values=values)
    flags.DEFINE_enum("leave", "pair", ["pair", "gene"], "", flag_values=values)
    for name in ("epochs", "folds", "seed"):
        flags.DEFINE_integer(name, 0, "", flag_values=values, lower_bound=0)
    flags.DEFINE_float("val_share", 0.1, "", flag_values=values)
    try:
        rest = values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(explain(error, argv)) from error
    if len(rest) > 1:
        raise InputError(f"{rest[1]!r} is not understood, expected --flag=value: see --help")
    settings = config.value.to_dict()
    settings["split"]["kind"] = "none"
    settings["train"]["epochs"] = values["epochs"].value or settings["train"]["epochs"]
    asked: dict[str, Any] = {
        name: values[name].value for name in ("leave", "folds", "val_share", "seed")
    }
    return Options(config=settings, output=Path(str(values["output"].value)), **asked)


if __name__ == "__main__":
    leave(main(sys.argv))
