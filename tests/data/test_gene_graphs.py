"""Graphs that belong to a data set: from correlations, annotations and a user's edges."""

import numpy as np
import pytest
from scipy import sparse

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import gene_graphs
from jaxpert.nn import graphs
from support.dense_graph import dense

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
    adata = screen(labels)
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(12) != 5))
    filled = adata.copy()
    filled.X = adata.X.toarray()

    def edges(source):
        dataset = data.add_split(data.read(source), kind="none")
        linked = data.add_graphs(dataset, correlation=0.0)
        return graphs.edges_of(linked.graphs["coexpression"].graph)

    for first, second in zip(edges(adata), edges(filled), strict=True):
        np.testing.assert_array_equal(first, second)
    assert 5 not in edges(adata).receivers and 5 not in edges(adata).senders


def test_simulated_terms_link_targets_of_one_pathway():
    _, truth = data.simulate("tiny", cells=100, genes=120)
    terms = data.simulated_terms(truth)
    graph = gene_graphs.ontology(tuple(truth.treatments), terms)
    edges = graphs.edges_of(graph.graph)
    different = edges.senders != edges.receivers
    pathway = truth.pathway
    same = pathway[edges.senders[different]] == pathway[edges.receivers[different]]
    weights = edges.weights[different]
    assert weights[same].mean() > 2 * weights[~same].mean() > 0


def test_correlations_of_constant_signed_and_equal_genes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    x = np.stack([a, -a, a, np.full(50, 0.1), np.zeros(50), rng.normal(size=50)], 1)
    names = list("abcdef")
    absolute = dense(gene_graphs.coexpression(names, lambda: [x], threshold=0.5).graph)
    np.testing.assert_allclose(absolute[:3, :3], 1, atol=1e-6)
    assert not absolute[3:5].any() and absolute[5, 5] == 1
    signed = dense(gene_graphs.coexpression(names, lambda: [x], threshold=0.5, signed=True).graph)
    np.testing.assert_allclose(signed[:3, :3], [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-6)
    with pytest.raises(InputError, match="at least 2"):
        gene_graphs.coexpression(names, lambda: [x[:1]])


def test_correlations_equal_numpys():
    x = sparse.random(300, 40, 0.3, "csr", rng=np.random.default_rng(0))
    got = dense(
        gene_graphs.coexpression(
            [str(i) for i in range(40)], lambda: [x], neighbours=40, threshold=0.0
        ).graph
    )
    expected = np.abs(np.corrcoef(x.toarray(), rowvar=False))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_annotations():
    terms = {"a": {"1", "2"}, "b": {"2", "3"}, "c": {"9"}, "other": {"1", "2"}}
    got = dense(gene_graphs.ontology(["a", "b", "c", "bare"], terms).graph)
    np.testing.assert_allclose(
        got, [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    )
    assert not len(graphs.edges_of(gene_graphs.ontology(["bare"], terms).graph).senders)
