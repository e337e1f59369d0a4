"""Run the measurements named on the command line, or all of them, and print their tables.

python -m benchmarks [SECTION ...], sections as in SECTIONS
"""

from __future__ import annotations

import importlib
import sys

from benchmarks import measure

SECTIONS = ("step", "startup", "epoch", "seeds", "norman", "interactions", "gears", "gears_norman")
SECTIONS += ("cycseq_table", "cycseq_step", "schools", "stream")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(
            f"error: there is no measurement {unknown[0]!r}, expected some of "
            f"{', '.join(SECTIONS)}",
            file=sys.stderr,
        )
        return 2
    print(measure.machine(), flush=True)
    for name in names or SECTIONS:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
