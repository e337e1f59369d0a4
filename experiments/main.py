"""Train, evaluate and report one model: the same as `jaxpert train`.

python experiments/main.py --config=configs/cradle_norman.py --workdir=runs/norman
"""

import sys

from jaxpert.app.cli import main
from jaxpert.app.flags import leave

if __name__ == "__main__":
    leave(main(["train", *sys.argv[1:]]))
