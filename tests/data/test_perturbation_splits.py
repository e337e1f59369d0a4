"""Splits by perturbation: what holds for any screen, sets of three and more, bad settings, and the
cells behind it."""

import json
import pickle

import numpy as np
import pytest

from jaxpert import data
from jaxpert.core.types import InputError
from jaxpert.data.perturbation_groups import groups_of, names_of
from jaxpert.data.perturbation_splits import KINDS, custom, split_conditions
from jaxpert.data.split_audit import audit, audit_notes
from jaxpert.evaluation import compare as benchmark
from support.gene_sets import gene_sets

GENES = [f"G{i:02d}" for i in range(20)]


def conditions(seed):
    """Control, singles of 18 genes written in three ways, 40 pairs and 12 triples, in random
    order."""
    rng = np.random.default_rng(seed)
    names = [[f"{g}+ctrl", f"ctrl+{g}", g][i % 3] for i, g in enumerate(GENES[:18])]
    sets = {tuple(sorted(rng.choice(20, 2 if i < 40 else 3, replace=False))) for i in range(52)}
    names += ["+".join(GENES[i] for i in chosen) for chosen in sorted(sets)]
    return gene_sets(["ctrl", *rng.permutation(names).tolist()])


@pytest.fixture
def file_of(screen):
    """Factory: cells of each condition -> a screen as it is read."""
    return lambda cells: data.read(screen([name for name, n in cells.items() for _ in range(n)]))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "simulation_single"])
def test_every_condition_is_in_one_part(kind, seed):
    genes = conditions(seed)
    split = split_conditions(kind, genes, seed)
    parts = [*split.train, *split.val, *split.test, *split.dropped]
    assert sorted(parts) == sorted(genes)
    assert ("ctrl" in split.train) == (kind != "no_split")
    assert all(set(members) <= set(split.test) for members in split.groups.values())
    assert not split.groups or sum(map(len, split.groups.values())) == len(split.test)
    assert split_conditions(kind, genes, seed) == split


@pytest.mark.parametrize("seed", range(5))
def test_simulation_depends_on_no_order_and_leaks_no_gene(seed):
    genes = conditions(seed)
    split = split_conditions("simulation", genes, seed)
    assert split_conditions("simulation", dict(sorted(genes.items())), seed) == split
    trained, before_test = (
        set(names_of(genes, names)) for names in (split.train, (*split.train, *split.val))
    )
    for groups, known in ((split.groups, before_test), (split.val_groups, trained)):
        for group, members in groups.items():
            most = (
                0
                if group == "unseen_single"
                else int(group.removeprefix("combo_seen").split("of")[0])
            )
            assert all(len(genes[name] & known) <= most for name in members)
    assert (
        split.groups["unseen_single"]
        and split.groups["combo_seen1"]
        and any("of3" in group for group in split.groups)
    )
    assert split_conditions("simulation", genes, seed + 100) != split


@pytest.mark.parametrize("seed", range(3))
def test_drawn_genes_stay_out_of_training(seed):
    genes = conditions(seed)
    for kind in ("combo_seen0", "combo_seen1", "single"):
        split = split_conditions(kind, genes, seed, share=0.3)
        tested = names_of(genes, [name for name in split.test if len(genes[name]) == 1])
        assert tested and not set(tested) & set(names_of(genes, (*split.train, *split.val)))
        assert bool(split.dropped) == (kind != "combo_seen1")
    assert all(len(genes[name]) > 1 for name in split_conditions("combo_seen2", genes, seed).test)


def test_groups_of_larger_sets():
    genes = gene_sets(["ctrl", "A", "A+B", "A+C", "C+D", "A+B+C", "C+D+E", "A+B+C+D"])
    groups = groups_of(genes, [name for name in genes if name not in ("ctrl", "A")], "AB")
    assert groups == {
        "combo_seen0": ("C+D",),
        "combo_seen1": ("A+C",),
        "combo_seen2": ("A+B",),
        "unseen_single": (),
        "combo_seen2of3": ("A+B+C",),
        "combo_seen0of3": ("C+D+E",),
        "combo_seen2of4": ("A+B+C+D",),
    }


