"""Other names of genes: synonyms of a GAF file, a user's table, a column; ambiguous ones."""

import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data import aliases
from jaxpert.data.aliases import annotate, linked, read_aliases, resolve
from jaxpert.data.ontology import read_annotations


def gaf(*rows):
    lines = ["!gaf-version: 2.2"]
    for symbol, term, synonyms in rows:
        cells = ["UniProtKB", "P1", symbol, "involved_in", term, "PMID:1", "IDA", "", "P", ""]
        lines.append("\t".join([*cells, synonyms, "protein", "taxon:9606", "20200101", "GO"]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "go.gaf"
    path.write_text(
        gaf(
            ("MARCHF8", "GO:1", "MARCH8|RNF178"),
            ("SEPTIN9", "GO:2", "SEPT9|MSF"),
            ("DELEC1", "GO:3", "DEC1"),
            ("BHLHE40", "GO:4", "DEC1|STRA13"),
            ("KLF1", "GO:5", ""),
        )
    )
    return read_annotations(path)


def dataset_of(screen, *names, **table):
    labels = ["ctrl"] * 4 + [f"{name}+ctrl" for name in names for _ in range(3)]
    adata = screen(labels)
    for column, values in table.items():
        adata.var[column] = [*values, *["other"] * (12 - len(values))]
    return data.read(adata)


def test_synonyms_of_the_annotation_are_used_and_ambiguous_ones_named(screen, annotations):
    dataset = dataset_of(screen, "MARCH8", "SEPT9", "DEC1", "KLF1")
    before = len(dataset.notes)
    dataset, terms = annotate(dataset, annotations.terms, annotations.aliases)
    assert terms == {
        "MARCH8": {"GO:1"},
        "SEPT9": {"GO:2"},
        "KLF1": {"GO:5"},
        "DELEC1": {"GO:3"},
        "BHLHE40": {"GO:4"},
    }
    same, several = dataset.notes[before:]
    assert (
        same == "2 genes have another name in the annotation: MARCH8 is MARCHF8, SEPT9 is SEPTIN9"
    )
    assert several.startswith("ATTENTION: 1 genes may be several in the annotation")
    assert "DEC1 (BHLHE40, DELEC1)" in several and "graphs.aliases" in several


def test_a_users_table_goes_before_synonyms(screen, annotations, tmp_path):
    path = tmp_path / "names.csv"
    path.write_bytes("\ufeffmine;theirs\r\nDEC1;DELEC1\r\nOLD1|OLD2;KLF1\r\n".encode())
    table = read_aliases(path)
    assert table["OLD2"] == {"KLF1"}
    dataset = dataset_of(screen, "DEC1", "OLD2", "SEPT9")
    dataset, terms = annotate(dataset, annotations.terms, table, annotations.aliases)
    assert terms["DEC1"] == {"GO:3"} and terms["OLD2"] == {"GO:5"} and terms["SEPT9"] == {"GO:2"}
    assert not any("ATTENTION" in note and "several" in note for note in dataset.notes)


def test_a_known_name_is_never_replaced():
    known = {"A", "B"}
    resolved = resolve(["A", "a1", "C"], known, linked([("A", "B"), ("a1", "B"), ("C", "D")]))
    assert resolved == ({"a1": "B"}, {})


def test_files_that_are_no_aliases(screen, tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("a,b\nA1\n")
    with pytest.raises(InputError, match="line 2 of .*two columns"):
        read_aliases(path)
    dataset = dataset_of(screen, "A", symbol=["KLF1"])
    with pytest.raises(InputError, match="graphs.aliases is 'symbl'.*symbol"):
        aliases.aliases_of(dataset, "symbl")
    assert aliases.aliases_of(dataset, "symbol")["G0"] == {"KLF1"}


def test_edges_find_perturbed_genes_by_another_name(screen):
    dataset = dataset_of(screen, "MARCH8", "KLF1")
    dataset = data.add_graphs(
        dataset,
        edges={"mine": [("MARCHF8", "KLF1", 0.5), ("KLF1", "MARCHF8", 1.0)]},
        aliases=linked([("MARCH8", "MARCHF8")]),
        coexpression=False,
    )
    assert dataset.graphs["mine"].names == ("MARCH8", "KLF1")
    assert "1 genes have another name in graph mine: MARCH8 is MARCHF8" in dataset.notes


def test_what_would_annotate_more_genes_is_said(screen):
    terms = {"KLF1": {"GO:1"}, "GATA1": {"GO:1"}}
    dataset = dataset_of(screen, "G0", "G1", gene_name=["KLF1", "GATA1"])
    with pytest.raises(InputError, match="'gene_name' .* names 2 .*set graphs.aliases=gene_name"):
        data.drop_unannotated(dataset, terms)
    _, named = annotate(dataset, terms, aliases.aliases_of(dataset, "gene_name"))
    assert named == {"G0": {"GO:1"}, "G1": {"GO:1"}}
    mouse = dataset_of(screen, "Klf1", "Gata1")
    with pytest.raises(
        InputError, match=r"2 differ in upper and lower case alone \(Gata1 is GATA1"
    ):
        data.drop_unannotated(mouse, terms)
