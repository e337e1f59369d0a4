"""Annotations of the simulated targets: their pathways show, with the stated errors."""

import numpy as np
import pytest

from jaxpert.simulate import simulated_terms, write_edges, write_gmt
from jaxpert.simulate.screen import draw_generators
from jaxpert.simulate.settings import resolve


@pytest.fixture(scope="module")
def truth():
    """Of the demo, without counts and expected means."""
    return draw_generators(resolve("demo", {}), 0)


def read_gmt(path):
    """Term -> members."""
    terms = {}
    for line in path.read_text().splitlines():
        name, _, *members = line.split("\t")
        terms[name] = set(members)
    return terms


def read_edges(path):
    return [line.split(",") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("wrong", "missing"), [(0.0, 0.0), (0.2, 0.3)])
def test_annotations_have_the_stated_errors(truth, tmp_path, wrong, missing):
    write_gmt(truth, tmp_path / "terms.gmt", wrong=wrong, missing=missing)
    terms = read_gmt(tmp_path / "terms.gmt")
    pathway_of = dict(zip(truth.treatments, truth.pathway, strict=True))
    right = written = 0
    for name, members in terms.items():
        if name.startswith("pathway"):
            number = int(name.split()[1]) - 1
            right += sum(pathway_of[member] == number for member in members)
            written += len(members)
    assert right / (6 * (truth.pathway >= 0).sum()) == pytest.approx(1 - missing, abs=0.02)
    assert 1 - right / written == pytest.approx(wrong, abs=0.02)
    assert set(truth.treatments[truth.pathway < 0]) <= set().union(*terms.values())


def test_terms_in_memory_are_those_of_the_file(truth, tmp_path):
    write_gmt(truth, tmp_path / "terms.gmt")
    file = read_gmt(tmp_path / "terms.gmt")
    for target, terms in simulated_terms(truth).items():
        assert terms == {name for name, members in file.items() if target in members}


def test_edges_show_the_pathways(truth, tmp_path):
    pathway_of = dict(zip(truth.treatments, truth.pathway, strict=True))
    write_edges(truth, tmp_path / "edges.csv", wrong=0.0, missing=0.0)
    header, *edges = read_edges(tmp_path / "edges.csv")
    assert header == ["source", "target", "importance"]
    assert all(s == t or pathway_of[s] == pathway_of[t] for s, t, _ in edges)
    write_edges(truth, tmp_path / "edges.csv")
    _, *edges = read_edges(tmp_path / "edges.csv")
    inside = np.mean([pathway_of[s] == pathway_of[t] for s, t, _ in edges if s != t])
    assert 0.2 < inside < 1
