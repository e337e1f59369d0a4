"""The comparisons of the paper."""

import csv

from jaxpert.evaluation.metrics import METRICS
from jaxpert.models.cradle import settings
from jaxpert.models.cradle.paper.study import STUDY
from jaxpert.report.layout import QCPR, QCPR_RESAMPLED
from jaxpert.study import scores, tables
from support.study_runs import jobs_for


def test_every_model_has_a_table_and_every_table_known_models():
    shown = {model for layout in STUDY.layouts for model in layout.models}
    assert shown == set(STUDY.variants) and STUDY.subject in shown
    metrics = {metric for layout in STUDY.layouts for metric in layout.metrics}
    assert metrics <= {*METRICS, QCPR, QCPR_RESAMPLED}


def test_every_model_of_the_family_is_studied():
    assert {variant.model for variant in STUDY.variants.values()} == set(settings.MODELS)


def test_ablations_differ_from_the_model_in_one_setting():
    names = ("cradle_vae", "cradle_vae_without_counterfactual", "cradle_vae_without_causal")
    full, without_cf, without_causal = (job.config["model"]["kwargs"] for job in jobs_for(names))
    assert without_cf == full | {"cf_weight": 0.0} and full["cf_weight"] == 0.5
    assert without_causal == full | {"causal_artifact": False}


def test_configs_of_the_models():
    assert STUDY.config("cradle_vae", "dixit", "demo") == ("cradle_dixit", "demo")
    assert STUDY.config("sams_vae", "dixit", "full") == ("cradle_baselines", "sams_vae,dixit")
    assert STUDY.config("sams_vae", "dixit", "test") == ("cradle_baselines", "sams_vae,test")


def test_the_published_tables_stand_beside_ours(tmp_path):
    """All 450 numbers that could be read in the paper's four tables, each in its cell."""
    numbers = scores.read_published(STUDY.published, STUDY)
    assert len(numbers) == 450
    assert numbers["2", "norman", 3, "cradle_vae", "ate_pearson"] == (0.7119, 0.03)
    asked = scores.Asked(tuple(STUDY.data), (3, 4, 5), (0,))
    tables.write_tables(STUDY, tmp_path, asked, STUDY.published)
    text = (tmp_path / "tables.md").read_text()
    table = text.split("Table 5. Training on passed cells only: norman")[1].split("\n## ")[0]
    head = table[table.index("| model") :].splitlines()[0].split(" | ")
    (row,) = [line for line in table.splitlines() if "passed cells only, published" in line]
    assert row.split(" | ")[head.index("QCPR ↑, 4 MAD")] == "0.944 ± 0.003"
    with open(tmp_path / "tables.csv") as file:
        printed = [line for line in csv.DictReader(file) if line["published_mean"]]
    assert len(printed) == len(numbers)
