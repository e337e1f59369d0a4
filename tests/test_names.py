"""No file uses a name that nothing defines.

The linters leave this rule out, since shapes are written as texts (`Float[Array, "B"]`), which they
would read as names; here what they find inside such a text is dropped.
"""

import ast
import json
import pathlib
import subprocess
import sys

import jaxtyping

from support.paths import ROOT

FOLDERS = ("jaxpert", "tests", "benchmarks", "experiments", "configs")
ARRAYS = {
    name for name in dir(jaxtyping) if hasattr(getattr(jaxtyping, name), "dtypes") or name == "Key"
}
"""`Float`, `Int` and so on, whose second argument is a shape."""
RUFF = (sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache")

Place = tuple[int, int]
"""Line and column, both from 1."""


def undefined(*paths: pathlib.Path) -> list[str]:
    """Every name outside of a shape that nothing defines, with its place."""
    command = [*RUFF, "--select", "F821", "--output-format", "json", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    # Ruff ends with 1 where it found something, and with 2 where it could not look.
    assert done.returncode in (0, 1), done.stderr
    by_file: dict[str, list[dict]] = {}
    for finding in json.loads(done.stdout):
        by_file.setdefault(finding["filename"], []).append(finding)
    left = []
    for file, findings in by_file.items():
        shapes = shapes_of(pathlib.Path(file).read_text(encoding="utf-8"))
        for finding in findings:
            place = finding["location"]["row"], finding["location"]["column"]
            if not any(start <= place < stop for start, stop in shapes):
                left.append(f"{file}:{place[0]}: {finding['message']}")
    return left


def shapes_of(source: str) -> list[tuple[Place, Place]]:
    """Where each shape of an array type begins and ends."""
    lines = source.split("\n")
    shapes = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(
                value=ast.Name(id=kind) | ast.Attribute(attr=kind),
                slice=ast.Tuple(elts=[_, ast.Constant(value=str()) as shape]),
            ) if kind in ARRAYS:
                start = place_of(lines, shape.lineno, shape.col_offset)
                stop = place_of(lines, shape.end_lineno or 0, shape.end_col_offset or 0)
                shapes.append((start, stop))
    return shapes


def place_of(lines: list[str], line: int, offset: int) -> Place:
    """Python counts the bytes before a column, ruff its signs."""
    return line, len(lines[line - 1].encode()[:offset].decode()) + 1


def test_every_name_is_defined():
    assert not undefined(*(ROOT / folder for folder in FOLDERS))


def test_a_name_that_nothing_defines_is_found(tmp_path):
    path = tmp_path / "planted.py"
    path.write_text(
        "from jaxtyping import Array, Float, Int\n"
        "\n\n"
        'def mean(x: Float[Array, "cells"], y: Int[Lost, "B"]) -> "Absent":\n'
        '    """Of cells (é), é: Float[Array, "B"]."""\n'
        '    µ: Float[Array, "B"] = x; assert ["B", gone]\n'
        "    return missing(x, y, µ)\n"
    )
    found = [line.partition("planted.py:")[2] for line in undefined(path)]
    names = ((4, "Lost"), (4, "Absent"), (6, "gone"), (7, "missing"))
    assert found == [f"{line}: Undefined name `{name}`" for line, name in names]
