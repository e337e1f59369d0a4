"""Which refusals of input the package can make, what each of them says, and which of them a test
has met.

A site is a call of InputError in the source. Under `JAXPERT_ERRORS=FOLDER` every process of a test
session writes the sites that it passes into that folder (tests/conftest.py), and

    PYTHONPATH=.:tests python -m support.error_sites FOLDER

lists those that no test has met, with exit status 1 where there are any without a reason in
`UNMET`. `make errors` does both.
"""

import ast
import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

from support.paths import ROOT

FOLDER = "JAXPERT_ERRORS"
PACKAGE = ROOT / "jaxpert"
PLACE = "{}"
UNMET: dict[str, str] = {}
"""The beginning of a text, as `Site.text` has it, and why no test can meet it."""


class Site(NamedTuple):
    """A call of InputError."""

    path: str
    """From the root of the project."""
    first: int
    last: int
    """Lines of the call."""
    text: str | None
    """Its constant parts, `{}` for every value between them; None where it is made elsewhere."""


@functools.cache
def sites() -> tuple[Site, ...]:
    every: list[Site] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Call) and is_error(node.func):
                name = str(path.relative_to(ROOT))
                text = constant(node.args[0]) if node.args else ""
                every.append(Site(name, node.lineno, node.end_lineno or node.lineno, text))
    return tuple(sorted(every))


def is_error(called: ast.expr) -> bool:
    return ast.unparse(called).rpartition(".")[2] == "InputError"


def constant(message: ast.expr) -> str | None:
    """The constant parts of a text."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if not isinstance(message, ast.JoinedStr):
        return None
    parts: list[str] = []
    for part in message.values:
        parts.append(str(part.value) if isinstance(part, ast.Constant) else PLACE)
    return "".join(parts)


def record(folder: str, error: type) -> None:
    """From now on, write the place of every InputError that this process makes."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    # A file for each process, so that lines of two never mix.
    path = pathlib.Path(folder) / f"{os.getpid()}.tsv"
    met: set[tuple[str, int]] = set()

    def init(self: ValueError, *arguments: object) -> None:
        ValueError.__init__(self, *arguments)
        frame = sys._getframe(1)
        place = (frame.f_code.co_filename, frame.f_lineno)
        # The first text of a site is enough.
        if place not in met:
            met.add(place)
            text = " ".join(str(self).split())
            # A test may have taken the right to write away, and sees that no error but its own.
            with contextlib.suppress(OSError), open(path, "a") as file:
                file.write(f"{place[0]}\t{place[1]}\t{text!a}\n")

    error.__init__ = init


def met(folder: str) -> set[tuple[str, int]]:
    """Files and lines that were recorded."""
    places: set[tuple[str, int]] = set()
    for path in pathlib.Path(folder).glob("*.tsv"):
        for line in path.read_text().splitlines():
            name, number, _ = line.split("\t", 2)
            places.add((os.path.relpath(name, ROOT), int(number)))
    return places


def unmet(folder: str) -> Iterator[Site]:
    """Sites that no test has met and no reason excuses."""
    places = met(folder)
    for site in sites():
        lines = range(site.first, site.last + 1)
        if any((site.path, line) in places for line in lines):
            continue
        if not any((site.text or "").startswith(text) for text in UNMET):
            yield site


def main(arguments: list[str]) -> int:
    left = list(unmet(arguments[0]))
    for site in left:
        print(f"{site.path}:{site.first} {site.text}")
    print(f"{len(left)} of {len(sites())} refusals were met by no test")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
