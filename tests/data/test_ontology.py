"""Readers of annotations and edge lists: right files, malformed ones, and pickles that are
programs."""

import collections
import gzip
import os
import pickle

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.data import ontology

GAF = "!gaf-version: 2.2\n" + "".join(
    "\t".join(
        [
            "UniProtKB",
            "P1",
            gene,
            relation,
            term,
            "PMID:1",
            "IDA",
            "",
            aspect,
            "",
            "",
            "protein",
            "taxon:9606",
            "20200101",
            "GO",
        ]
    )
    + "\n"
    for gene, relation, term, aspect in [
        ("KLF1", "involved_in", "GO:1", "P"),
        ("KLF1", "enables", "GO:2", "F"),
        ("KLF1", "NOT|enables", "GO:3", "F"),
        ("GATA1", "involved_in", "GO:1", "P"),
    ]
)


def written(tmp_path, name, content):
    content = content.encode() if isinstance(content, str) else content
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["go.gaf", "go.gaf.gz"])
def test_gaf(tmp_path, name):
    path = written(tmp_path, name, GAF)
    assert ontology.read_terms(path) == {"KLF1": {"GO:1", "GO:2"}, "GATA1": {"GO:1"}}
    assert ontology.read_terms(path, aspects="P") == {"KLF1": {"GO:1"}, "GATA1": {"GO:1"}}


@pytest.mark.parametrize("name", ["sets.gmt", "sets.gmt.gz"])
def test_gmt(tmp_path, name):
    path = written(tmp_path, name, "GO:1\t\tKLF1\tGATA1\nGO:2\tx\tKLF1\n")
    assert ontology.read_terms(path) == {"KLF1": {"GO:1", "GO:2"}, "GATA1": {"GO:1"}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles(tmp_path, protocol):
    content = {
        "KLF1": {"GO:1", "GO:2"},
        "GATA1": ["GO:1"],
        "X": ("GO:9",),
        "Y": frozenset({"GO:3"}),
    }
    path = written(tmp_path, "gene2go.pkl", pickle.dumps(content, protocol))
    assert ontology.read_terms(path) == {gene: frozenset(terms) for gene, terms in content.items()}
    assert ontology.read_plain_pickle(path) == content


class Program:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_pickle_runs_nothing(tmp_path, protocol):
    target = tmp_path / "owned"
    for program in (
        Program(os.system, f"touch {target}"),
        Program(eval, f"open({str(target)!r}, 'w')"),
        Program(getattr, {}, "clear"),
        Program(os.mkdir, str(target)),
    ):
        path = written(tmp_path, "gene2go.pkl", pickle.dumps({"KLF1": program}, protocol))
        with pytest.raises(InputError, match="asks for"):
            ontology.read_terms(path)
        assert not target.exists()
    pickle.loads(pickle.dumps(Program(os.mkdir, str(target))))
    assert target.exists(), "the program would have run in an ordinary reader"


@pytest.mark.parametrize(
    "value", [np.arange(3), collections.Counter("ab"), collections.defaultdict(set), object(), len]
)
def test_other_objects_in_pickles_are_refused(tmp_path, value):
    path = written(tmp_path, "x.pkl", pickle.dumps({"KLF1": value}))
    with pytest.raises(InputError):
        ontology.read_plain_pickle(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>403</html>",
        pickle.dumps({"A": {"x"}})[:-3],
        pickle.dumps(b"bytes"),
        b"cbuiltins\nset\n.",
    ],
)
def test_damaged_pickles(tmp_path, content):
    with pytest.raises(InputError):
        ontology.read_plain_pickle(written(tmp_path, "x.pkl", content))


@pytest.mark.parametrize("content", [["KLF1"], {"KLF1": "GO:1"}, {1: {"GO:1"}}, {"KLF1": {1}}])
def test_pickles_of_another_shape(tmp_path, content):
    with pytest.raises(InputError, match="expected"):
        ontology.read_terms(written(tmp_path, "x.pkl", pickle.dumps(content)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.gaf", GAF + "a\tb\n", "line 6"),
        ("x.gaf", GAF.replace("GO:2", "two"), "line 3"),
        ("x.gaf", "<!DOCTYPE html>\n<html>\n", "line 1"),
        ("x.gaf", "!only a comment\n", "no annotation"),
        ("x.gaf", b"\xff\xfe", "cannot be read"),
        ("x.gaf.gz", b"", "no annotation"),
        ("x.gmt", "GO:1\t\tA\nGO:2\n", "line 2"),
        ("x.obo", "format-version: 1.2", "expected|give a file"),
    ],
)
def test_malformed_annotations(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        ontology.read_terms(written(tmp_path, name, content))


def test_truncated_gzip_missing_file_and_unknown_aspect(tmp_path):
    path = tmp_path / "x.gaf.gz"
    path.write_bytes(gzip.compress(GAF.encode())[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        ontology.read_gaf(path)
    with pytest.raises(InputError, match="cannot be read"):
        ontology.read_gaf(tmp_path / "none.gaf")
    with pytest.raises(InputError, match="expected some of"):
        ontology.read_gaf(written(tmp_path, "y.gaf", GAF), aspects="Q")


@pytest.mark.parametrize("name", ["edges.csv", "edges.csv.gz"])
def test_edges(tmp_path, name):
    path = written(tmp_path, name, "weight,source,target,importance\n9,A,B,0.5\n\n9,B,A,1e-2\n")
    assert ontology.read_edges(path) == [("A", "B", 0.5), ("B", "A", 0.01)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source,target\nA,B\n", "line 1 .* importance"),
        ("source,target,importance\nA,B,0.5\nA,B\n", "line 3"),
        ("source,target,importance\nA,,0.5\n", "line 2"),
        ("source,target,importance\nA,B,high\n", "line 2"),
        ("source,target,importance\nA,B,-1\n", "line 2"),
        ("source,target,importance\nA,B,nan\n", "line 2"),
        ("", "line 1"),
    ],
)
def test_malformed_edges(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        ontology.read_edges(written(tmp_path, "edges.csv", content))
