"""Graphs that belong to a data set."""

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.nn import graphs

TERMS = {"A": {"t1", "t2"}, "B": {"t1", "t2"}, "G3": {"t2"}, "Z": {"t9"}}


@pytest.fixture
def split(screen, labels):
    return data.add_split(data.read(screen(labels)), kind="none")


def test_graphs_go_from_the_data_to_the_spec(split, tmp_path):
    (tmp_path / "own.csv").write_text("source,target,importance\nA,B,0.5\n")
    linked = data.add_graphs(
        split, terms=TERMS, edges={"own": tmp_path / "own.csv", "two": [("B", "A", 1.0)]}
    )
    assert list(linked.graphs) == ["coexpression", "ontology", "own", "two"]
    assert data.make_spec(linked).graphs is linked.graphs
    assert linked.graphs["coexpression"].names == linked.genes
    # As published the nodes are perturbed and measured genes that are annotated.
    assert linked.graphs["ontology"].names == ("A", "B", "G3")
    assert any("graph own: 2 genes, 1 edges" in note for note in linked.notes)
    for nodes, names in (
        ("perturbed", ("A", "B")),
        ("annotated", tuple(TERMS)),
        (["Z"], ("A", "B", "Z")),
    ):
        made = data.add_graphs(split, terms=TERMS, nodes=nodes, coexpression=False)
        assert made.graphs["ontology"].names == tuple(sorted(names)) and list(made.graphs) == [
            "ontology"
        ]


def test_cells_of_genes_without_annotation_are_dropped_and_named(split):
    kept = data.drop_unannotated(split, {"A": {"t1"}})
    assert set(kept.conditions) == {"ctrl", "A+ctrl"} and kept.treatments == ("A",)
    assert "perturbed genes without annotation (B)" in kept.notes[-1]
    assert data.drop_unannotated(split, TERMS) is split


def test_what_cannot_be_linked_is_one_sentence(split):
    with pytest.raises(
        InputError, match="graphs.nodes is 'all', expected one of perturbed, measured, annotated"
    ):
        data.add_graphs(split, terms=TERMS, nodes="all", coexpression=False)
    with pytest.raises(InputError, match="none of the 2 perturbed genes .*graphs.ontology"):
        data.drop_unannotated(split, {"Q": {"t"}})
    with pytest.raises(InputError, match="'ontology', which is taken"):
        data.add_graphs(split, coexpression=False, edges={"ontology": []})
    with pytest.raises(InputError, match="1 genes have no annotation .Q"):
        data.add_graphs(split, terms=TERMS, nodes=["Q"], coexpression=False)


def test_constant_genes_and_dense_matrices(screen, labels):
    import scipy.sparse

    adata = screen(labels)
    adata.X = scipy.sparse.csr_matrix(adata.X.toarray() * (np.arange(12) != 5))
    dense = adata.copy()
    dense.X = adata.X.toarray()
    made = [
        data.add_graphs(data.add_split(data.read(a), kind="none"), correlation=0.0)
        for a in (adata, dense)
    ]
    one, other = (graphs.edges_of(each.graphs["coexpression"].graph) for each in made)
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
    assert 5 not in one.receivers and 5 not in one.senders


def test_simulated_terms_link_targets_of_one_pathway():
    _, truth = data.simulate("tiny", cells=100, genes=120)
    terms = data.simulated_terms(truth)
    graph = graphs.ontology(tuple(truth.treatments), terms)
    edges = graphs.edges_of(graph.graph)
    different = edges.senders != edges.receivers
    pathway = truth.pathway
    same = pathway[edges.senders[different]] == pathway[edges.receivers[different]]
    weights = edges.weights[different]
    assert weights[same].mean() > 2 * weights[~same].mean() > 0
