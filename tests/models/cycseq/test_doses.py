"""CycSeq on doses of compounds: its run, and compounds asked for by name."""

from dataclasses import replace

import anndata
import numpy as np
import pytest

from jaxpert.app import cli, reopen
from jaxpert.core.types import InputError
from jaxpert.models.cycseq.predict import predict


@pytest.fixture(scope="module")
def work(run_of):
    return run_of("cycseq_dose:test")


def test_compounds_are_predicted_from_the_next_lower_dose(work):
    finished = reopen.reopen(work)
    written = anndata.read_h5ad(work / "predictions.h5ad")
    condition = written.obs["condition"].iloc[0]
    compound = condition.rsplit("@", 1)[0]
    every = predict(finished.problem, finished.fitted, [compound])
    assert len(every) == sum(written.obs["condition"].str.startswith(f"{compound}@"))
    single = predict(finished.problem, finished.fitted, [condition])
    assert set(single.obs["condition"]) == {condition}
    for predicted in (every, single):
        there = written[predicted.obs_names]
        np.testing.assert_allclose(predicted.X, there.X, atol=1e-5)
        np.testing.assert_array_equal(predicted.layers["control"], there.layers["control"])
    dose = float(condition.rsplit("@", 1)[1])
    # Blanks and digits are how people type, as in the labels of a screen.
    for written in (f" {compound} @ {dose:.6f} ", f"{compound}@{dose:e}"):
        again = predict(finished.problem, finished.fitted, [written])
        np.testing.assert_array_equal(again.X, single.X)
    for written in (f"{compound}@{dose * 1.5}", compound.swapcase()):
        with pytest.raises(InputError, match="is no compound at a dose of these data"):
            predict(finished.problem, finished.fitted, [written])
    rules = finished.problem.dataset.label_rules._replace(case="ignore")
    ignoring = _with_rules(finished.problem, rules)
    again = predict(ignoring, finished.fitted, [f"{compound.swapcase()}@{dose:g}"])
    np.testing.assert_array_equal(again.X, single.X)
    with pytest.raises(InputError, match="'Aspirin' is no compound at a dose of these data"):
        predict(finished.problem, finished.fitted, ["Aspirin"])


def _with_rules(problem, rules):
    prepared = problem.details
    dataset = replace(prepared.dataset, label_rules=rules)
    return problem._replace(details=prepared._replace(dataset=dataset))


def test_its_scores_make_table_2(work, tmp_path):
    assert cli.main(["tables", str(work), f"--output={tmp_path}"]) == 0
    text = (tmp_path / "cycseq_tables.md").read_text()
    assert "## Table 2: doses" in text and "Table 1" not in text.split("Units")[0]
