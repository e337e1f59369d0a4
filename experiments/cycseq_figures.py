"""The figures of the CycSeq paper from finished runs: the same as `jaxpert figures`.

python experiments/cycseq_figures.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("figures")
