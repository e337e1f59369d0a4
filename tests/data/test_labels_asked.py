"""Names that are asked for, by the rules that the labels were read by."""

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data.labels_asked import (
    conditions_asked,
    known_names,
    listed,
    sets_asked,
    treatments_asked,
)
from jaxpert.data.perturbation_splits import custom
from jaxpert.data.splits import perturbed_genes


def asked(dataset, *names, **options):
    return [set(parts) for parts in treatments_asked(names, known_names(dataset), **options)]


@pytest.fixture
def read(screen):
    """Factory: distinct labels -> the data set of three cells each."""
    return lambda labels, **options: data.read(screen([*labels] * 3), **options)


@pytest.mark.parametrize(
    "separator, control, labels, names",
    [
        ("+", "ctrl", ["ctrl", "KLF1 + FAR2"], ["KLF1+FAR2", "FAR2 + KLF1", " FAR2+KLF1 "]),
        ("_", "ctrl", ["ctrl", "KLF1_FAR2"], ["FAR2_KLF1", "FAR2_ctrl_KLF1", "FAR2+KLF1"]),
        ("-", "non-targeting", ["non-targeting", "KLF1-FAR2"], ["FAR2-KLF1-non-targeting"]),
        ("|", "ctrl", ["ctrl", "KLF1|FAR2"], ["FAR2|KLF1", "FAR2|Ctrl|KLF1"]),
        ("--", "ctrl", ["ctrl", "KLF1--FAR2"], ["FAR2--KLF1", "FAR2 --KLF1"]),
        # Labels are read with one blank where they have several.
        ("  ", "ctrl", ["ctrl", "KLF1", "FAR2", "KLF1  FAR2"], ["FAR2  KLF1", "FAR2 KLF1"]),
        (" & ", "ctrl", ["ctrl", "KLF1 & FAR2"], ["FAR2 & KLF1"]),
        ("", "ctrl", ["ctrl", "KLF1", "FAR2"], ["FAR2+KLF1"]),
    ],
)
def test_any_order_with_every_separator(read, separator, control, labels, names):
    dataset = read(labels, separator=separator, control=control)
    for treatments in asked(dataset, *names):
        assert treatments == {"KLF1", "FAR2"}
    assert asked(dataset, control, control.upper()) == [set(), set()]


@pytest.mark.parametrize("separator", "+ _ - | ; , : / & . ~ # @ = % __ ::".split())
@pytest.mark.parametrize("singles", [True, False])
def test_the_other_order_is_the_same_condition_everywhere(read, separator, singles):
    """In predictions, custom splits and the lists of keys and flags."""
    pair, other = f"KLF1{separator}FAR2", f"FAR2{separator}KLF1"
    alone = ["KLF1", "FAR2", "SET"] if singles else []
    dataset = read(["ctrl", pair, *alone], separator=separator)
    known = known_names(dataset)
    assert asked(dataset, other, f"FAR2{separator}ctrl{separator}KLF1") == [{"KLF1", "FAR2"}] * 2
    lists = {"test": [other], "train": ["KLF1", "FAR2"] if singles else ["ctrl"]}
    assert custom(perturbed_genes(dataset), lists, dataset.label_rules).test == (pair,)
    # As a key's joined text was divided.
    assert listed(tuple(other.split(",")), known) == (other,)
    assert conditions_asked(listed((*other.split(","), "ctrl"), known), known) == [pair, "ctrl"]


def test_names_that_hold_the_separator(read):
    labels = ["NT", "KLF1", "HLA-A", "KLF1-HLA-A", "(R)-(-)-X"]
    dataset = read(labels, separator="-", control="NT")
    assert asked(dataset, "HLA-A-KLF1", "(R)-(-)-X-HLA-A") == [
        {"HLA-A", "KLF1"},
        {"(R)-(-)-X", "HLA-A"},
    ]
    # Genes of no cell are known to those who say so.
    (parts,) = sets_asked(["KLF1-HLA-DRA"], known_names(dataset), also=["HLA-DRA"])
    assert parts.names == ("KLF1", "HLA-DRA") and not parts.unknown


def test_guides_and_case_as_the_file_was_read(read):
    dataset = read(["NT_g1", "KLF1_g1", "KLF1_g2"], control="NT", guide_pattern=r"(.+)_g\d+")
    assert asked(dataset, "KLF1", "KLF1_g7", "NT_g9+KLF1_g1", "NT") == [
        *[{"KLF1"}] * 3,
        set(),
    ]
    strict = read(["ctrl", "KLF1"])
    with pytest.raises(InputError, match=r"'klf1', which no cell .* \(did you mean 'KLF1'"):
        asked(strict, "klf1")
    assert asked(read(["ctrl", "KLF1"], case="ignore"), "klf1+ctrl") == [{"KLF1"}]
    with pytest.raises(InputError, match="empty part"):
        asked(strict, "KLF1++KLF1")


def test_conditions_and_lists_with_commas(read):
    dataset = read(["DMSO", "2,3-DCPE", "N,N-dimethyltryptamine", "B"], control="DMSO")
    known = known_names(dataset)
    assert listed(("2", "3-DCPE"), known) == ("2,3-DCPE",)
    assert listed(("B", "2", "3-DCPE", "x"), known) == ("B", "2,3-DCPE", "x")
    assert conditions_asked(["b", "B+DMSO", "N,N-dimethyltryptamine"], known) == [
        None,
        "B",
        "N,N-dimethyltryptamine",
    ]


@pytest.mark.parametrize("separator", ["+", "_", "-", "|", "__"])
def test_custom_lists_in_any_order(read, separator):
    labels = [name.replace("+", separator) for name in ("ctrl", "A", "B", "A+B", "B+C", "C+ctrl")]
    dataset = read(labels, separator=separator)
    lists = {"train": ["A", f"ctrl{separator}B"], "test": [f"B{separator}A", f" C{separator} B"]}
    split = custom(perturbed_genes(dataset), lists, dataset.label_rules)
    assert split.test == (f"A{separator}B", f"B{separator}C")
    assert split.train == ("A", "B", "ctrl") and split.dropped == (f"C{separator}ctrl",)
    divided = data.add_split(dataset, kind="custom", lists=lists)
    tested = {dataset.conditions[c] for c in dataset.condition[divided.rows("test")]}
    assert tested == set(split.test)


def test_rows_of_treatments(read):
    from jaxpert.tasks.screen.figures import named_conditions
    from jaxpert.tasks.screen.predict import treatments_of

    dataset = read(["ctrl", "A", "B", "A_B"], separator="_")
    rows = treatments_of(dataset, ["B_A", "ctrl", "B+ctrl"])
    np.testing.assert_array_equal(rows, [[1, 1], [0, 0], [0, 1]])
    assert named_conditions(dataset, ("B_A", "B")) == [1, 2]
    with pytest.raises(InputError, match="evaluation.shown asks for 'C'"):
        named_conditions(dataset, ("C",))
