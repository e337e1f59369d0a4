"""Labels: what is a control, a combination, a gene's guide, a missing label; the same whatever the
order of cells and parts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpert import data
from jaxpert.core.types import InputError, LabelRules
from jaxpert.data.labels import parse_labels, read_labels, rules_of


def treatments_of(labels):
    """Condition -> its treatments."""
    names = np.asarray(labels.treatments, object)
    table = labels.condition_treatments != 0
    return {c: set(names[row]) for c, row in zip(labels.conditions, table, strict=True)}


def parse(text, genes=(), **rules):
    return parse_labels(text, rules_of(**rules), genes)


def notes_of(labels):
    return " | ".join(labels.notes)


@pytest.mark.parametrize(
    "separator, control, text, expected",
    [
        # The control label holds the separator.
        (
            "-",
            "non-targeting",
            ["non-targeting", "KLF1-non-targeting", "KLF1-FAR2", "non-targeting-FAR2"],
            {"KLF1-non-targeting": {"KLF1"}, "KLF1-FAR2": {"KLF1", "FAR2"}},
        ),
        (
            "_",
            "non_targeting",
            ["non_targeting", "KLF1_non_targeting", "FAR2", "FAR2_KLF1"],
            {"KLF1_non_targeting": {"KLF1"}, "FAR2_KLF1": {"KLF1", "FAR2"}},
        ),
        # The longest control label counts.
        (
            "-",
            ["NT", "NT-safe"],
            ["NT", "NT-safe", "KLF1-NT-safe", "KLF1"],
            {"KLF1": {"KLF1"}, "NT": set()},
        ),
        # Names of genes hold the separator.
        (
            "-",
            "ctrl",
            ["ctrl", "KLF1", "HLA-A", "KLF1-HLA-A", "NKX2-1-ctrl", "NKX2-1-KLF1"],
            {
                "HLA-A": {"HLA-A"},
                "KLF1-HLA-A": {"KLF1", "HLA-A"},
                "NKX2-1-ctrl": {"NKX2-1"},
                "NKX2-1-KLF1": {"NKX2-1", "KLF1"},
            },
        ),
        # Separators of several characters, and within brackets.
        (
            "__",
            "non_targeting",
            ["non_targeting", "A_1", "B_2", "A_1__B_2"],
            {"A_1__B_2": {"A_1", "B_2"}},
        ),
        (
            "+",
            "DMSO",
            ["DMSO", "(+)-JQ1", "(+|-)-Atenolol", "Vorinostat", "Vorinostat+(+)-JQ1"],
            {
                "(+)-JQ1": {"(+)-JQ1"},
                "(+|-)-Atenolol": {"(+|-)-Atenolol"},
                "Vorinostat+(+)-JQ1": {"Vorinostat", "(+)-JQ1"},
            },
        ),
        ("|", "ctrl", ["ctrl", "[a|b]", "K|[a|b]", "K"], {"K|[a|b]": {"K", "[a|b]"}}),
        # Nothing to compare with: what users mean by A+B.
        ("+", "ctrl", ["ctrl", "KLF1 + FAR2"], {"KLF1 + FAR2": {"KLF1", "FAR2"}}),
        ("_", "ctrl", ["ctrl", "KLF1_FAR2"], {"KLF1_FAR2": {"KLF1", "FAR2"}}),
        # No label is split.
        ("", "ctrl", ["ctrl", "A+B"], {"A+B": {"A+B"}}),
    ],
)
def test_labels_are_divided_between_known_names(separator, control, text, expected):
    labels = parse(text, control=control, separator=separator)
    sets = treatments_of(labels)
    for condition, treatments in expected.items():
        assert sets[condition] == treatments
    assert set(labels.treatments) == set().union(*sets.values())
    assert not sets[labels.conditions[labels.control]]


def test_a_separator_that_joins_treatments_in_most_labels_joins_them_in_all():
    """Two pairs of the Norman screen hold genes that occur nowhere else."""
    singles = ["ctrl", "A", "B", "C"]
    several = parse([*singles, "A+B", "A+C", "B+C", "X+Y"])
    assert treatments_of(several)["X+Y"] == {"X", "Y"}
    assert several.decisions.assumed == ("X", "Y") and "'X', 'Y'" in several.notes[0]
    with pytest.raises(InputError, match=r"treatments nowhere else \('X\+Y'\)"):
        parse([*singles, "A+B", "A+C", "X+Y"])


def test_measured_genes_and_listed_names_are_known():
    text = ["ctrl", "KLF1", "KLF1-HOXA11-AS", "HLA-DRA"]
    genes = ["HOXA11-AS", "HLA-DRA", "KLF1"]
    sets = treatments_of(parse(text, genes, separator="-"))
    assert sets["KLF1-HOXA11-AS"] == {"KLF1", "HOXA11-AS"} and sets["HLA-DRA"] == {"HLA-DRA"}
    text = ["DMSO", "JQ1", "alpha+beta-glucan"]
    with pytest.raises(InputError, match=r"treatments nowhere else \('alpha\+beta-glucan'\)") as e:
        parse(text, control="DMSO")
    assert "data.treatments=alpha+beta-glucan" in str(e.value)
    whole = parse(text, control="DMSO", treatments=("alpha+beta-glucan",))
    assert whole.treatments == ("JQ1", "alpha+beta-glucan")
    apart = parse(text, control="DMSO", treatments=("alpha", "beta-glucan"))
    assert apart.treatments == ("JQ1", "alpha", "beta-glucan")
    with pytest.raises(InputError, match="empty part .* data.treatments=Ca2"):
        parse(["DMSO", "Ca2+"], control="DMSO")
    assert parse(["DMSO", "Ca2+"], control="DMSO", treatments=("Ca2+",)).treatments == ("Ca2+",)


def test_every_part_may_be_declared_a_treatment():
    text = ["NT", "KLF1", "AS1-HOXA11", "alpha+x y"]
    assert parse(text, control="NT", separator="-", treatments="*").treatments == (
        *("AS1", "HOXA11", "KLF1", "alpha+x y"),
    )
    assert parse(text, control="NT", treatments=("*",)).treatments == (
        *("AS1-HOXA11", "KLF1", "alpha", "x y"),
    )


def test_what_was_assumed_is_said():
    kept = parse(["ctrl", "KLF1", "MT-X1"], separator="-")
    assert kept.treatments == ("KLF1", "MT-X1") and kept.decisions.whole == ("MT-X1",)
    assert "one treatment each" in notes_of(kept) and "'MT-X1'" in notes_of(kept)
    divided = parse(["ctrl", "A+ctrl", "A+C", "B"])
    assert divided.treatments == ("A", "B", "C") and divided.decisions.assumed == ("C",)
    assert "in combinations alone" in notes_of(divided)
    other = parse(["ctrl", "A", "B", "A_B"])
    assert dict(other.decisions.other_separators) == {"_": ("A_B",)}
    assert "set data.separator=_" in notes_of(other)


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        ("_", ["DMSO_0", "JQ1_1uM", "JQ1_10uM", "BRD4_1uM", "BRD4_10uM"]),
        ("-", ["DMSO_0", "JQ1-0.5 nM", "JQ1-1 nM", "BRD4-1 nM"]),
        ("@", ["DMSO_0", "JQ1@0.5", "JQ1@1", "BRD4@1"]),
        ("_", ["DMSO_0", "IL6_24h", "IL6_48h", "TNF_24h"]),
        (" ", ["DMSO_0", "JQ1 10 %", "JQ1 20 %", "BRD4 10 %"]),
        ("+", ["DMSO_0", "JQ1@0.5", "JQ1@1", "BRD4@1"]),
    ],
)
def test_doses_and_times_are_parts_of_a_name(separator, text):
    """They would be treatments of their own, shared by all compounds."""
    labels = parse(text, control="DMSO_0", separator=separator)
    assert labels.treatments == tuple(sorted(text[1:]))
    assert labels.decisions.like_doses[-1] == tuple(sorted(text[1:3]))
    assert not labels.decisions.like_guides
    assert "look like doses or times of one treatment" in notes_of(labels)


def test_combinations_of_doses():
    text = ["DMSO", "JQ1_1uM", "JQ1_10uM", "BRD4_1uM", "JQ1_1uM_BRD4_1uM"]
    sets = treatments_of(parse(text, control="DMSO", separator="_"))
    assert sets["JQ1_1uM_BRD4_1uM"] == {"JQ1_1uM", "BRD4_1uM"}
    # A star passes separators where these part no treatments.
    timed = parse(["mock_24h", "mock_48h", "IL6_24h"], control="mock*", separator="_")
    assert timed.treatments == ("IL6_24h",)


@pytest.mark.parametrize(
    ("control", "pair"), [("NT_NT", "KLF1_NT"), ("NegCtrl0_NegCtrl10", "NegCtrl10_KLF1")]
)
def test_a_control_of_two_controls_says_what_its_parts_are(control, pair):
    text = [control, pair, "FAR2", "KLF1_FAR2"]
    labels = parse(text, control=control, separator="_")
    assert treatments_of(labels)[pair] == {"KLF1"} and labels.treatments == ("FAR2", "KLF1")
    # The parts of other control labels are no names of controls.
    other = parse(["non_targeting", "non", "KLF1"], control="non_targeting", separator="_")
    assert "non" in other.treatments


def test_several_control_labels_and_patterns():
    text = ["NT-1"] * 3 + ["NT-2"] * 4 + ["safe-harbor"] + ["KLF1"] * 2 + ["KLF1+NT-2"]
    labels = parse(text, control=["NT-*", "safe-harbor"])
    assert labels.conditions == ("KLF1", "NT-2") and labels.treatments == ("KLF1",)
    np.testing.assert_array_equal(np.bincount(labels.condition), [3, 8])
    assert dict(labels.decisions.controls) == {"NT-1": 3, "NT-2": 4, "safe-harbor": 1}
    assert "'NT-2' (4 cells), 'NT-1' (3 cells), 'safe-harbor' (1 cells)" in notes_of(labels)
    # A pattern does not reach over a separator.
    crossed = parse(["NT-1", "NT-1-KLF1", "KLF1"], control=["NT-*"], separator="-")
    assert treatments_of(crossed)["KLF1"] == {"KLF1"} and len(crossed.conditions) == 2
    # But where the separator parts no treatments, it does.
    numbered = parse(["non-targeting-2", "KLF1"], control="non-targeting*", separator="-")
    assert numbered.treatments == ("KLF1",)
    # Stars alone are a label (Adamson has one), not any text.
    assert parse(["*", "KLF1"], control="*").treatments == ("KLF1",)
    idle = parse(["ctrl", "KLF1"], control=["ctrl", "NTC"])
    assert "data.control names what is no label: 'NTC'" in notes_of(idle)
    # Without need of quotes, where a comma belongs to the label.
    assert parse(["a, b", "K"], control=("a", "b")).treatments == ("K",)


@pytest.mark.parametrize(
    "name",
    [
        *("NT", "ntc", "NT-2", "non-targeting", "Non Targeting_12", "safe-harbor", "safe_1"),
        *("DMSO", "DMSO 0.1 %", "vehicle", "scramble", "Scrambled", "intergenic", "INTERGENIC123"),
        *("AAVS1", "sg-NT_g1", "ctrl2", "CTRL_B", "negative control", "mock", "untreated", "LacZ"),
    ],
)
def test_names_like_controls_are_said(name):
    labels = parse(["control", name, "KLF1"], control="control", separator=None)
    assert labels.decisions.like_controls == (name,)
    assert "called like controls" in notes_of(labels)


@pytest.mark.parametrize(
    "name", ["NT5E", "SAFB", "CTRB1", "KLF1", "WTAP", "MOCOS", "GFPT1", "EVI5"]
)
def test_genes_are_not_like_controls(name):
    assert not parse(["ctrl", name]).decisions.like_controls


def test_case_and_blanks():
    text = ["ctrl"] * 3 + ["Ctrl", "CTRL ", "KLF1 + FAR2", "FAR2+KLF1", "FAR2+KLF1", "KLF1", "klf1"]
    labels = parse(text)
    assert labels.conditions == ("FAR2+KLF1", "KLF1", "ctrl", "klf1")
    assert np.bincount(labels.condition).tolist() == [3, 1, 5, 1]
    assert labels.decisions.near_duplicates == (("KLF1", "klf1"),)
    assert "'KLF1' and 'klf1'" in notes_of(labels)
    assert "'KLF1 + FAR2' into 'FAR2+KLF1'" in notes_of(labels)
    joined = parse(text, case="ignore")
    assert joined.treatments == ("FAR2", "KLF1")
    assert joined.conditions == ("FAR2+KLF1", "KLF1", "ctrl")
    # The control is named as data.control says, where a label is written so.
    assert parse(["NT ", "A"], control="NT").conditions == ("A", "NT")


@pytest.mark.parametrize(
    "word",
    [
        *("NA", "None", "<NA>", "unassigned", "nan", "n/a", "Unknown", "NULL", "", "not assigned"),
        *("None_None", "NA|NA", "N.D.", "multiple", "None+None", "ambient"),
    ],
)
def test_words_for_missing(word):
    text = ["ctrl"] * 3 + [word] * 2 + ["KLF1"]
    with pytest.raises(InputError, match="2 of 6 cells have no label") as caught:
        parse(text)
    assert repr(word) in str(caught.value) and "data.missing=drop" in str(caught.value)
    dropped = parse(text, missing="drop")
    assert dropped.conditions == ("KLF1", "ctrl") and len(dropped.condition) == 4
    assert dropped.kept.tolist() == [True] * 3 + [False] * 2 + [True]
    assert "2 of 6 cells were left out" in notes_of(dropped)
    assert dict(dropped.decisions.dropped) == {word: 2}
    # Where it is the label of control cells, it is none of these.
    if word:
        assert parse(text, control=word).treatments == ("KLF1", "ctrl")
    if word not in ("", "nan"):
        kept = parse(text, missing="keep")
        assert word in kept.treatments and "means a missing label" in notes_of(kept)
    else:
        with pytest.raises(InputError, match="have no label"):
            parse(text, missing="keep")


def test_missing_parts_and_missing_values(screen):
    with pytest.raises(InputError, match="1 of 3 cells have no label"):
        parse(["ctrl", "KLF1", "KLF1+NA"])
    assert parse(["ctrl", "KLF1", "KLF1+NA"], missing="drop").conditions == ("KLF1", "ctrl")
    adata = screen(["ctrl"] * 6 + ["A"] * 6, line=["x", None] * 6)
    adata.obs["condition"] = adata.obs["condition"].where(adata.obs_names != "cell7")
    dataset = data.read(adata, missing="drop")
    assert "cell7" not in dataset.cells and dataset.counts.shape[0] == 11
    np.testing.assert_array_equal(dataset.counts.toarray(), adata.X.toarray()[np.arange(12) != 7])
    with pytest.raises(InputError, match="have no label in column 'line'"):
        data.read(adata, missing="drop", stratum="line")


def test_genes_of_guides():
    text = ["KLF1_g1", "KLF1_g2", "NT_g1", "NT_g2", "FAR2_g1+KLF1_g2", "FAR2_g1"]
    labels = parse(text, control="NT_g1")
    assert labels.decisions.like_guides == (("KLF1_g1", "KLF1_g2"),)
    assert r"data.guide_pattern='(.+)_g\d+'" in notes_of(labels)
    assert labels.decisions.like_controls == ("NT_g2",)
    for control in ("NT", "NT_*", ("NT_g1", "NT_g2")):
        joined = parse(text, control=control, guide_pattern=r"(.+)_g\d+")
        assert treatments_of(joined) == {
            "KLF1": {"KLF1"},
            "FAR2": {"FAR2"},
            "FAR2+KLF1": {"FAR2", "KLF1"},
            joined.conditions[joined.control]: set(),
        }
        assert np.bincount(joined.condition)[joined.control] == 2
    # A guide's name may hold the separator.
    split = parse(
        ["NT_g1", "KLF1_g1", "KLF1_g2"], control="NT", separator="_", guide_pattern=r"(.+)_g\d"
    )
    assert split.treatments == ("KLF1",)
    for guides, tail in (
        (["KLF1-1", "KLF1-2", "FAR2-1"], r"[- ]\d+"),
        (["sgKLF1 1", "sgKLF1 2"], r"[- ]\d+"),
        (["KLF1_ACGTAC", "KLF1_GGGTTT", "FAR2_ACGTCC"], "[_-][ACGT]{6,}"),
        (["KLF1_+_559.23-P1P2", "KLF1_-_7.23-P1", "FAR2_+_1.23-P1"], r"_[+-]_\d+\.\d+-\S+"),
        (["KLF1_a", "KLF1_b"], "_[a-hA-H]"),
    ):
        by_tail = parse(["NT", *guides], control="NT")
        assert by_tail.decisions.like_guides == (tuple(sorted(guides[:2])),)
        assert f"data.guide_pattern='(.+){tail}' would join them" in notes_of(by_tail)
        joined = parse(["NT", *guides], control="NT", guide_pattern=f"(.+){tail}")
        assert len(joined.treatments) == len(guides) - 1
    families = ["NKX2-1", "NKX2-5", "KLF1", "FAR2", "HLA-A", "HLA-B"]
    assert not parse(["NT", *families], control="NT").decisions.like_guides
    short = parse(["NTg1", "NTg2", "ATF2g1", "ATF2g2"], control="NTg1")
    assert short.decisions.like_guides == (("ATF2g1", "ATF2g2"),)
    assert short.decisions.like_controls == ("NTg2",)
    assert r"data.guide_pattern='(.+)g\d+'" in notes_of(short)
    for pattern, problem in (
        ("(.+)_x", "no label .* is like"),
        ("(", "no regular"),
        (".+", "0 groups"),
    ):
        with pytest.raises(InputError, match=problem):
            parse(text, control="NT_g1", guide_pattern=pattern)


def test_numbers_are_labels(screen):
    adata = screen(["x"] * 12, dose=np.repeat([0.0, 1.0, 2.0], 4))
    for values in (
        adata.obs["dose"],
        adata.obs["dose"].astype("category"),
        adata.obs["dose"].astype(object),
    ):
        adata.obs["number"] = values
        for control in ("0", "0.0"):
            dataset = data.read(adata, perturbation="number", control=control)
            assert dataset.conditions == ("0", "1", "2") and dataset.control == 0


def test_without_control_cells_the_likely_labels_are_named():
    with pytest.raises(InputError, match=r"'KLF1' \(2 cells\).*'NTC' \(1 cells\) are called like"):
        parse(["KLF1", "KLF1", "NTC"])


def test_settings_out_of_range():
    for rules, problem in (
        ({"case": "fold"}, "data.case is 'fold', expected one of keep, ignore"),
        ({"missing": "skip"}, "data.missing"),
        ({"control": ()}, "data.control is empty"),
    ):
        with pytest.raises(InputError, match=problem):
            parse(["ctrl", "A"], **rules)
    with pytest.raises(TypeError, match="colour"):
        parse(["ctrl"], colour="red")


NAMES = st.sampled_from(["A", "B", "C", "HLA-A", "ctrl", "NT-1", "(+)-X"])
LABELS = st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(LABELS, st.randoms(use_true_random=False))
def test_no_order_matters_and_every_cell_has_one_condition(labels, random):
    """Cells in another order, and parts of labels too, come to the same treatments."""
    singles = [["A"], ["B"], ["C"], ["HLA-A"], ["(+)-X"], ["ctrl"]]
    cells = [*singles, *labels]
    text = ["+".join(parts) for parts in cells]
    parsed = parse(text, control=("ctrl", "NT-1"))
    sets = treatments_of(parsed)
    for parts, condition in zip(cells, parsed.condition, strict=True):
        assert sets[parsed.conditions[condition]] == set(parts) - {"ctrl", "NT-1"}
    assert len(set(parsed.conditions)) == len(parsed.conditions)
    order = list(range(len(cells)))
    random.shuffle(order)
    mixed = ["+".join(random.sample(cells[i], len(cells[i]))) for i in order]
    again = parse(mixed, control=("ctrl", "NT-1"))
    other = treatments_of(again)
    assert again.treatments == parsed.treatments
    for place, i in enumerate(order):
        same = sets[parsed.conditions[parsed.condition[i]]]
        assert other[again.conditions[again.condition[place]]] == same


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ABab+-_. ()0ctrl", min_size=1, max_size=8), max_size=8))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    for separator in ("+", "-", "_", ""):
        try:
            labels = parse([*text, "ctrl"], separator=separator, missing="drop")
        except InputError as error:
            assert "\n" not in str(error)
            continue
        assert len(set(labels.conditions)) == len(labels.conditions)
        assert labels.condition_treatments[labels.control].sum() == 0
        assert (labels.condition_treatments.sum(0) > 0).all()


def test_read_labels_needs_no_counts():
    import pandas as pd

    obs = pd.DataFrame({"gene": ["ctrl", "A+ctrl", "B"]}, index=list("xyz"))
    labels = read_labels(obs, LabelRules(perturbation="gene"))
    assert labels.treatments == ("A", "B") and labels.rules.perturbation == "gene"
    for order in itertools.permutations(range(3)):
        assert read_labels(obs.iloc[list(order)], labels.rules).conditions == labels.conditions
