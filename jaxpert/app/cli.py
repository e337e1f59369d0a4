"""The command `jaxpert`: train a model, ask finished runs, simulate a screen."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from jaxpert.app.flags import (
    ANEW,
    UNDONE,
    Parser,
    add_options,
    as_flags,
    guarded,
    read_options,
    wants_help,
    whole,
    with_config,
)
from jaxpert.app.predict_command import predict
from jaxpert.core import settings, verbosity
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of

HELP = """What will these cells look like under a perturbation nobody has measured?

  jaxpert check FILE ...                      what is understood of a file, before any training
  jaxpert train --config=NAME[:VARIANT] ...   train, evaluate and report one model
  jaxpert predict RUN PERTURBATION ...        predict perturbations with a finished run
  jaxpert predict FILE ... --model=additive   predict them with a baseline, from a file
  jaxpert evaluate RUN                        score a finished run again
  jaxpert score --real=FILE --pred=FILE ...   score the predictions of any tool
  jaxpert compare RUN|FILE ...                runs and predictions side by side
  jaxpert figures RUN ...                     the figures of the paper behind the runs' model
  jaxpert tables RUN ...                      its tables
  jaxpert interpret RUN                       latent factors: what perturbations move (CRADLE-VAE)
  jaxpert clean RUN                           cells without their artifact (CRADLE-VAE)
  jaxpert pairs RUN                           pairs of genes that interact (GEARS)
  jaxpert benchmark DATA                      every model and baseline on a screen, in one table
  jaxpert study --family=NAME ...             the runs and tables of a paper's comparison
  jaxpert simulate PRESET                     a simulated screen and its truth
  jaxpert simulate --effects=FILE ...         cells drawn around effects that were measured

