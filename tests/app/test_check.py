"""`jaxpert check` says what is understood of a file, and trains nothing."""

import json
import shlex

import numpy as np
import pytest

import jaxpert
from jaxpert.app import cli, run
from jaxpert.core.types import InputError
from support.paths import ROOT, SHARED

INPUTS = SHARED / "cases/inputs"


@pytest.fixture
def file(screen, labels, tmp_path):
    adata = screen(labels, genes=60, line=["K562", "RPE1"] * 20)
    adata.var_names = ["MT-ND1", "RPL3", *adata.var_names[2:]]
    path = tmp_path / "screen.h5ad"
    adata.write_h5ad(path)
    return path


def test_a_file_is_understood(file, capsys):
    assert cli.main(["check", str(file), "--stratum=line"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "cells: 40",
        "control: 'ctrl', 12 cells",
        "perturbations: 3 (2 of 1 treatment, 1 of 2 treatments)",
        "treatments: 2: A, B",
        "1 mitochondrial (MT-ND1), 1 ribosomal (RPL3), 0 haemoglobin",
        "cells: train 3 perturbations",
        "The data are usable.",
    ):
        assert line in shown, line
    assert "RPE1" in shown and "control cells: 6" in shown
    assert "combinations: not possible" in shown
    command = shlex.split(shown.splitlines()[-1])
    assert command[:2] == ["jaxpert", "train"] and "--config.data.stratum=line" in command
    assert f"--config.data.source={file}" in command and "--config.data.control" not in shown


def test_what_cannot_be_used_ends_in_a_sentence(file, screen, tmp_path, capsys):
    assert cli.main(["check", str(file), "--perturbation=gene"]) == 2
    # In the words of the flag that was typed, not in those of a config.
    assert "'gene'" in (told := capsys.readouterr().err) and "set --perturbation to" in told
    assert cli.main(["check", str(file), "--gene=A"]) == 2 and capsys.readouterr().err
    assert cli.main(["check"]) == 2
    screen(["ctrl"] * 20).write_h5ad(tmp_path / "only.h5ad")
    capsys.readouterr()
    assert cli.main(["check", str(tmp_path / "only.h5ad")]) == 2
    told = capsys.readouterr()
    assert "control: 'ctrl', 20 cells" in told.out and "all 20 cells" in told.err


def test_python_gives_the_same(file, screen, labels):
    checked = jaxpert.check(screen(labels, genes=60))
    assert checked.usable and not checked.problem and checked.facts["cells"] == 40
    assert str(checked) == checked.text and checked.text.endswith("The data are usable.")
    by_path = jaxpert.check(file, stratum="line")
    assert set(by_path.facts["strata"]) == {"K562", "RPE1"}
    only = jaxpert.check(screen(["ctrl"] * 20))
    assert not only.usable and "all 20 cells" in only.problem and "not usable" in str(only)
    with pytest.raises(InputError, match="data.gene"):
        jaxpert.check(file, gene="A")


def test_a_config_is_checked_with_its_data(file, capsys, monkeypatch):
    monkeypatch.setattr(run, "train", lambda *_: pytest.fail("nothing is to be trained"))
    config = f"--config={ROOT}/configs/cradle_norman.py:test"
    lean = ["--config.quality.doublets=none", "--config.model.kwargs.cf_weight=0"]
    lean += ["--config.data.perturbation=condition", "--config.split.kind=cells"]
    assert cli.main(["check", config, str(file), *lean]) == 0
    shown = capsys.readouterr().out
    assert "split: train 3 perturbations" in shown and "The data are usable." in shown
    assert cli.main(["check", config, str(file), *lean, "--config.split.kind=combinations"]) == 2
    assert "conditions with two treatments or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flags", "status"),
    [
        ("only_ctrl", [], 2),
        ("lines_confounded", ["--stratum=line"], 0),
        ("up_to_six", [], 0),
        ("large_counts", [], 0),
        ("empty_cells", [], 0),
        ("batch_of_one", ["--stratum=batch"], 0),
        ("batch_of_one", ["--stratum=line"], 0),
    ],
)
def test_files_that_people_have(name, flags, status, capsys):
    path = INPUTS / f"{name}.h5ad"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    assert cli.main(["check", str(path), *flags]) == status
    told = capsys.readouterr()
    assert ("The data are usable." in told.out) == (status == 0) and "Traceback" not in told.err


def test_the_audit_is_a_part_of_the_results(run_of):
    work = run_of("cradle_norman:test")
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["audit"]["control"].startswith("'ctrl'")
    assert metrics["audit"]["cells"] == metrics["data"]["cells"]
    assert "understood before training" in (work / "report.html").read_text()
    assert np.isfinite(metrics["data"]["genes"])
