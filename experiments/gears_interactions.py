"""Interaction scores of measured pairs against published sub-types.

python experiments/gears_interactions.py --effects=FILE.h5ad --published=FILE.json
"""

import sys

from jaxpert.app.door import enter
from jaxpert.app.flags import UNDONE, Parser, guarded
from jaxpert.core.paths import path_of


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    parser = Parser(description="Interaction scores of measured pairs against published sub-types.")
    parser.add_argument(
        "--effects",
        required=True,
        metavar="FILE",
        help="one row of effects (mean change from control) per perturbation in an .h5ad file, "
        'obs["condition"] A+ctrl or A+B',
    )
    parser.add_argument(
        "--published",
        required=True,
        metavar="FILE",
        help='JSON file {sub-type: ["A+B", ...]}: lists of pairs, each pair in one list at most',
    )
    parser.add_argument(
        "--output",
        default="runs/gears_interactions",
        metavar="FOLDER",
        help="where scores.csv, subtypes.md and the figures go (default: runs/gears_interactions)",
    )
    parsed = parser.parse_args(arguments)
    from jaxpert.models.gears.paper import measured_interactions

    output = path_of(parsed.output)
    print(measured_interactions.compare(parsed.effects, parsed.published, output))
    print(f"\nscores and figures: {output}")
    return 0


if __name__ == "__main__":
    enter(lambda: guarded(lambda: main(sys.argv[1:]), UNDONE))
