"""The figures of the CRADLE-VAE paper from finished runs: the same as `jaxpert figures`.

python experiments/cradle_figures.py RUN --output=FOLDER
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["figures", *sys.argv[1:]]))