jaxpert COMMAND --help says more, jaxpert --version which version this is. With --quiet a command
tells its results alone, with --verbose every note, all comparisons and how long each part took.
"""
OF_FAMILIES = ("figures", "tables", "interpret", "clean", "pairs")
"""Commands that a family has or has not."""
DRAWING = ("figures", "interpret")
"""Those of them that draw."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 for done (or stopped by a signal, saved), 1 for a diverged loss, 2
    for bad input."""
    try:
        arguments = verbosity.take_flags(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name = arguments[0] if arguments else ""
    # Help is printed without importing JAX, which would take seconds.
    if not arguments or name in ("--help", "-h", "help"):
        print(HELP)
        return 0
    # Training can be gone on from, so its message on an interrupt is another one.
    if name == "train":
        return _train(arguments[1:])
    if name == "study":
        return guarded(lambda: _study(arguments[1:]))
    if name == "benchmark":
        return guarded(lambda: _benchmark(arguments[1:]))
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "predict": predict,
        "evaluate": evaluate,
        "simulate": simulate,
        "check": check,
        "score": score,
        "compare": compare,
    }
    if name in OF_FAMILIES:
        return guarded(lambda: ask(name, arguments[1:]), UNDONE)
    if name in commands:
        in_parts = name in ("evaluate", "score", "compare")
        return guarded(lambda: commands[name](arguments[1:]), ANEW if in_parts else UNDONE)
    if name == "--version":
        from importlib.metadata import version

        return _print(f"jaxpert {version('jaxpert')}")
    known = ("train", "study", *commands, "benchmark", *OF_FAMILIES)
    close = get_close_matches(name, known, n=1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    print(
        f"error: {name!r} is no command{meant}, expected one of {', '.join(known)}: see jaxpert "
        "--help",
        file=sys.stderr,
    )
    return 2


def _train(arguments: Sequence[str]) -> int:
    from jaxpert.app import training

    arguments = with_config(arguments)
    if wants_help(arguments):
        return guarded(lambda: _print(training.help_text(arguments)), UNDONE)
    return guarded(lambda: training.train(arguments))


def _study(arguments: Sequence[str]) -> int:
    from jaxpert.study import command

    return command.main(arguments)


def _benchmark(arguments: Sequence[str]) -> int:
    from jaxpert.study import benchmark

    return benchmark.main(arguments)


def check(arguments: Sequence[str]) -> int:
    """`jaxpert check FILE ...` or `jaxpert check --config=NAME ...`."""
    from jaxpert.tasks.screen.keys import DataKeys

    description = (
        "What is understood of a screen, and whether it carries a run. Nothing is trained or "
        "written. With --config=NAME and its overrides: the data and every demand of that run."
    )
    parser = Parser("jaxpert check", usage="jaxpert check FILE [flags]", description=description)
    parser.add_argument("file", help="an .h5ad file with raw counts")
    add_options(parser, DataKeys, leave_out=("source",))
    # A config has flags of its own, which this parser does not know.
    if any(argument.startswith("--config=") for argument in with_config(arguments)):
        return _check_config(with_config(arguments))
    parsed = parser.parse_intermixed_args(arguments)
    columns = settings.plain(read_options(DataKeys, parsed))
    del columns["source"]
    # Imported after all flags were checked: it pulls in JAX.
    from jaxpert.app.check import check as check_data

    try:
        checked = check_data(parsed.file, **columns)
        print(as_flags(checked.text, DataKeys, "data"))
        if checked.refusal is not None:
            raise checked.refusal
    except InputError as error:
        # The same refusal, which names the keys as flags.
        error.args = (as_flags(str(error), DataKeys, "data"),)
        raise
    given = {name: getattr(parsed, name, None) for name in columns}
    print(f"\nTo train on them, and get a report:\n  {_training_command(parsed.file, given)}")
    return 0


def _training_command(file: str, given: Mapping[str, Any]) -> str:
    """The command that trains on what was checked, with the same columns and labels."""
    command = ["jaxpert", "train", "--config=set_gp_norman", "--workdir=runs/mine"]
    command.append(f"--config.data.source={file}")
    command += [f"--config.data.{name}={text}" for name, text in given.items() if text is not None]
    return shlex.join(command)


def _check_config(arguments: Sequence[str]) -> int:
    """The data of a config, a file before the flags in place of its own."""
    from jaxpert.app import training

    flags = [f"--config.data.source={a}" if not a.startswith("-") else a for a in arguments]
    if wants_help(arguments):
        return _print(training.help_text(arguments))
    config, _ = training.parse(flags)
    from jaxpert.app.check import check_config

    print(check_config(config).text)
    return 0


def evaluate(arguments: Sequence[str]) -> int:
    """`jaxpert evaluate RUN`."""
    parser = Parser("jaxpert evaluate", description="Score a finished run again, with its data.")
    parser.add_argument("run", help="work directory of a finished run")
    parser.add_argument("--output", metavar="FOLDER", help="default: RUN/evaluation")
    parsed = parser.parse_args(arguments)
    from jaxpert.app import ask

    print(ask.evaluate_again(parsed.run, parsed.output or path_of(parsed.run) / "evaluation"))
    return 0


def score(arguments: Sequence[str]) -> int:
    """`jaxpert score --real=FILE --pred=FILE --output=FOLDER ...`."""
    from jaxpert.tasks.screen.score_keys import ScoreKeys

    parser = Parser("jaxpert score", description="Score the predictions of any tool.")
    parser.add_argument("--real", required=True, help="cells (.h5ad), or the folder of a run")
    parser.add_argument("--pred", required=True, help="predictions: .h5ad, or .csv of effects")
    parser.add_argument("--output", metavar="FOLDER", default="scores", help="default: scores")
    add_options(parser, ScoreKeys)
    parsed = parser.parse_args(arguments)
    keys = read_options(ScoreKeys, parsed)
    # Imported after all flags were checked: it pulls in JAX.
    from jaxpert.app.score import command_line

    return command_line(parsed.real, parsed.pred, keys, parsed.output)


def compare(arguments: Sequence[str]) -> int:
    """`jaxpert compare RUN|FILE ... --output=FOLDER`."""
    from jaxpert.tasks.screen.score_keys import ScoreKeys

    parser = Parser("jaxpert compare", description="Runs and predictions side by side.")
    parser.add_argument("entries", nargs="+", metavar="RUN|FILE", help="the first is compared with")
    parser.add_argument("--real", help="cells (.h5ad) that files are scored against")
    parser.add_argument("--output", metavar="FOLDER", default="compared", help="default: compared")
    # Scores of other schools stand in no comparison.
    add_options(parser, ScoreKeys, leave_out=("schools",))
    parsed = parser.parse_intermixed_args(arguments)
    keys = read_options(ScoreKeys, parsed)
    from jaxpert.app.sidebyside import command_line

    return command_line(parsed.entries, parsed.real, keys, parsed.output)


def simulate(arguments: Sequence[str]) -> int:
    """`jaxpert simulate PRESET`, or `jaxpert simulate --effects=FILE ...`."""
    parser = Parser("jaxpert simulate", description="A simulated screen, and what was planted.")
    parser.add_argument(
        "preset", nargs="?", help="tiny, demo, norman, dixit, replogle, adamson, lines, doses"
    )
    parser.add_argument(
        "--effects",
        default="",
        metavar="FILE",
        help="in place of a preset: log fold changes (conditions x genes) to draw cells around; "
        "a .csv, .csv.gz, .parquet, .npz or .h5ad file, or `example`",
    )
    parser.add_argument("--scale", default="", help="of --effects: log2 or ln")
    parser.add_argument(
        "--control-profile",
        default="",
        metavar="FILE",
        help="for --effects: the mean of every gene in control, or `drawn`",
    )
    parser.add_argument(
        "--cells", help="of a preset in all, of --effects for every perturbation (default: 100)"
    )
    parser.add_argument(
        "--output",
        default="simulated.h5ad",
        metavar="FILE",
        help="the .h5ad file; the truth goes beside it as .truth.npz (default: simulated.h5ad)",
    )
    parser.add_argument("--seed", default="0", help="default: 0")
    parser.add_argument("--settings", default="", help="such as artifact_share=0.1,cells=3000")
    parsed = parser.parse_args(arguments)
    _check_simulate(parsed)
    from jaxpert.app import ask

    seed = whole("--seed", parsed.seed, 0)
    output = path_of(parsed.output)
    settings_text = parsed.settings
    if parsed.cells is not None:
        cells = f"cells={whole('--cells', parsed.cells, 1)}"
        settings_text = f"{settings_text},{cells}" if settings_text else cells
    around = None
    if parsed.effects:
        around = ask.Around(parsed.effects, parsed.scale, parsed.control_profile)
    for path in ask.simulate_to_files(parsed.preset, around, settings_text, seed, output):
        print(path)
    return 0


def _check_simulate(parsed: Any) -> None:
    """One of a preset and a file of effects, and the file's flags with it alone."""
    if bool(parsed.preset) == bool(parsed.effects):
        raise InputError(
            f"a preset ({parsed.preset or 'none'}) and --effects ({parsed.effects or 'none'}) were "
            "given, expected one of them: see jaxpert simulate --help"
        )
    if parsed.preset and (parsed.scale or parsed.control_profile):
        raise InputError(
            "--scale or --control-profile was given with a preset, expected --effects with them: "
            "leave them out"
        )


