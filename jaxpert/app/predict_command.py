"""The command `jaxpert predict`: perturbations by a finished run, or by a baseline from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxpert.app.flags import Parser, whole
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.texts import read_lines


def predict(arguments: Sequence[str]) -> int:
    """`jaxpert predict RUN PERTURBATION ...`, or `jaxpert predict FILE ... --model=NAME`."""
    # A baseline needs no run; the columns of its file are flags then.
    anew = any(a == "--model" or a.startswith("--model=") for a in arguments)
    parser = _parser(anew)
    # Flags may stand between names, which the plain parser does not understand.
    parsed = parser.parse_intermixed_args(arguments)
    names = list(parsed.perturbations)
    if parsed.list:
        names += read_lines(parsed.list, "a text file with one perturbation a line, as --list")
    if not names:
        raise InputError(
            "no perturbation was given, expected names such as KLF1+FAR2: give them after the "
            "run, or --list=FILE with one a line"
        )
    output = path_of(parsed.output)
    # The table beside takes this name with another suffix.
    if output.suffix != ".h5ad":
        raise InputError(
            f"--output is {parsed.output!r}, expected the name of an .h5ad file: choose such a name"
        )
    if anew:
        return _with_baseline(parsed, names, output)
    if parsed.format == "cell-eval":
        return _cells_of_run(parsed, names, output)
    if parsed.cells is not None:
        raise InputError(
            "--cells is of the form of cell-eval, expected --format=cell-eval beside it: add that, "
            "or take --particles for the cells behind a mean"
        )
    options = _seed(parsed)
    if parsed.particles is not None:
        options["particles"] = whole("--particles", parsed.particles, 2)
    # Imported after all flags were checked: it pulls in JAX.
    from jaxpert.app import ask

    for path in ask.predict_to_files(parsed.run, names, output, **options):
        print(path)
    return 0


def _parser(anew: bool) -> Parser:
    """The flags of a prediction, `anew` from a file."""
    if anew:
        from jaxpert.app.anew import parser as parser_anew

        parser = parser_anew()
    else:
        parser = Parser(
            "jaxpert predict",
            description="Predict perturbations, seen or not.",
            epilog="With --model=NAME of a baseline a file of cells takes the place of RUN "
            "(jaxpert predict --model=additive --help).",
        )
        parser.add_argument("run", help="work directory of a finished run")
    parser.add_argument("perturbations", nargs="*", help="such as KLF1 or KLF1+FAR2")
    parser.add_argument("--list", metavar="FILE", help="a text file with one perturbation a line")
    parser.add_argument(
        "--output",
        default="predicted.h5ad",
        metavar="FILE",
        help="the .h5ad file; a .csv of the same name goes beside it (default: predicted.h5ad)",
    )
    parser.add_argument("--particles", help="generated cells behind each mean (default: the run's)")
    parser.add_argument("--seed", help="of generated cells (default: 0)")
    parser.add_argument(
        "--format",
        choices=("jaxpert", "cell-eval"),
        default="jaxpert",
        help="cell-eval: cells on log1p, control included, in place of means (default: jaxpert)",
    )
    parser.add_argument("--cells", help="of each perturbation, for --format=cell-eval (100)")
    return parser


def _with_baseline(parsed: Any, names: Sequence[str], output: Any) -> int:
    generating = (parsed.cells, parsed.particles, parsed.seed)
    if parsed.format != "jaxpert" or any(text is not None for text in generating):
        raise InputError(
            "--format, --cells, --particles or --seed was given beside --model, expected none of "
            "them, since a baseline predicts means and generates no cells: leave it out"
        )
    from jaxpert.app.anew import predict_to_files

    for path in predict_to_files(parsed, names, output):
        print(path)
    return 0


def _seed(parsed: Any) -> dict[str, int]:
    """The seed where one was given, so that it can be refused where nothing is drawn."""
    return {} if parsed.seed is None else {"seed": whole("--seed", parsed.seed, 0)}


def _cells_of_run(parsed: Any, names: Sequence[str], output: Any) -> int:
    if parsed.particles is not None:
        raise InputError(
            "--particles is the number of cells behind a mean, expected --cells with "
            "--format=cell-eval: name that"
        )
    options = _seed(parsed)
    if parsed.cells is not None:
        options["cells"] = whole("--cells", parsed.cells, 1)
    from jaxpert.app import ask

    for path in ask.cells_to_file(parsed.run, names, output, **options):
        print(path)
    return 0
