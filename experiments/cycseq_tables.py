"""The tables of the CycSeq paper from finished runs: the same as `jaxpert tables`.

python experiments/cycseq_tables.py RUN --output=FOLDER
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["tables", *sys.argv[1:]]))
