"""Draw Figures 2 to 5 of the GEARS paper and the extended ones from finished runs, with a table of
published numbers.

python experiments/gears_figures.py --runs=runs/gears_norman,runs/gears_no_graphs
--output=runs/gears_figures

--runs=FOLDER,FOLDER       work directories of finished runs; bars of those of one data set stand
side by side --output=FOLDER            where the files and gears_table.md go (default:
runs/gears_figures) --figures=2,3,4,5,extended which (default: all)
                           2: errors of each subgroup (b to d) and single genes (g)    3: UMAP of
                               phenotypes
                           4: interactions found, genes that do not add up (d)         5:
                               interaction map
                           extended: uncertainty against error
--pairs_out=FOLDER,FOLDER  results of gears_leave_pairs_out.py, drawn as figure 4 in place of the
runs' own pairs --published=FILE           published numbers (default:
jaxpert/models/gears/paper/published.csv) --pairs=2000               predicted pairs in figures 3
and 5, at most --seed=0                   of all embeddings and random choices

What a run cannot carry is left out; gears_table.md says what and why.
"""

import sys
from pathlib import Path

from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags

PUBLISHED = Path(__file__).parents[1] / "jaxpert/models/gears/paper/published.csv"


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: draw(argv), UNDONE)


def draw(argv: list[str]) -> int:
    """Draw what the flags ask for, and name each file."""
    options = parse(argv)
    from jaxpert.models.gears.paper import figures as gears_figures

    for path in gears_figures.draw(**options):
        print(path)
    return 0


def parse(argv: list[str]) -> dict:
    """Arguments of `gears_figures.draw`; InputError says what is wrong."""
    values = flags.FlagValues()
    flags.DEFINE_list("runs", [], "", flag_values=values)
    flags.DEFINE_string("output", "runs/gears_figures", "", flag_values=values)
    flags.DEFINE_list("figures", None, "", flag_values=values)
    flags.DEFINE_list("pairs_out", [], "", flag_values=values)
    flags.DEFINE_string("published", str(PUBLISHED), "", flag_values=values)
    flags.DEFINE_integer("pairs", 2000, "", flag_values=values)
    flags.DEFINE_integer("seed", 0, "", flag_values=values, lower_bound=0)
    read_flags(values, argv)
    names = ("runs", "output", "figures", "pairs_out", "published", "pairs", "seed")
    return {name: values[name].value for name in names}


if __name__ == "__main__":
    leave(main(sys.argv))
