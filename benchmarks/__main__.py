"""The measurements of the project, as Markdown.

python -m benchmarks [--to=FILE] [SECTION [NAME ...]]

Without a section it is the table; names choose some of a section's rows (`benchmarks/README.md`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measure

TABLES = ("table", "startup", "scaling")
"""Sections that give lines of Markdown."""
PRINTED = ("seeds", "norman", "gears_norman", "cycseq_table", "schools", "stream")
"""Sections that print tables of their own."""
SECTIONS = (*TABLES, *PRINTED)


def main(arguments: Sequence[str]) -> int:
    files = [word.removeprefix("--to=") for word in arguments if word.startswith("--to=")]
    words = [word for word in arguments if not word.startswith("--to=")] or ["table"]
    section, names = words[0], words[1:]
    if section not in SECTIONS or any(word.startswith("-") for word in words):
        print(
            f"error: {' '.join(words)} is not understood, expected one of {', '.join(SECTIONS)}: "
            "see benchmarks/README.md",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(f"benchmarks.{section}")
    machine = measure.machine()
    if section in PRINTED:
        print(machine, flush=True)
        module.main()
        return 0
    text = "\n".join([*module.lines(names), "", machine, ""])
    print(text)
    for file in files:
        Path(file).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