def test_genes_that_must_be_unseen():
    genes = conditions(0)
    for only in (False, True):
        split = split_conditions(
            "simulation", genes, 1, test_perts=("G01", "G02"), only_test_set_perts=only
        )
        unseen = set(names_of(genes, split.groups["unseen_single"]))
        assert {"G01", "G02"} <= unseen and (unseen == {"G01", "G02"}) == only


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        ("simulation", {"gene_share": 1.5}, "gene_share is 1.5, expected a share"),
        (
            "simulation",
            {"test_perts": ("XX",)},
            "genes XX are to be held out but perturbed nowhere",
        ),
        ("simulation", {"only_test_set_perts": True}, "without test_perts"),
        ("simulation_single", {}, "have two genes or more .* set split.kind=simulation"),
    ],
)
def test_impossible_settings(kind, settings, message):
    with pytest.raises(InputError, match=message):
        split_conditions(kind, conditions(0), 1, **settings)


def test_cells_follow_their_condition(file_of):
    cells = {name: 4 for name in conditions(3)} | {"ctrl": 20}
    dataset = data.add_split(file_of(cells), kind="simulation", seed=2)
    for c in range(len(dataset.conditions)):
        assert len(set(dataset.split[dataset.condition == c])) == 1
    subsets = benchmark.subsets(dataset)
    grouped = [c for name in dataset.subgroups for c in subsets.get(name, ())]
    assert sorted(grouped) == sorted(subsets["test"])
    audited = audit(dataset)
    assert (
        audited.crossing
        and not audited.shared
        and not set(audited.crossing) & set(audited.untrained)
    )
    empty = [name for name, members in dataset.subgroups.items() if not members]
    assert not any(name in subsets for name in empty)
    assert any("genes are perturbed in both train and test: " in note for note in dataset.notes)
    with pytest.raises(TypeError, match="gene_sahre"):
        data.add_split(dataset, kind="simulation", gene_sahre=0.5)
    with pytest.raises(TypeError, match="'cells' takes no gene_share"):
        data.add_split(dataset, kind="cells", gene_share=0.5)


def test_order_of_cells_not_of_names_decides(file_of):
    names = ["ctrl", *(f"{a}+{b}" for a in "EDCBA" for b in "JIHGF"), *"EDCBA"]
    genes = gene_sets(names)
    dataset = data.add_split(file_of(dict.fromkeys(names, 3)), kind="combo_seen2", seed=1)
    tested = sorted({dataset.conditions[c] for c in dataset.condition[dataset.rows("test")]})
    assert tuple(tested) == split_conditions("combo_seen2", genes, 1).test
    assert tuple(tested) != split_conditions("combo_seen2", dict(sorted(genes.items())), 1).test


def test_few_perturbations(file_of):
    few = file_of({"ctrl": 9, "A+ctrl": 5, "B+ctrl": 1, "C+ctrl": 5, "A+B": 5})
    dataset = data.add_split(few, kind="simulation", seed=1, gene_share=0.7)
    notes = " ".join(dataset.notes)
    assert "1 conditions have a single cell" in notes and "B+ctrl" in notes
    assert not len(dataset.rows("val")) or "validation is empty" not in notes
    with pytest.raises(
        InputError, match=r"no cell into test \(.*too few perturbations.*split.kind"
    ):
        data.add_split(few, kind="combo_seen2")
    with pytest.raises(InputError, match="no cell into val .*too few"):
        data.add_split(few, kind="no_test")


def test_empty_validation_is_said_and_is_no_error(file_of):
    cells = {"ctrl": 9} | {f"{g}+ctrl": 3 for g in "ABCDEFGH"}
    dataset = data.add_split(
        file_of(cells), kind="custom", lists={"train": list("ABCDEF"), "test": ["G", "ctrl+H"]}
    )
    assert not len(dataset.rows("val")) and "val" in audit(dataset).empty
    assert any(
        "validation is empty, so the last parameters are kept" in note for note in dataset.notes
    )


