"""Run the comparisons of the CRADLE-VAE paper and write its Tables 2 to 5, beside the published
numbers.

python experiments/cradle_tables.py --data=simulated --models=cradle_vae,sams_vae
--results=runs/tables

What is missing in the results folder is trained, one run after another; the same command again goes
on where it stopped, and any number of processes or cluster jobs may work on one folder (each does
what no other is doing). Exit status: 0; 1 if a run diverged; 2 for bad input or a run that was
refused (the others go on in both cases).

--data=A,B          norman, dixit, replogle, adamson (default: these four), paths of .h5ad files, or
simulated, with
                    settings of the simulator appended, as in
                    simulated:artifact_share=0.1:preset=tiny
--models=A,B        default: all of MODELS
--multipliers=3,4,5 MAD multipliers of the quality criteria; CRADLE-VAE is trained for each, its
baselines once on all
                    cells and scored at each
--seeds=0,1,2,3,4   of the split on norman and dixit (as published), else of training, trained
together --vary=WHAT         train, split, or auto (as just said)
--at_once=5         seeds trained together at most; less saves memory
--variant=V         full, demo or test settings of configs/; default: demo for simulated data, else
full --set=KEY=VALUE     override a config key in all runs that have it, as often as needed, e.g.
--set=train.epochs=30 --results=FOLDER    runs, rows.jsonl and the tables (default:
runs/cradle_tables) --published=FILE    printed numbers (default:
jaxpert/models/cradle/paper/published.csv); empty: none --only_tables       train nothing, write the
tables from what is there

Writes tables.md, tables.html, tables.csv and advantage.csv (CRADLE-VAE minus each other, with
intervals).
"""

import runpy
import sys
from pathlib import Path
from typing import Any

from absl import flags

from jaxpert.app.flags import guarded, leave, read_flags

HERE = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    """Return the exit status."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        from jaxpert.study.plan import MODELS

        print((__doc__ or "").replace("all of MODELS", ", ".join(MODELS)))
        return 0
    return guarded(lambda: study(argv))


def study(argv: list[str]) -> int:
    """Run what the flags ask for, then write the tables."""
    options = parse(argv)
    from jaxpert.core import log
    from jaxpert.core.types import InputError
    from jaxpert.study import plan, tables
    from jaxpert.study.runner import run_jobs

    multipliers, seeds = (
        whole_numbers(name, getattr(options, name)) for name in ("multipliers", "seeds")
    )
    jobs = plan.plan(
        options.models or list(plan.MODELS),
        options.data,
        multipliers,
        seeds,
        get_config,
        variant=options.variant,
        vary=options.vary,
        changes=dict(pair.partition("=")[::2] for pair in options.set),
        at_once=options.at_once,
    )
    results = Path(options.results).absolute()
    if options.only_tables and not results.is_dir():
        raise InputError(
            f"there is no folder {results}, expected that of a study: give its --results"
        )
    published = Path(options.published) if options.published else None
    tables.read_published(published)  # a mistake in it must not wait for the training
    status = 0 if options.only_tables else run_jobs(jobs, results)
    asked = tables.Asked(tuple(map(plan.label_of, options.data)), multipliers, seeds)
    for path in tables.write_tables(results, asked, published):
        log.say(f"wrote {path}")
    return status


def get_config(file: str, variant: str) -> dict[str, Any]:
    """A config of configs/."""
    from jaxpert.core.types import InputError

    path = HERE.parent / f"configs/{file}.py"
    try:
        return runpy.run_path(str(path))["get_config"](variant).to_dict()
    except ValueError as error:
        raise InputError(f"{path.name} says: {error}") from error


def whole_numbers(flag: str, texts: list[str]) -> tuple[int, ...]:
    """The numbers of a list."""
    from jaxpert.core.types import InputError

    try:
        return tuple(int(text) for text in texts)
    except ValueError as error:
        raise InputError(
            f"--{flag} is {','.join(texts)}, expected whole numbers joined by commas"
        ) from error


def parse(argv: list[str]) -> flags.FlagValues:
    """The flags; InputError says what is wrong."""
    values = flags.FlagValues()
    lists = {
        "data": "norman,dixit,replogle,adamson",
        "models": "",
        "multipliers": "3,4,5",
        "seeds": "0,1,2,3,4",
    }
    for name, default in lists.items():
        flags.DEFINE_list(name, default, "", flag_values=values)
    texts = {"vary": "auto", "variant": "", "results": "runs/cradle_tables"}
    texts["published"] = str(HERE / "published/cradle_vae.csv")
    for name, default in texts.items():
        flags.DEFINE_string(name, default, "", flag_values=values)
    flags.DEFINE_multi_string("set", [], "", flag_values=values)
    flags.DEFINE_integer("at_once", 5, "", flag_values=values)
    flags.DEFINE_bool("only_tables", False, "", flag_values=values)
    return read_flags(values, argv)


if __name__ == "__main__":
    leave(main(sys.argv))
