"""`jaxpert benchmark DATA`: every model that fits the data and every baseline, in one table."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpert.app.flags import Parser, add_options, read_options, wants_help
from jaxpert.core import settings
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import brief
from jaxpert.core.settings import names
from jaxpert.study.command import changes_of, whole_numbers
from jaxpert.tasks.screen.keys import DataKeys

# Imported for types only: flags are read before JAX is imported.
if TYPE_CHECKING:
    from jaxpert.study.contest import Contest
    from jaxpert.study.leaderboard import Board

HELP = """Train every model that fits the data and lay them out in one table with the baselines.

  jaxpert benchmark demo                      the simulated screen, minutes on two cores
  jaxpert benchmark screen.h5ad --perturbation=gene --control=NTC --seeds=0,1,2
  jaxpert benchmark norman_effects --effects=FILE --effects_scale=ln

DATA is `demo`, a file, a public screen (norman, dixit, replogle, adamson) or a config of the
project (NAME[:VARIANT]), whose data, quality labels and split are taken. All models are trained and
scored on the same cells; one that cannot be trained on them is named with the reason.

Every run is an ordinary work directory in FOLDER/runs, without figures. What is missing is trained,
one run after another; the same command again goes on where it stopped, and any number of processes
may work on one folder. Writes leaderboard.html, leaderboard.md and leaderboard.csv.
"""
FLAGS = {
    "workdir": ("", "folder of runs, rows and tables (default: runs/benchmark_DATA)"),
    "models": ("", "joined by commas (default: all that answer the task)"),
    "splits": (
        "",
        "kinds of split.kind joined by commas, with a seed as in combinations:1 (default: the "
        "data's own)",
    ),
    "seeds": ("", "of training, joined by commas (default: 0 for demo, else 0,1)"),
    "epochs": ("", "most epochs of every model (default: 30 for demo, else the models' own)"),
    "variant": (
        "",
        "full, demo or test settings of the models (default: demo for simulated cells, else full)",
    ),
}
"""{flag: (default, meaning)}."""
REFUSED = "refused: "
"""Begins the reason of a model that the data do not fit, in the ledger."""


def main(arguments: Sequence[str]) -> int:
    """Train what is missing, then write the tables; the exit status."""
    parser = parser_of_flags()
    if wants_help(arguments):
        parser.print_help()
        return 0
    flags = parser.parse_intermixed_args(arguments)
    from jaxpert.study import contest

    label, sections, variant = contest.source_of(flags.data, flags.variant)
    sections["data"] |= _given(flags)
    asked = contest.Contest(
        label=label,
        sections=sections,
        variant=variant,
        models=contest.check_models(names(flags.models)),
        splits=contest.splits_of(names(flags.splits), sections["split"]),
        seeds=contest.seeds_of(whole_numbers("seeds", flags.seeds) if flags.seeds else (), label),
        epochs=_at_least_one("epochs", flags.epochs) if flags.epochs else None,
        changes=changes_of(flags.set),
        at_once=_at_least_one("at_once", flags.at_once),
    )
    default = f"runs/benchmark_{label}"
    folder = path_of(flags.workdir or default).absolute()
    if flags.only_tables and not folder.is_dir():
        raise InputError(
            f"there is no folder {folder}, expected that of a benchmark: give its --workdir"
        )
    if flags.only_tables and flags.figures:
        raise InputError(
            "--figures was given beside --only_tables, which trains and draws nothing, expected "
            "one of them: leave the other out"
        )
    return _compete(asked, folder, flags.only_tables, flags.figures)


def _compete(asked: Contest, folder: Path, only_tables: bool, figures: bool) -> int:
    """Train unless only tables are wanted, and write these."""
    from jaxpert.app import families, run
    from jaxpert.core import log, workdir
    from jaxpert.study import contest, leaderboard, runner
    from jaxpert.tasks.screen import load

    jobs = contest.jobs_of(asked)
    status = 0
    with load.shared_cells():
        if not only_tables:
            others = families.all_families()
            for split in asked.splits:
                # What is wrong with the data themselves is refused before anything is written.
                any_family = next(iter(others.values()))
                load.load(contest.data_config(asked, split), any_family, others)
            with workdir.readable_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            with shared_programs():
                train = partial(run.run, draw=figures)
                status = runner.run_jobs(jobs, folder, run=train, flag="--workdir", may_refuse=True)
    title, notes, boards = boards_of(asked, folder)
    with workdir.readable_errors(folder):
        for path in leaderboard.write(title, notes, boards, folder):
            log.result(f"wrote {path}")
    _check_trained(asked, boards)
    return status


def _check_trained(asked: Contest, boards: Sequence[Board]) -> None:
    """Refuse data and settings with which every model that is asked for was refused."""
    reasons = []
    for board in boards:
        reasons += [board.absent.get(model, "") for model in asked.models]
    if all(reason.startswith(REFUSED) for reason in reasons):
        first = reasons[0].removeprefix(REFUSED)
        raise InputError(
            f"no model could be trained ({asked.models[0]}: {first}), expected one that fits: mend "
            "the flags or the data, the table names the reason of each"
        )


def boards_of(asked: Contest, folder: Path) -> tuple[str, list[str], list[Board]]:
    """Title, notes and the leaderboard of each split, from what is finished."""
    from jaxpert.core import log
    from jaxpert.study import contest, ledger, standing
    from jaxpert.study.leaderboard import Board

    read = ledger.read(folder / ledger.ROWS)
    for note in read.notes:
        log.say(f"note: {note}")
    boards = []
    for split in asked.splits:
        of = standing.finished_of(read.rows, asked.name(split), asked.models, asked.seeds)
        finished, reasons = of
        where = standing.standing(finished, folder) if finished else None
        boards.append(Board(str(split), where, reasons | contest.strangers()))
    seeds = ", ".join(map(str, asked.seeds))
    notes = [f"Training seeds {seeds}; settings of the variant {asked.variant}{_most(asked)}."]
    if len(asked.seeds) == 1:
        notes.append("With one seed nothing tells how much seeds differ: no interval includes it.")
    return f"Leaderboard: {asked.label}", notes, boards


def _most(asked: Contest) -> str:
    from jaxpert.study import contest

    most = contest.most_epochs(asked)
    return "" if most is None else f", at most {most} epochs"


@contextlib.contextmanager
def shared_programs() -> Iterator[None]:
    """Programs that one run compiled serve the next: seeds of a model differ in numbers alone."""
    import jax

    # JAX makes the attributes of its settings at run time.
    config: Any = jax.config
    # Somebody who keeps programs for longer has chosen the place.
    if config.jax_compilation_cache_dir:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="jaxpert-programs-") as folder:
        config.update("jax_compilation_cache_dir", folder)
        try:
            yield
        finally:
            config.update("jax_compilation_cache_dir", None)


def parser_of_flags() -> Parser:
    """The flags of the command."""
    parser = Parser(
        "jaxpert benchmark",
        usage="jaxpert benchmark DATA [flags]",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("data", metavar="DATA", help="demo, a file, a public screen or a config")
    for flag, (default, meaning) in FLAGS.items():
        parser.add_argument(f"--{flag}", default=default, metavar=flag.upper(), help=meaning)
    parser.add_argument(
        "--at_once",
        default="1",
        metavar="N",
        help="seeds trained together at most, in one work directory (default: 1)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a config key in all runs that have it, as often as needed, such as "
        "--set=quality.columns.umi_count=n_umi_full",
    )
    parser.add_argument("--figures", action="store_true", help="draw the figures of every run too")
    parser.add_argument(
        "--only_tables",
        action="store_true",
        help="train nothing, write the tables from what is there",
    )
    add_options(parser, DataKeys, leave_out=("source",))
    return parser


def _given(flags: argparse.Namespace) -> dict[str, Any]:
    """The keys of the data that flags were given for."""
    values = settings.plain(read_options(DataKeys, flags))
    return {key: value for key, value in values.items() if getattr(flags, key, None) is not None}


def _at_least_one(flag: str, text: str) -> int:
    numbers = whole_numbers(flag, text)
    if len(numbers) != 1 or numbers[0] < 1:
        raise InputError(
            f"--{flag} is {brief(text)}, expected a whole number, at least 1: correct it"
        )
    return numbers[0]