def test_no_split_and_no_test(file_of):
    screen = file_of({name: 3 for name in conditions(1)})
    everything = data.add_split(screen, kind="no_split")
    assert len(everything.rows("test")) == len(everything.cells)
    validated = data.add_split(screen, kind="no_test", seed=1)
    assert len(validated.rows("val")) and not len(validated.rows("test"))
    assert "test" not in benchmark.subsets(validated)


def test_audit_of_a_split_of_cells(file_of):
    with pytest.raises(InputError, match="add_split"):
        audit(file_of({"ctrl": 3}))
    dataset = data.add_split(file_of({"ctrl": 40, "A": 40, "B": 40}), kind="cells")
    audited = audit(dataset)
    assert audited.crossing == audited.shared == ("A", "B") and not audited.untrained
    assert len(audit_notes(audited)) == 2


def test_custom_lists(tmp_path):
    genes = gene_sets(["ctrl", "A+ctrl", "B+ctrl", "A+B", "A+C", "A+B+C"])
    lists = {"train": ["A", "ctrl+B"], "val": ["C+A"], "test": ["B+A"]}
    split = custom(genes, lists)
    assert split[:4] == (("A+ctrl", "B+ctrl", "ctrl"), ("A+C",), ("A+B",), ("A+B+C",))
    assert split.groups == {"combo_seen2": ("A+B",)}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps(lists))
    assert (
        custom(genes, tmp_path / "lists.json")
        == custom(genes, str(tmp_path / "lists.pkl"))
        == split
    )


@pytest.mark.parametrize(
    "lists, message",
    [
        ({"train": ["A"], "valid": []}, "'train', 'valid', expected the lists train, val, test"),
        ({}, "holds nothing"),
        (["A"], "holds"),
        ({"train": "A"}, "expected a list of conditions"),
        ({"train": ["A", "X+Y"]}, r"names 1 conditions that are not in the data \(X\+Y\)"),
        ({"train": ["A+B"], "test": ["B+A"]}, "in the lists train and test"),
    ],
)
def test_custom_lists_that_cannot_be_used(tmp_path, lists, message):
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(lists))
    with pytest.raises(InputError, match=message):
        custom(gene_sets(["ctrl", "A+ctrl", "A+B"]), path)


def test_custom_files_that_cannot_be_used(tmp_path, file_of):
    for path, content in ((tmp_path / "bad.json", "{'train'"), (tmp_path / "none.json", None)):
        if content:
            path.write_text(content)
        with pytest.raises(InputError, match="cannot be read .* expected JSON"):
            custom(gene_sets(["ctrl", "A"]), path)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"train": print}))
    with pytest.raises(InputError, match="do not trust the file"):
        custom(gene_sets(["ctrl", "A"]), tmp_path / "bad.pkl")
    with pytest.raises(InputError, match="there are no lists, expected some: set split.file"):
        data.add_split(file_of({"ctrl": 3, "A": 3}), kind="custom")


def test_condition_grammar(file_of):
    """Bare names, either side of control, either order, three genes: one condition for each set of
    genes."""
    dataset = file_of(
        {"ctrl": 9, "A": 4, "A+ctrl": 5, "ctrl+A": 2, "B+A": 2, "A+B": 3, "C+A+B": 3, "B+C+A": 1}
    )
    assert dataset.conditions == ("A+B", "A+ctrl", "C+A+B", "ctrl")
    np.testing.assert_array_equal(
        dataset.condition_treatments, [[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]
    )
    (note,) = (note for note in dataset.notes if "merged" in note)
    assert (
        "'B+A' into 'A+B'" in note
        and "'A', 'ctrl+A' into 'A+ctrl'" in note
        and "'B+C+A' into 'C+A+B'" in note
    )
    assert gene_sets(["ctrl", "A", "ctrl+A", "B+A", "C + A+B"]) == {
        "ctrl": frozenset(),
        "A": frozenset("A"),
        "ctrl+A": frozenset("A"),
        "B+A": frozenset("AB"),
        "C + A+B": frozenset("ABC"),
    }
