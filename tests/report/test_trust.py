"""How far predictions of each kind can be trusted."""

import pytest

from jaxpert.report import numbers
from jaxpert.report.perturbations import each_of
from jaxpert.report.trust import UNKNOWN, trust_of

COLUMNS = {
    "perturbation": ["A", "B", "C", "A+B", "D"],
    "split": ["test", "test", "test", "test", "train+val"],
    "support": [
        "never given alone in training: A",
        "never given alone in training: B",
        "never given alone in training: C",
        "treatments trained alone",
        "trained",
    ],
    "match": [0.1, 0.3, 0.2, 0.9, 1.0],
    "rival_match": [0.2, 0.1, 0.1, 0.8, 0.9],
    "effect_size": [0.1, 0.3, 0.2, 0.5, 0.5],
    "noise": [0.1, 0.1, 0.1, 0.1, 0.1],
    "rank": [4, 2, 3, 1, 1],
    "of": [4, 4, 4, 4, 1],
    "sure_genes": [0, 2, 1, 30, 9],
    "sure_right": [0, 1, 1, 28, 9],
}


def trust(rival: str | None = "linear", **changed):
    columns = {name: values for name, values in (COLUMNS | changed).items() if values is not None}
    each = each_of({"each": {"rival": rival, "columns": columns}})
    assert each is not None
    return trust_of(each)


def told(**changed):
    table = trust(**changed)
    assert table is not None
    return table


def rows(table):
    return {kind.name: kind.cells for kind in table.kinds}


def test_held_out_perturbations_are_counted_by_what_training_knew():
    table = told()
    # The kind that is predicted best on top; what was trained on says nothing.
    assert list(rows(table)) == ["treatments trained alone", "never given alone in training"]
    heads = [head for head, _ in table.heads]
    assert heads == [
        "Kept away", "Match", "Of linear", "Model ahead", "Effect above noise", "Sure genes right",
    ]  # fmt: skip
    # A has as much noise as effect: 0.1 ** 2 is no more than twice 0.1 ** 2.
    assert rows(table)["never given alone in training"] == [
        "3", "0.20", "0.10", "2 of 3", "2 of 3", "2 of 3",
    ]  # fmt: skip


def test_what_a_run_does_not_know_has_no_column():
    table = told(rival=None, support=None, noise=None, sure_genes=None, rival_match=None)
    assert rows(table) == {UNKNOWN: ["4", "0.25"]}


def test_test_cells_of_trained_perturbations_count():
    split = ["train+val+test"] * 5
    assert trust(split=split) is None
    table = told(split=split, measured_on=["all cells"] * 4 + ["test cells"])
    assert rows(table)["trained"][0] == "1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.1 of linear_tuned, -0.2 (-0.3 to +0.1)", "0.1 of linear tuned, −0.2 (−0.3 to +0.1)"),
        ("add --model=linear_tuned for HLA-2", "add --model=linear_tuned for HLA-2"),
    ],
)
def test_baselines_and_minus_signs_are_written_for_people(text, said):
    assert numbers.true_minus(numbers.in_words(text)) == said
