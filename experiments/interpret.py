"""Latent factors of a finished run of CRADLE-VAE or its baselines: the same as `jaxpert interpret`.

python experiments/interpret.py RUN --output=FOLDER
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["interpret", *sys.argv[1:]]))
