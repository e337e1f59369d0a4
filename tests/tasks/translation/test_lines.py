import anndata
import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.data.mapped import is_mapped
from jaxpert.tasks.translation.columns import address_genes, assign_columns
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import prepare
from support.line_screens import GENES, LINES, screen


@pytest.fixture(scope="module")
def pair():
    """Two files: the first has genes that the second lacks, in another order, and one perturbation
    in common."""
    first = screen({"K562": LINES["K562"]}, (*GENES, "only"), seed=1)
    two = screen({line: LINES[line] for line in ("RPE1", "T98G")}, ("other", *GENES[::-1]), seed=2)
    return first, two


def test_files_become_one_data_set_over_their_common_genes(pair):
    data = load_lines(list(pair))
    assert data.genes == tuple(sorted(GENES))
    assert data.conditions == ("A+B", "A+ctrl", "B+ctrl", "C+ctrl", "ctrl") and data.treatments == (
        "A",
        "B",
        "C",
    )
    expected = np.concatenate([adata[:, list(data.genes)].X.toarray() for adata in pair])
    np.testing.assert_array_equal(data.counts.toarray(), expected)
    assert data.counts.dtype == np.uint8 and data.counts.has_canonical_format
    text = np.concatenate([adata.obs["condition"] for adata in pair])
    np.testing.assert_array_equal(np.asarray(data.conditions)[data.condition], text)
    notes = " ".join(data.notes)
    assert "adata1 1, adata2 1" in notes and "1 of 3 perturbations are not" in notes


