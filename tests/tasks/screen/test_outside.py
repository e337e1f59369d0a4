"""Predictions of any tool get the scores that a run's would, in whatever form they come."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.types import InputError, Quality
from jaxpert.data.labels import rules_of
from jaxpert.evaluation.baselines import BASELINES
from jaxpert.tasks.screen import outside, real_cells
from jaxpert.tasks.screen.outside import Asked
from support import predictions
from support.predictions import PAIRS, SINGLES, cells, log1p, log2_means, means

TRAINED = {"train": [*SINGLES, "A+B", "C+D"]}
TESTED = ("E+F", "A+C", "B+D", "C+E")


def real(adata=None, **options):
    return real_cells.read_real(cells() if adata is None else adata, rules_of(), **options)


def score(predicted, target=None, **asked):
    return outside.score(real() if target is None else target, predicted, Asked(**asked))


def known(scored):
    return "\n".join(scored.metrics["scored"]["to know"])


def with_x(adata, x):
    made = adata.copy()
    made.X = sparse.csr_matrix(x)
    return made


def by_hand(adata):
    """Effects of the conditions in the order of the data set."""
    of = log2_means(adata)
    return np.stack([of[name] - of["ctrl"] for name in sorted(of, key=str)])


@pytest.fixture(scope="module")
def counted():
    return score(cells(seed=1))


def test_scores_of_counts_are_those_by_hand(counted):
    observed, predicted = by_hand(cells()), by_hand(cells(seed=1))
    names = sorted(["ctrl", *SINGLES, *PAIRS])
    assert counted.measured.dataset.conditions == tuple(names)
    np.testing.assert_allclose(counted.measured.effects, observed, atol=1e-12)
    np.testing.assert_allclose(counted.effects, predicted, atol=1e-12)
    rows = np.array(names) != "ctrl"
    mse = ((observed - predicted)[rows] ** 2).mean()
    assert counted.metrics["model"]["all"]["mse"] == pytest.approx(mse)
    assert counted.metrics["perturbations"] == {"all": 12}
    assert known(counted) == ""


@pytest.mark.parametrize("total", [1e4, 5e4])
def test_log1p_of_both_sides(total):
    scored = score(log1p(cells(seed=1), total), real(log1p(cells(), total)))
    x = cells().X.toarray().astype(float)
    y = np.log2(1 + total * x / x.sum(1, keepdims=True))
    labels = cells().obs["condition"].to_numpy()
    wanted = y[labels == "A+B"].mean(0) - y[labels == "ctrl"].mean(0)
    place = scored.measured.dataset.conditions.index("A+B")
    np.testing.assert_allclose(scored.measured.effects[place], wanted, atol=1e-5)
    assert scored.metrics["scored"]["scores are on"] == f"log2(1 + {total:,.0f} x / sum x)"


def test_every_form_of_the_same_predictions_scores_the_same(counted):
    predicted = cells(seed=1)
    shuffled = predicted[:, ::-1].copy()
    turned = log1p(predicted)
    turned.obs["condition"] = ["+".join(reversed(c.split("+"))) for c in turned.obs["condition"]]
    wanted = counted.metrics["model"]["all"]
    of = log2_means(predicted)
    table = pd.DataFrame({name: of[name] - of["ctrl"] for name in of}, predicted.var_names).T
    forms = {
        "genes in another order": (shuffled, {}),
        "log1p, pairs turned round": (turned, {}),
        "means of log1p": (means(log1p(predicted)), {}),
        "effects": (table, {"scale": "effects"}),
        "effects without control": (table.drop("ctrl"), {"scale": "effects"}),
        "effects on ln": (table * np.log(2), {"scale": "effects_ln"}),
    }
    for form, (given, asked) in forms.items():
        scores = score(given, **asked).metrics["model"]["all"]
        for name, value in wanted.items():
            # float32 of the written logarithms.
            assert scores[name] == pytest.approx(value, abs=2e-5), (form, name)


def test_counts_meet_a_log1p_of_another_total():
    """Counts are normalised to what the other side was."""
    deep = score(log1p(cells(seed=1), 5e4))
    both = score(log1p(cells(seed=1), 5e4), real(log1p(cells(), 5e4)))
    assert deep.metrics["scored"]["scores are on"] == "log2(1 + 50,000 x / sum x)"
    for name, value in both.metrics["model"]["all"].items():
        assert deep.metrics["model"]["all"][name] == pytest.approx(value, abs=2e-5)
    turned = score(cells(seed=1), real(log1p(cells(), 5e4)))
    np.testing.assert_allclose(turned.effects, deep.effects, atol=2e-5)


def test_other_totals_are_refused():
    with pytest.raises(InputError, match="add up to 50,000 .* of the real cells to 10,000"):
        score(log1p(cells(seed=1), 5e4), real(log1p(cells())))
    with pytest.raises(InputError, match="of --total to 20,000"):
        score(log1p(cells(seed=1)), total=2e4)
    told = score(means(log1p(cells(seed=1))))
    assert "10,000 is taken (--total says another)" in known(told)
    assert known(score(means(log1p(cells(seed=1), 5e4)), total=5e4)) == ""


def test_a_constant_predictor_has_one_half_of_discrimination():
    """Exactly 1/2 + 1/(2N), as the perturbed genes are not measured and none is left out."""
    rows = means(log1p(cells()))
    x = rows.X.toarray()
    x[1:] = x[1:].mean(0) + np.linspace(0, 1, x.shape[1])
    scored = score(with_x(rows, x))
    n = len(SINGLES) + len(PAIRS)
    assert scored.metrics["model"]["all"]["discrimination_score"] == 0.5 + 1 / (2 * n)


def test_baselines_need_to_know_what_was_trained(counted):
    assert set(counted.metrics["baselines"]) == {"no_change"}
    assert "all baselines but no_change" in counted.metrics["verdict"]
    assert "--train" in counted.metrics["verdict"]
    scored = score(cells(seed=1), real(train=TRAINED))
    absent = {"annotation_weighted", "linear_tuned", "linear_annotations", "linear_other_screen"}
    assert set(scored.metrics["baselines"]) == set(BASELINES) - absent
    notes = "\n".join(scored.metrics["notes"])
    assert all(f"baseline {name} is not made: " in notes for name in absent)
    assert scored.metrics["perturbations"]["test"] == 4
    assert scored.metrics["verdict"].startswith("On 4 perturbations (perturbations never trained)")
    assert "--train" not in scored.metrics["verdict"]


def test_ways_to_say_what_was_trained_agree(tmp_path):
    wanted = score(cells(seed=1), real(train=TRAINED)).metrics
    labels = cells().obs["condition"].to_numpy().astype(str)
    trained = ~np.isin(labels, TESTED)
    flagged, parted = cells(), cells()
    flagged.obs["seen"] = trained
    parted.obs["part"] = np.where(trained, "train", "test")
    (tmp_path / "seen.txt").write_text("\n".join(["B+A", "D+C", *SINGLES]))
    first, rest = cells()[~trained | (labels == "ctrl")].copy(), cells()[trained].copy()
    targets = {
        "True and False": real(flagged, train="seen"),
        "parts": real(parted, train="part"),
        "a list": real(train=tmp_path / "seen.txt"),
        "a second file": real(first, train=rest),
        "a second file with cells of the first": real(cells(), train=rest),
    }
    for way, target in targets.items():
        found = score(cells(seed=1), target).metrics
        for method in ("additive", "mean_perturbation"):
            mse = wanted["baselines"][method]["test"]["mse"]
            assert found["baselines"][method]["test"]["mse"] == pytest.approx(mse), (way, method)
        assert found["model"]["test"]["mse"] == pytest.approx(wanted["model"]["test"]["mse"]), way


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"trained": ["A"]}, "expected lists called train, val and test"),
        ({"train": ["X"]}, "leaves no trained perturbation"),
        ({"train": [*SINGLES, *PAIRS]}, "leaves no perturbed test cell"),
        ({"train": ["A"], "test": ["X"]}, "tests X, which"),
        ("nothing", "--train=nothing is no column of the real cells .condition. and no .h5ad"),
    ],
)
def test_training_that_cannot_be(train, said):
    with pytest.raises(InputError, match=said):
        real(train=train)


def test_a_column_of_other_values_is_refused():
    adata = cells()
    adata.obs["part"] = "fit"
    with pytest.raises(InputError, match="column 'part' has the values 'fit', expected train, val"):
        real(adata, train="part")


def test_training_of_another_file_is_on_the_same_scale_and_genes():
    with pytest.raises(InputError, match="the training cells is on another scale than"):
        real(train=log1p(cells(seed=1)))
    with pytest.raises(InputError, match="the training cells lacks 2 of the 40 genes"):
        real(train=cells(seed=1)[:, 2:].copy())
    other = cells(seed=1)
    other.obs_names = cells().obs_names
    target = real(train=other)
    # Cells of other counts are other cells, whatever they are called.
    assert len(target.dataset.cells) == 2 * len(cells())
    assert len(set(target.dataset.cells)) == len(target.dataset.cells)


def test_missing_perturbations_are_scored_as_no_change():
    predicted = cells(seed=1, only=("E+F", "A+C", "B+D"))
    scored = score(predicted, real(train=TRAINED))
    assert "1 of 4 perturbations are not predicted and are scored as if no change" in known(scored)
    assert scored.metrics["perturbations"] == {"all": 3, "test": 4, "predicted": 3}
    model = scored.metrics["model"]
    observed = by_hand(cells())[sorted(["ctrl", *SINGLES, *PAIRS]).index("C+E")]
    total = 3 * model["predicted"]["mse"] + (observed**2).mean()
    assert model["test"]["mse"] == pytest.approx(total / 4)


def test_invented_perturbations_are_named():
    predicted = cells(seed=1)
    labels = predicted.obs["condition"].to_numpy().astype(str)
    labels[labels == "A+C"] = "A+Q"
    predicted.obs["condition"] = labels
    scored = score(predicted)
    assert "1 perturbations of the predictions were never measured" in known(scored)
    assert "A+Q" in known(scored) and ": A+C" in known(scored)
    assert scored.metrics["scored"]["predicted rows"] == 40 + 11 * 15


def test_genes_that_are_not_predicted_are_left_out_on_both_sides():
    scored = score(cells(seed=1)[:, 5:].copy())
    assert "5 of 40 measured genes are not in the predictions" in known(scored)
    np.testing.assert_allclose(scored.measured.effects, by_hand(cells()[:, 5:]), atol=1e-12)
    np.testing.assert_allclose(scored.effects, by_hand(cells(seed=1)[:, 5:]), atol=1e-12)
    target = real()._replace(fixed=True)
    with pytest.raises(InputError, match="lacks 5 of the 40 measured genes .* expected all"):
        score(cells(seed=1)[:, 5:].copy(), target)


def test_copies_of_real_cells_are_named():
    assert "180 of 180 predicted rows of perturbations are cells" in known(score(cells()))
    assert "180 of 180 predicted rows" in known(score(log1p(cells())))
    # The real controls are part of the form of cell-eval, and no leak.
    predicted = cells(seed=1)
    x = predicted.X.toarray()
    x[:40] = cells().X.toarray()[:40]
    assert known(score(with_x(predicted, x))) == ""


def test_edited_controls_are_named():
    predicted = log1p(cells(seed=1))
    x = predicted.X.toarray()
    x[:40, 3] += 2.0
    said = known(score(with_x(predicted, x)))
    assert "the predicted control differs from the measured one in 1 of 40 genes (G3 +2.7" in said


def test_a_logarithm_of_another_base_is_refused():
    rows = means(log1p(cells(seed=1, controls=300)))
    target = real(cells(controls=300))
    with pytest.raises(InputError, match="1.4. times the measured one .* declare that of the pred"):
        score(with_x(rows, rows.X / np.log(2)), target)
    declared = score(with_x(rows, rows.X / np.log(2)), target, scale="log2")
    np.testing.assert_allclose(declared.effects, score(rows, target).effects, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a[a.obs["condition"] != "ctrl"].copy(), "holds no control row .'ctrl'."),
        (lambda a: a[:0].copy(), "the AnnData object has no cells"),
        (lambda a: a[:, :0].copy(), "the AnnData object has no genes"),
        (lambda a: with_x(a, a.X * 0), "the predictions holds only zeros"),
        (lambda a: with_x(a, -a.X.toarray()), "negative values .* set --scale=effects"),
        (lambda a: with_x(a, a.X * np.nan), "not finite"),
    ],
)
def test_predictions_that_cannot_be_scored(change, said):
    with pytest.raises(InputError, match=said):
        score(change(cells(seed=1)))


@pytest.mark.parametrize("scale", [1e4, "ln(1 + x)", np.ones(3), {"of": "X"}])
def test_what_other_tools_keep_under_the_name_of_the_scale(scale, tmp_path):
    predicted = cells(seed=1)
    predicted.uns["scale"] = scale
    predicted.write_h5ad(tmp_path / "pred.h5ad")
    for given in (predicted, tmp_path / "pred.h5ad"):
        scored = score(given, schools=False)
        assert "whole numbers" in scored.metrics["scored"]["scale of the predictions"]


def test_effects_of_a_control_and_labels_that_are_missing():
    table = pd.DataFrame(np.ones((2, 40)), ["ctrl", "A"], [f"G{g}" for g in range(40)])
    with pytest.raises(InputError, match="the predictions has no rows, expected a CSV file"):
        score(table[:0], scale="effects")
    with pytest.raises(InputError, match="the predictions holds what is no number .*'high'"):
        score(table.astype(object).replace(1.0, "high"), scale="effects")
    with pytest.raises(InputError, match="gives the control an effect of up to 1"):
        score(table, scale="effects")
    predicted = cells(seed=1)
    labels = predicted.obs["condition"].to_numpy().astype(object)
    labels[3] = None
    predicted.obs["condition"] = labels
    with pytest.raises(InputError, match="1 of 220 cells have no label"):
        score(predicted)


def test_strata_of_both_sides():
    """A batch that moves every gene is no effect where predictions name theirs."""

    def batched(seed):
        adata = cells(seed=seed)
        batch = np.arange(len(adata)) % 3 == 0
        # All of A is in the second batch.
        batch |= (adata.obs["condition"] == "A").to_numpy()
        x = adata.X.toarray()
        x[batch, :10] *= 4
        adata.obs["batch"] = np.where(batch, "two", "one")
        return with_x(adata, x)

    target = real(batched(0), stratum="batch")
    inside = score(batched(1), target)
    blind = batched(1)
    del blind.obs["batch"]
    pooled = score(blind, target)
    assert "names no strata" in known(pooled) and known(inside) == ""
    place = target.dataset.conditions.index("A")
    predicted = batched(1)
    x, label = (
        predicted.X.toarray().astype(float),
        predicted.obs["condition"].to_numpy().astype(str),
    )
    y = np.log2(1 + 1e4 * x / x.sum(1, keepdims=True))
    control, two = label == "ctrl", predicted.obs["batch"].to_numpy() == "two"
    moved = y[label == "A"].mean(0)
    np.testing.assert_allclose(inside.effects[place], moved - y[control & two].mean(0), atol=1e-12)
    np.testing.assert_allclose(pooled.effects[place], moved - y[control].mean(0), atol=1e-12)
    other = batched(1)
    other.obs["batch"] = "three"
    with pytest.raises(InputError, match="has the strata three, expected those of the real cells"):
        score(other, target)


def test_tables_of_effects(tmp_path):
    of = log2_means(cells(seed=1))
    table = pd.DataFrame({n: of[n] - of["ctrl"] for n in of if n != "ctrl"}, predictions_genes()).T
    table.to_csv(tmp_path / "effects.csv")
    direct = score(table, scale="effects")
    read = score(tmp_path / "effects.csv", scale="effects")
    np.testing.assert_allclose(read.effects, direct.effects, atol=1e-12)
    with pytest.raises(InputError, match="set --scale=effects if these are differences"):
        score(tmp_path / "effects.csv")
    for text, said in (
        ("", "has 0 rows and 0 columns"),
        ("condition,G0\nA,1\nA,2\n", "rows of the same name .A."),
        ("condition,G0,G0\nA,1,2\n", "genes of the same name .G0."),
        ("condition,G0\nA,x\n", "line 2 of .* holds 'x' for 'G0'"),
        ("condition,G0\nA,1,2\n", "line 2 of .* another number of cells"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match=said):
            score(tmp_path / "bad.csv", scale="effects")


def predictions_genes():
    return [f"G{g}" for g in range(predictions.GENES)]


def test_other_schools_get_the_same_cells(counted):
    """By hand on ln: the mean absolute error of means, and ln 2 times ours for effects."""
    schools = counted.metrics["schools"]
    assert (schools["subset"], schools["perturbations"]) == ("all", 12)
    of = schools["scores"]
    here, there = log2_means(cells()), log2_means(cells(seed=1))
    mae = np.mean([np.abs(here[n] - there[n]).mean() for n in here if n != "ctrl"]) * np.log(2)
    assert of["mae.celleval"]["model"] == pytest.approx(mae)
    wanted = counted.metrics["model"]["all"]["mse"] * np.log(2) ** 2
    assert of["mse_delta.celleval"]["model"] == pytest.approx(wanted)
    nothing = counted.metrics["baselines"]["no_change"]["all"]["mse"] * np.log(2) ** 2
    assert of["mse_delta.celleval"]["no_change"] == pytest.approx(nothing)
    assert "edistance.pertpy" in of and "no_change" not in of["edistance.pertpy"]
    # Means have no distribution of cells.
    few = score(means(log1p(cells(seed=1)))).metrics["schools"]["scores"]
    assert "edistance.pertpy" not in few
    assert few["mse_delta.celleval"]["model"] == pytest.approx(wanted, rel=1e-5)
    assert "schools" not in score(cells(seed=1), schools=False).metrics


def test_other_schools_see_test_cells_alone():
    """Of a perturbation with training and test cells only the test cells are the target."""
    adata = cells()
    part = np.where(np.arange(len(adata)) % 3 == 0, "test", "train")
    adata.obs["part"] = part
    scored = score(cells(seed=1), real(adata, train="part"))
    kept = adata[(part == "test") | (adata.obs["condition"] == "ctrl").to_numpy()]
    here, there = log2_means(kept), log2_means(cells(seed=1))
    mae = np.mean([np.abs(here[n] - there[n]).mean() for n in here if n != "ctrl"]) * np.log(2)
    assert scored.metrics["schools"]["scores"]["mae.celleval"]["model"] == pytest.approx(mae)


def test_cells_that_fail_quality_are_measured_nowhere():
    """As those of a run: neither in effects, nor in its control, nor by other schools."""
    adata = cells()
    x = adata.X.toarray()
    failed = np.arange(len(adata)) % 5 == 0
    x[failed, :20] += 300
    target = real(with_x(adata, x))
    labels = Quality(metrics={}, thresholds={}, multiplier=5, failed=failed)
    target = target._replace(dataset=replace(target.dataset, quality=labels))
    scored = score(cells(seed=1), target)
    assert known(scored) == ""
    here, there = log2_means(cells()[~failed]), log2_means(cells(seed=1))
    np.testing.assert_allclose(scored.measured.effects, by_hand(cells()[~failed]), atol=1e-12)
    mae = np.mean([np.abs(here[n] - there[n]).mean() for n in here if n != "ctrl"]) * np.log(2)
    assert scored.metrics["schools"]["scores"]["mae.celleval"]["model"] == pytest.approx(mae)


def test_real_cells_cannot_be_effects():
    with pytest.raises(InputError, match="holds effects, expected cells to measure them on"):
        real(scale="effects")
