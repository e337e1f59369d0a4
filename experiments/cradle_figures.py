"""Draw Figures 3 (and 5 to 8), 4 and 9 of the CRADLE-VAE paper from finished runs.

python experiments/cradle_figures.py --runs=runs/cradle,runs/sams --output=runs/figures

--runs=FOLDER,FOLDER   work directories of finished runs; those of one data set are drawn side by
side --output=FOLDER        where the files go (default: runs/figures)
--figures=3,4,9        which; default: all that the runs allow (4 needs a run of cradle_vae)
                       3: quality of real and generated cells, and predicted effects, for each data
                           set (5 to 8 too)
                       4: t-SNE of cells generated with and without artifact, by artifact and by
                           pathway
                       9: UMAP of the basal latent of each model
--gmt=FILE             gene sets that name the pathways of figure 4, gzipped or not; default: those
planted in a
                       simulated screen
--cells=2000           generated cells of each group (3), generated cells (4), real cells (9)
--seed=0               of all draws and embeddings
"""

import sys

from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: draw(argv), UNDONE)


def draw(argv: list[str]) -> int:
    """Draw what the flags ask for, and name each file."""
    options = parse(argv)
    from jaxpert.models.cradle.paper import figures as paper_figures

    for path in paper_figures.draw(**options):
        print(path)
    return 0


def parse(argv: list[str]) -> dict:
    """Arguments of `paper_figures.draw`; InputError says what is wrong."""
    from jaxpert.core.types import InputError

    values = flags.FlagValues()
    flags.DEFINE_list("runs", [], "", flag_values=values)
    flags.DEFINE_string("output", "runs/figures", "", flag_values=values)
    flags.DEFINE_list("figures", None, "", flag_values=values)
    flags.DEFINE_string("gmt", None, "", flag_values=values)
    flags.DEFINE_integer("cells", 2000, "", flag_values=values)
    flags.DEFINE_integer("seed", 0, "", flag_values=values, lower_bound=0)
    read_flags(values, argv)
    given = {
        name: values[name].value for name in ("runs", "output", "figures", "gmt", "cells", "seed")
    }
    if given["figures"] is not None:
        if not all(number.strip().isdecimal() for number in given["figures"]):
            raise InputError(
                f"--figures={','.join(given['figures'])}, expected some of 3, 4, 9 joined by commas"
            )
        given["figures"] = [int(number) for number in given["figures"]]
    return given


if __name__ == "__main__":
    leave(main(sys.argv))