def test_files_on_disk_are_put_together_there(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxpert.data.mapped.ROWS", 7)
    paths = [tmp_path / "first.h5ad", tmp_path / "two.h5ad"]
    for adata, path in zip(pair, paths, strict=True):
        # A copy, since writing makes categories of texts.
        adata.copy().write_h5ad(path)
    for sources in (paths, [paths[0], pair[1]]):
        expected = load_lines(list(pair))
        found = load_lines(sources, counts="disk", folder=str(tmp_path))
        assert is_mapped(found.counts) and found.counts.dtype == expected.counts.dtype
        np.testing.assert_array_equal(found.counts.toarray(), expected.counts.toarray())


def test_lines_and_batches_are_integers_that_keep_their_names(pair):
    data = load_lines(list(pair))
    assert data.strata == ("K562", "RPE1", "T98G", "placeholder1", "placeholder2")
    line = np.concatenate([adata.obs["cell_type"] for adata in pair])
    np.testing.assert_array_equal(np.asarray(data.strata)[data.stratum], line)
    assert list(data.obs["line"]) == list(line) == list(data.obs["batch"])
    assert set(data.obs["file"]) == {"adata1", "adata2"}


def test_a_batch_column_is_a_file_a_line_and_a_batch():
    lanes = np.array(["NK", "noNK"])[np.arange(sum(sum(c.values()) for c in LINES.values())) % 2]
    adata = screen(lane=lanes, batch="mine")
    data = load_lines(adata, batch="lane", placeholders=0)
    assert data.strata == tuple(
        f"{line}/{lane}" for line in sorted(LINES) for lane in ("NK", "noNK")
    )
    assert set(data.obs["batch_in_file"]) == {"mine"}
    twice = load_lines([adata, screen(seed=3, lane="NK")], batch="lane", placeholders=0)
    assert (
        twice.strata[0] == "K562/NK@adata1"
        and twice.strata[-1] == "T98G/NK@adata2"
        and len(twice.strata) == 9
    )
    assert "K562/noNK" in twice.strata and (twice.stratum[: len(lanes)] == data.stratum).all()


def test_each_file_may_have_its_own_names(pair):
    first, two = pair[0].copy(), pair[1]
    first.obs = first.obs.rename(columns={"condition": "target"}).drop(columns="cell_type")
    first.obs["target"] = first.obs["target"].replace("ctrl", "non-targeting")
    named = {
        "perturbation": ["target", "condition"],
        "line": [None, "cell_type"],
        "control": ["non-targeting", "ctrl"],
    }
    data = load_lines([first, two], **named)
    assert data.conditions[data.control] == "non-targeting" and data.strata[0] == "adata1"
    assert (data.condition == data.control).sum() == 60 + 30 + 25


@pytest.mark.parametrize("control", [["ctrl", "NT"], ["NT", "ctrl"], ["ctrl", "N?"]])
def test_control_labels_of_all_files_count_inside_longer_labels(pair, control):
    one, two = (adata.copy() for adata in pair)
    two.obs["condition"] = two.obs["condition"].astype(str).str.replace("ctrl", "NT")
    data = load_lines([one, two], control=control)
    plain = load_lines(list(pair))
    assert data.treatments == plain.treatments == ("A", "B", "C")
    np.testing.assert_array_equal(
        data.condition_treatments[data.condition], plain.condition_treatments[plain.condition]
    )
    assert data.conditions[data.control] == control[0]
    assert any("control cells are those of" in note for note in data.notes)


def test_cells_without_a_label_are_left_out_on_request(pair):
    one, two = pair[0].copy(), pair[1]
    one.obs["condition"] = np.where(np.arange(one.n_obs) < 3, "NA", one.obs["condition"])
    with pytest.raises(InputError, match="3 of .* cells have no label"):
        load_lines([one, two])
    data = load_lines([one, two], missing="drop")
    whole = load_lines(list(pair))
    np.testing.assert_array_equal(data.counts.toarray(), whole.counts.toarray()[3:])
    assert list(data.obs["line"]) == list(whole.obs["line"])[3:]
    assert any("'NA' (3 cells)" in note for note in data.notes)


def test_cells_of_the_same_name_are_told_apart(pair):
    data = load_lines([pair[0], pair[0]])
    assert len(set(data.cells)) == len(data.cells) and data.cells[0] == "adata1/cell1_0"


def test_normalised_values_are_kept_as_they_are(pair):
    scaled = pair[0].copy()
    scaled.X = scaled.X.toarray() - 1.5
    data = load_lines(scaled, normalised=True)
    assert data.counts.dtype == np.float32
    np.testing.assert_array_equal(data.counts.toarray(), scaled[:, list(data.genes)].X)
    with pytest.raises(InputError, match="data.lognorm=given"):
        prepare(data)
    with pytest.raises(InputError, match="data.lognorm=log2_cp10k"):
        prepare(load_lines(pair[0]), lognorm="given")
    scaled.X[3, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        load_lines(scaled, normalised=True)


def test_targets_can_be_the_genes(pair):
    data = load_lines(list(pair), targets="genes")
    assert data.treatments == (*data.genes, "C")
    both = data.condition_treatments[data.conditions.index("A+B")]
    assert set(np.asarray(data.treatments)[both > 0]) == {"A", "B"}
    substring = address_genes(load_lines(screen(genes=(*GENES, "zzA"))), substring=True)
    marked = substring.condition_treatments[substring.conditions.index("A+ctrl")]
    assert (
        set(np.asarray(substring.treatments)[marked > 0]) == {"A", "zzA"}
        and "C" not in substring.treatments
    )


def test_new_batches_take_placeholder_columns_until_they_are_used_up(pair):
    trained = load_lines(pair[0])
    new = assign_columns(load_lines(pair[1]), trained.strata)
    assert new.strata == ("K562", "RPE1", "T98G") and set(new.stratum) == {1, 2}
    known = assign_columns(trained, new.strata)
    assert known.strata == new.strata and set(known.stratum) == {0}
    third = screen({"LP1": {"ctrl": 5, "A+ctrl": 5}}, seed=5)
    with pytest.raises(
        InputError, match=r"1 batches .* \(LP1\), .* free batch columns, 0: pre-train"
    ):
        assign_columns(load_lines(third), new.strata)


def foreign():
    adata = screen()
    adata.var_names = [f"ENSG{i}" for i in range(len(GENES))]
    return adata


@pytest.mark.parametrize(
    ("sources", "settings", "expected"),
    [
        ([screen(), foreign()], {}, r"no gene is in all of .*such as A, B.*such as ENSG0"),
        (
            screen({"K562": {"ctrl": 4, "A+ctrl": 4}, "LP1": {"A+ctrl": 3}}),
            {},
            r"1 lines have no control cell \(LP1\)",
        ),
        (screen(), {"line": "cell_typ"}, "did you mean 'cell_type'"),
        (screen(), {"control": "NT"}, "no cell has the control label 'NT'"),
        ([screen(), screen(seed=1)], {"line": ["cell_type"]}, "data.line names 1 for 2 files"),
        ([], {}, "there is no file"),
        (screen(), {"targets": "all"}, "expected one of perturbed, genes"),
        (
            screen().__class__(np.full((3, 2), 0.5, np.float32), obs=screen().obs[:3]),
            {},
            "the fraction 0.5",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(sources, settings, expected):
    with pytest.raises(InputError, match=expected) as error:
        load_lines(sources, **settings)
    assert "\n" not in str(error.value)


def test_norman_and_mcfaline_are_four_lines_with_nine_common_perturbations(real):
    names = ("norman2019_k562_combos_500g.h5ad", "mcfaline2023_gbm3lines_500g.h5ad")
    data = load_lines([real(name) for name in names])
    assert data.strata[:4] == ("K562", "A172", "T98G", "U87MG") and data.counts.shape == (5961, 500)
    pairs = set(zip(data.stratum.tolist(), data.condition.tolist(), strict=True))
    common = [
        c
        for c in range(len(data.conditions))
        if all((b, c) in pairs for b in range(4)) and c != data.control
    ]
    assert len(common) == 9 and "SGK1+ctrl" in [data.conditions[c] for c in common]
    source = anndata.read_h5ad(real(names[1]))
    np.testing.assert_array_equal(
        data.counts[3375:].toarray(), source[:, list(data.genes)].X.toarray()
    )
