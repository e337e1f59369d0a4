"""Cells of a finished run of CRADLE-VAE without their artifact: the same as `jaxpert clean`.

python experiments/remove_artifacts.py RUN --output=FOLDER
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["clean", *sys.argv[1:]]))
