"""`jaxpert study`: the runs of a paper's comparison, and its tables beside the published ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxpert.app import families, training
from jaxpert.app.flags import Parser, wants_help
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import number
from jaxpert.core.settings import names, paths_of
from jaxpert.report.layout import Study

HELP = """Run the comparisons of a paper and write its tables, beside the published numbers.

  jaxpert study --family=NAME --data=simulated --results=runs/tables

What is missing in the results folder is trained, one run after another; the same command again goes
on where it stopped, and any number of processes or cluster jobs may work on one folder (each does
what no other is doing). Exit status: 0; 1 if a run diverged; 2 for bad input or a run that was
refused (the others go on in both cases).

Writes tables.md, tables.html, tables.csv and advantage.csv (the paper's model minus each other,
with intervals).
"""
FLAGS = {
    "family": ("", "family whose paper it is"),
    "data": (
        "",
        "public names, paths of .h5ad files, or simulated, with settings of the simulator appended "
        "as in simulated:artifact_share=0.1:preset=tiny; joined by commas (default: the paper's)",
    ),
    "models": ("", "joined by commas (default: all of the study)"),
    "multipliers": (
        "3,4,5",
        "MAD multipliers of the quality criteria; models that know of quality are trained for "
        "each, others once on all cells and scored at each (default: 3,4,5)",
    ),
    "seeds": (
        "0,1,2,3,4",
        "of the split where the paper varies it, else of training, trained together (default: "
        "0,1,2,3,4)",
    ),
    "vary": ("auto", "what the seeds are of: train, split, or auto (as just said; the default)"),
    "variant": (
        "",
        "full, demo or test settings of configs/ (default: demo for simulated data, else full)",
    ),
    "results": ("", "folder of runs, rows and tables (default: runs/FAMILY_tables)"),
    "published": (None, "CSV of printed numbers; empty: none (default: those of the paper)"),
}
"""{flag: (default, meaning)}."""


def main(arguments: Sequence[str]) -> int:
    """Run what the flags ask for, then write the tables; the exit status."""
    parser = parser_of_flags()
    if wants_help(arguments):
        parser.print_help()
        print(f"\n{_studies(arguments)}")
        return 0
    flags = parser.parse_args(arguments)
    study = study_of(flags.family)
    from jaxpert.core import log
    from jaxpert.study import plan, runner, scores, tables

    scope = plan.Scope(
        models=names(flags.models) or tuple(study.variants),
        sources=paths_of(names(flags.data), flags.data) or tuple(study.data),
        multipliers=whole_numbers("multipliers", flags.multipliers),
        seeds=whole_numbers("seeds", flags.seeds),
        variant=flags.variant,
        vary=flags.vary,
        changes=changes_of(flags.set),
        at_once=flags.at_once,
    )
    jobs = plan.plan(study, scope, get_config)
    results = path_of(flags.results or f"runs/{flags.family}_tables").absolute()
    if flags.only_tables and not results.is_dir():
        raise InputError(
            f"there is no folder {results}, expected that of a study: give its --results"
        )
    published = _published(study, flags.published)
    # A mistake in the printed numbers must not wait for the training.
    scores.read_published(published, study)
    status = 0
    if not flags.only_tables:
        status = runner.run_jobs(jobs, results)
    labels = tuple(map(plan.label_of, scope.sources))
    asked = scores.Asked(labels, tuple(scope.multipliers), tuple(scope.seeds))
    for path in tables.write_tables(study, results, asked, published):
        log.result(f"wrote {path}")
    return status


def _published(study: Study, flag: str | None) -> Path | None:
    """The file of printed numbers: the study's own, that of the flag, or none for an empty flag."""
    if flag is None:
        return study.published
    return path_of(flag) if flag else None


def parser_of_flags() -> Parser:
    """The flags of the command."""
    # No abbreviations: a cluster script with --seed must not mean --seeds.
    parser = Parser(
        "jaxpert study",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flag, (default, meaning) in FLAGS.items():
        parser.add_argument(f"--{flag}", default=default, metavar=flag.upper(), help=meaning)
    parser.add_argument(
        "--at_once",
        type=int,
        default=5,
        metavar="N",
        help="seeds trained together at most; less saves memory (default: 5)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a config key in all runs that have it, as often as needed, such as "
        "--set=train.epochs=30",
    )
    parser.add_argument(
        "--only_tables",
        action="store_true",
        help="train nothing, write the tables from what is there",
    )
    return parser


def study_of(family: str) -> Study:
    """The study of a family.

    Raises InputError for a family that there is not, or that has none.
    """
    if family not in families.FAMILIES or families.load(family).study is None:
        given = f"--family is {family!r}" if family else "no --family was given"
        raise InputError(
            f"{given}, expected one of {', '.join(families_with_study())}: choose one of these"
        )
    return families.load(family).study


def families_with_study() -> list[str]:
    """Names of the families whose papers compare models over many runs."""
    # Each family is imported here, so this is asked for only where a name is missing or wrong.
    return [name for name in families.FAMILIES if families.load(name).study is not None]


def _studies(arguments: Sequence[str]) -> str:
    """What each study consists of, or that of the family which is named."""
    named = []
    for argument in arguments:
        # Help is asked for before the flags are parsed, so that it needs none of them.
        if argument.startswith("--family="):
            named.append(argument.partition("=")[2])
    lines = []
    for family in named or families_with_study():
        study = study_of(family)
        lines.append(f"--family={family}: {study.title}")
        lines.append(f"  models: {', '.join(study.variants)}")
        lines.append(f"  data: {', '.join(study.data)}")
    return "\n".join(lines)


def get_config(name: str, variant: str) -> Config:
    """A config of the project by its name, as the file gives it for a variant."""
    known = training.configs()
    if name not in known:
        raise InputError(
            f"there is no config {name!r}, expected one of {', '.join(sorted(known))}: choose "
            "other --models or --data"
        )
    return training.load_config(known[name], variant)


def whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    """The numbers of a list."""
    try:
        return tuple(number(int, member) for member in names(text))
    except ValueError as error:
        raise InputError(
            f"--{flag} is {text}, expected whole numbers joined by commas: correct it"
        ) from error


def changes_of(pairs: Sequence[str]) -> dict[str, str]:
    """{key: text} of KEY=VALUE."""
    changes = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        changes[key] = value
    return changes
