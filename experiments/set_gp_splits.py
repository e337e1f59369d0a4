"""Train the Gaussian process over sets on several splits of a screen, and lay them in one table.

python experiments/set_gp_splits.py --workdir=runs/set_gp_splits --config.data.source=FILE

Every split is a run in FOLDER/SEED; the same command goes on where it stopped. --config.KEY=VALUE
overrides a key of configs/set_gp_norman.py for all of them.
"""

import sys

from jaxpert.app.door import enter
from jaxpert.app.flags import Parser, guarded
from jaxpert.core.paths import path_of


def main(arguments: list[str]) -> int:
    """Return the exit status of the first run that has one, else that of the tables."""
    from jaxpert.app import cli
    from jaxpert.study.benchmark import shared_programs
    from jaxpert.study.command import whole_numbers

    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", default="runs/set_gp_splits", help="folder of the runs")
    parser.add_argument(
        "--seeds", default="1,2,3,4,5,6,7,8,9,10", help="of the splits, joined by commas"
    )
    parsed, rest = parser.parse_known_args(arguments)
    folder, runs = path_of(parsed.workdir), []
    if not any(flag.startswith("--config=") for flag in rest):
        rest = ["--config=set_gp_norman", *rest]
    with shared_programs():
        for seed in whole_numbers("seeds", parsed.seeds):
            runs.append(str(folder / str(seed)))
            seeded = [f"--config.split.seed={seed}", f"--workdir={runs[-1]}"]
            status = cli.main(["train", *rest, *seeded])
            if status:
                return status
        return cli.main(["tables", *runs, f"--output={folder / 'tables'}"])


if __name__ == "__main__":
    enter(lambda: guarded(lambda: main(sys.argv[1:])))
