"""The figures of the CRADLE-VAE paper from finished runs: the same as `jaxpert figures`.

python experiments/cradle_figures.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("figures")
