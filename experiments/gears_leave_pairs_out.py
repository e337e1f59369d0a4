"""Train GEARS without each measured pair in turn, and see whether it finds the pairs' interactions.

python experiments/gears_leave_pairs_out.py --config=gears_norman --config.data.source=FILE.h5ad

The same command goes on where it stopped; --config.KEY=VALUE overrides a key.
"""

import sys

from jaxpert.app.door import enter
from jaxpert.app.flags import Parser, add_options, guarded, read_options
from jaxpert.core.paths import path_of


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 for done, 1 for a diverged loss, 2 for bad input, 130 after
    Ctrl-C."""
    from jaxpert.app import training
    from jaxpert.models.gears.paper import leave_pairs_out

    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--output",
        default="runs/gears_pairs_out",
        metavar="FOLDER",
        help="one file per fold, agreement.md, agreement.json (default: runs/gears_pairs_out)",
    )
    add_options(parser, leave_pairs_out.Options)
    parsed, rest = parser.parse_known_args(arguments)
    raw, _ = training.parse(rest)
    from jaxpert.app import run

    config, _ = run.read(raw)
    options = read_options(leave_pairs_out.Options, parsed)
    print(leave_pairs_out.leave_out(config, options, path_of(parsed.output)))
    return 0


if __name__ == "__main__":
    enter(lambda: guarded(lambda: main(sys.argv[1:])))
