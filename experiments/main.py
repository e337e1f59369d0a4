"""Train, evaluate and report one model: the same as `jaxpert train`.

python experiments/main.py --config=configs/cradle_norman.py --workdir=runs/norman
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("train")
