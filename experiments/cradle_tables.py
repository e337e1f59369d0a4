"""Tables 2 to 5 of the CRADLE-VAE paper, beside the published numbers: the same as `jaxpert study`.

python experiments/cradle_tables.py --data=simulated --models=cradle_vae,sams_vae
    --results=runs/tables
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["study", "--family=cradle", *sys.argv[1:]]))
