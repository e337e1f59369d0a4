"""Draw Figures 2 to 6 of the CycSeq paper from finished runs.

python experiments/cycseq_figures.py --runs=runs/cycseq_pretrain --output=runs/cycseq_figures

--runs=FOLDER,FOLDER  work directories of finished runs; their data are read again
--output=FOLDER       where the files go (default: runs/cycseq_figures)
--figures=2,3,4,5,6   which (default: all): 2 rows, 3 triangular validation, 4 changes by method, 5
doses by PHATE
                      (jaxpert[phate]), 6 enrichment (jaxpert[enrichment])
--highlighted=A,B     perturbations named in figure 3
--compound=NAME       compound (or perturbation) of figures 5 and 6 (default: the first evaluated
one) --gene_sets=FILE      GMT file behind figure 6
--seed=0              of PHATE and the permutations
"""

import sys
from typing import Any

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
    values = flags.FlagValues()
    flags.DEFINE_list("runs", [], "", flag_values=values)
    flags.DEFINE_string("output", "runs/cycseq_figures", "", flag_values=values)
    flags.DEFINE_list("figures", None, "", flag_values=values)
    flags.DEFINE_list("highlighted", [], "", flag_values=values)
    flags.DEFINE_string("compound", "", "", flag_values=values)
    flags.DEFINE_string("gene_sets", None, "", flag_values=values)
    flags.DEFINE_integer("seed", 0, "", flag_values=values, lower_bound=0)
    read_flags(values, argv)
    names = ("runs", "output", "figures", "highlighted", "compound", "gene_sets", "seed")
    from jaxpert.models.cycseq.paper import figures as cycseq_figures

    given: dict[str, Any] = {name: values[name].value for name in names}
    for path in cycseq_figures.draw(**given):
        print(path)
    return 0


if __name__ == "__main__":
    leave(main(sys.argv))
