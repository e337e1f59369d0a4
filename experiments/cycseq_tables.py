"""The tables of the CycSeq paper from finished runs: the same as `jaxpert tables`.

python experiments/cycseq_tables.py RUN --output=FOLDER
"""

from jaxpert.app.door import script

if __name__ == "__main__":
    script("tables")
