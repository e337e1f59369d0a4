"""Write Tables 1 and 2 of the CycSeq paper from finished runs, published numbers beside ours.

python experiments/cycseq_tables.py --runs=runs/cycseq_pretrain,runs/cycseq_finetune
--output=runs/cycseq_tables

--runs=FOLDER,FOLDER  work directories of finished runs; those with doses make Table 2, the others
Table 1 --output=FOLDER       where cycseq_tables.md goes (default: runs/cycseq_tables)
--published=FILE      published numbers (default: jaxpert/models/cycseq/paper/published.csv); empty:
none
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from jaxpert.app.flags import UNDONE, guarded, leave, read_flags

PUBLISHED = Path(__file__).parents[1] / "jaxpert/models/cycseq/paper/published.csv"


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done, 2 for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print(__doc__)
        return 0
    return guarded(lambda: write(argv), UNDONE)


def write(argv: list[str]) -> int:
    """Write the tables and name the file."""
    values = flags.FlagValues()
    flags.DEFINE_list("runs", [], "", flag_values=values)
    flags.DEFINE_string("output", "runs/cycseq_tables", "", flag_values=values)
    flags.DEFINE_string("published", str(PUBLISHED), "", flag_values=values)
    read_flags(values, argv)
    from jaxpert.models.cycseq.paper import tables as cycseq_tables

    given: dict[str, Any] = {name: values[name].value for name in ("runs", "output")}
    print(cycseq_tables.write(**given, published=values["published"].value or None))
    return 0


if __name__ == "__main__":
    leave(main(sys.argv))
