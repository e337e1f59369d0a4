"""Kinds of text files that users give, an example of each, and texts that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.data.aliases import read_aliases
from jaxpert.data.genesets import read_gmt
from jaxpert.data.ontology import read_edges, read_gaf
from jaxpert.nn.graphs import from_edges
from jaxpert.report import published
from jaxpert.tasks.translation.doses import read_targets

REFUSED, EITHER = "refused", "either"
"""What is right beside a value: an InputError, or anything but a traceback."""
ABSENT, FOLDER = "absent", "folder"
"""In place of the content of a file."""
COLUMNS = ("data", "multiplier", "metric", "mean", "sd")


class Case(NamedTuple):
    """A file, how it is read, and what is right."""

    name: str
    read: Callable[[Path], Any]
    file: str
    content: bytes | str
    """ABSENT and FOLDER as texts."""
    right: Any = EITHER


class Kind(NamedTuple):
    """A kind of text file: an example with what it says, and lines that spoil it."""

    name: str
    read: Callable[[Path], Any]
    file: str
    text: str
    right: Any
    separator: str
    wrong: tuple[str, ...]
    """Texts of whole files that are to be refused."""


def annotation(symbol: str, term: str, relation: str = "involved_in", aspect: str = "P") -> str:
    """A line of a GAF file."""
    start = ["UniProtKB", "P1", symbol, relation, term, "PMID:1", "IDA", "", aspect, "name", ""]
    return "\t".join([*start, "protein", "taxon:9606", "20200101", "X", "", ""]) + "\n"


GAF = "!gaf-version: 2.2\n" + "".join(
    annotation(*pair) for pair in (("A", "GO:1"), ("B", "GO:1"), ("B", "GO:2"), ("C", "GO:2"))
)
EDGES = "source,target,importance\n"
PUBLISHED = "data,multiplier,metric,mean,sd\n"


def kinds() -> list[Kind]:
    """Every kind of text file that is read."""
    edge_lines = (
        "A,B,nan",
        "A,B,inf",
        "A,B,0",
        "A,B,-1",
        "A,B,x",
        "A,B,1e400",
        "A,B,1_0",
        "A,B,١",
        "A,B",
        ",,1",
        '"A,B,1\nC,D,1',
        'A,B,"0,5"',
        "A,B,1\nA,B,2",
        "A" * 200_000 + ",B,1",
    )
    return [
        Kind(
            "GMT",
            read_gmt,
            "a.gmt",
            "S1\td\tA\tB\tC\nS2\t\tB\tD\n",
            {"S1": frozenset("ABC"), "S2": frozenset("BD")},
            "\t",
            ("S1\td\n", "\td\tA\n", "S1\n", "S1\td\t \t \n", "A,B,0.5\n", "A\tB\t0.5\n"),
        ),
        Kind(
            "GAF",
            read_gaf,
            "a.gaf",
            GAF,
            {"A": {"GO:1"}, "B": {"GO:1", "GO:2"}, "C": {"GO:2"}},
            "\t",
            (
                "UniProtKB\tP\tA\n",
                annotation("A", "GO1"),
                annotation("A", "GO:1", aspect="X"),
                annotation("", "GO:1"),
                "!x\n!y\n",
                annotation("A", "GO:1", relation="NOT|involved_in"),
            ),
        ),
        Kind(
            "edges",
            lambda path: from_edges(read_edges(path)) and read_edges(path),
            "a.csv",
            EDGES + "A,B,0.5\nB,C,1\n",
            [("A", "B", 0.5), ("B", "C", 1.0)],
            ",",
            (
                EDGES,
                *(f"{EDGES}{line}\n" for line in edge_lines),
                "source,target,importance,source\nA,B,1,Z\n",
                "Source,Target,Importance\nA,B,1\n",
                "source;target;importance\nA;B;0,5\nA;C;0.5\n",
                "source;target;importance\nA;B;1.000,5\n",
            ),
        ),
        Kind(
            "aliases",
            read_aliases,
            "a.csv",
            "MARCH8,MARCHF8\nSEPT9,SEPTIN9\n",
            {
                "MARCH8": {"MARCHF8"},
                "MARCHF8": {"MARCH8"},
                "SEPT9": {"SEPTIN9"},
                "SEPTIN9": {"SEPT9"},
            },
            ",",
            ("A\n", "A,\n", ",A\n", 'A,"B\n', "A,B\nC\n"),
        ),
        Kind(
            "targets",
            read_targets,
            "a.csv",
            "compound,targets\nJQ1,BRD4 BRD2\nDMSO,\n",
            {"JQ1": ("BRD4", "BRD2"), "DMSO": ()},
            ",",
            ("compound\nJQ1\n", "compound,targets\nJQ1\n", "compound,targets\nJQ1,A,B\n"),
        ),
        Kind(
            "published",
            lambda path: published.read(path, COLUMNS),
            "a.csv",
            PUBLISHED + "norman,3,mse,0.25,\n",
            [{"data": "norman", "multiplier": 3, "metric": "mse", "mean": 0.25, "sd": None}],
            ",",
            (
                "a,b\n1,2\n",
                *(f"{PUBLISHED}norman,3,mse,{mean},0\n" for mean in ("nan", "x", "", "1_0")),
                PUBLISHED + "norman,3.5,mse,1,0\n",
                PUBLISHED + "norman,3\n",
                PUBLISHED + "norman,3,mse,1,0,0\n",
            ),
        ),
    ]
