"""The figures of the GEARS paper from finished runs: the same as `jaxpert figures`.

python experiments/gears_figures.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("figures")
