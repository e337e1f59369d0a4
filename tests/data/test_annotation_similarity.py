"""Shared annotation of perturbed genes, from terms or from edges."""

from dataclasses import replace

import numpy as np

from jaxpert import data
from jaxpert.data.annotation_similarity import shared_annotation, similarity_of
from support import toy

TERMS = {"a": {"x", "y", "z"}, "b": {"y", "z", "w"}, "d": {"x"}}


def test_shared_terms_over_all_terms():
    """Jaccard indices by hand; a gene without terms is like none, itself included."""
    got = shared_annotation([TERMS["a"], TERMS["b"], (), TERMS["d"]])
    expected = [[1, 0.5, 0, 1 / 3], [0.5, 1, 0, 0], [0, 0, 0, 0], [1 / 3, 0, 0, 1]]
    np.testing.assert_allclose(got, expected)


def test_a_data_set_keeps_the_terms_of_its_perturbed_genes():
    dataset = toy.dataset()
    assert similarity_of(dataset) is None
    linked = data.add_graphs(dataset, terms=TERMS, nodes="perturbed", coexpression=False)
    assert set(linked.terms) == {"a", "b"}
    # "c" has none.
    np.testing.assert_allclose(similarity_of(linked), [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]])
    # Co-expression and the nearest neighbours alone are no annotation.
    assert similarity_of(replace(linked, terms={})) is None


def test_edges_of_the_user_stand_in_for_terms():
    edges = {"own": [("a", "b", 4.0), ("c", "a", 1.0), ("b", "elsewhere", 8.0)]}
    linked = data.add_graphs(toy.dataset(), edges=edges, coexpression=False)
    np.testing.assert_allclose(similarity_of(linked), [[0, 0.5, 0.125], [0.5, 0, 0], [0.125, 0, 0]])