def ask(name: str, arguments: Sequence[str]) -> int:
    """A command that the family of the runs has: `jaxpert figures RUN ...` and so on."""
    from jaxpert.app import families, gallery
    from jaxpert.report.plots import style

    # The first run tells the family, and the family its flags, before these are read.
    folders = [argument for argument in arguments if not argument.startswith("-")]
    if wants_help(arguments) or not folders:
        # Without a run the help of every family that has the command is shown.
        for family in families.all_families().values():
            if name in family.commands:
                _parser(name, family).print_help()
                print()
        if wants_help(arguments):
            return 0
        raise InputError(
            f"no run was given, expected the work directory of one: jaxpert {name} RUN"
        )
    family = gallery.family_of_run(folders[0])
    command = gallery.command_of(family, name)
    parsed = _parser(name, family).parse_intermixed_args(arguments)
    options = read_options(command.options, parsed)
    output = parsed.output or path_of(folders[0]) / name
    with style.printed(getattr(parsed, "format", "png")):
        paths = gallery.run_command(family, name, parsed.runs, output, options)
    for path in paths:
        print(path)
    return 0


def _parser(name: str, family: Any) -> Parser:
    command = family.commands[name]
    parser = Parser(f"jaxpert {name}", description=f"{family.title}: {command.meaning}")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="work directory of a finished run")
    parser.add_argument("--output", metavar="FOLDER", help=f"default: RUN/{name}")
    if name in DRAWING:
        parser.add_argument(
            "--format",
            choices=("png", "pdf", "svg"),
            default="png",
            help="of figures, beside a PNG of 300 dpi (default: png alone)",
        )
    add_options(parser, command.options)
    return parser


def _print(text: str) -> int:
    print(text)
    return 0
