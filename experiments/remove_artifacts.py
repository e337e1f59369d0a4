"""Cells of a finished run of CRADLE-VAE without their artifact: the same as `jaxpert clean`.

python experiments/remove_artifacts.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("clean")
