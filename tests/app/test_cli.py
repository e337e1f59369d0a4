"""What a user meets at the command line: bad input ends in one clear sentence, exit status 2,
nothing half-written."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.app import cli, families, run, training
from jaxpert.core.config import listed
from jaxpert.evaluation.baseline_names import BASELINES
from support.paths import ROOT
from support.runs import ONE_DEVICE

TEST = f"--config={ROOT}/configs/cradle_norman.py:test"
FILE = [TEST, "--config.data.perturbation=condition"]
LEAN = [
    "--config.quality.doublets=none",
    "--config.evaluation.likelihood=",
    "--config.evaluation.pass_cells=0",
    "--config.evaluation.umap_cells=0",
]
"""Without the slower parts of an evaluation."""


def screen(**changes) -> anndata.AnnData:
    """240 cells, 30 genes, singles and pairs of four perturbations, every seventh cell full of
    mitochondrial reads."""
    rng = np.random.default_rng(0)
    labels = np.array(
        ["ctrl", "A+ctrl", "B+ctrl", "C+ctrl", "D+ctrl", "A+B", "C+B", "A+D", "C+D", "A+C"]
    )
    label = labels[np.arange(240) % len(labels)]
    rates = np.exp(rng.normal(1, 1, 30)) * np.ones((240, 1))
    rates[np.arange(240) % 7 == 0, :3] *= 12
    genes = ["MT-1", "MT-2", "MT-3", "RPS1", "HBA1", *(f"GENE{i}" for i in range(25))]
    obs = pd.DataFrame({"condition": label}, index=[f"cell{i}" for i in range(240)])
    x = changes.pop("X", sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    return anndata.AnnData(x, obs.assign(**changes), pd.DataFrame(index=genes[: x.shape[1]]))


def singles_only() -> anndata.AnnData:
    adata = screen()
    return adata[adata.obs.condition.isin(["ctrl", "A+ctrl"])].copy()


def saved(tmp_path, adata) -> str:
    adata.write_h5ad(tmp_path / "screen.h5ad")
    return f"--config.data.source={tmp_path}/screen.h5ad"


def refused(capsys, tmp_path, *argv: str) -> str:
    """Run, demand exit status 2, one sentence on standard error and no work directory; return the
    sentence."""
    work = tmp_path / "work"
    there = work.exists()
    status = cli.main(["train", *argv, ONE_DEVICE, f"--workdir={work}"])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert len(errors) == 1
    assert "Traceback" not in errors[0]
    assert work.exists() == there
    return errors[0]


def counts_with(value: float) -> sparse.csr_matrix:
    x = np.random.default_rng(0).poisson(3, (240, 30)).astype(np.float32)
    x[5, 7] = value
    return sparse.csr_matrix(x)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no --config was given"),
        (["--config=configs/nowhere.py"], "there is no config file 'configs/nowhere.py'"),
        (["--config=cradle_norma"], "did you mean 'cradle_norman'?"),
        ([TEST, "--config=scgen:test"], "--config was given 2 times"),
        (["--config.train.epochs=0", TEST], "train.epochs is 0"),
        (
            [f"--config={ROOT}/configs/cradle_norman.py:tset"],
            "'tset', expected one of full, demo, test",
        ),
        ([TEST, "--config.train.lrr=1"], "--config.train.lrr is no key of this config"),
        (
            [TEST, "--config.model.kwargs.latentdim=3"],
            "expected one such as --config.model.kwargs.latent_dim",
        ),
        ([TEST, "--config.train.epochs=many"], "'many'"),
        ([TEST, "--config.train.epochs=2.5"], "2.5"),
        ([TEST, "--config.train.epochs=0"], "train.epochs is 0, expected a whole number, at least"),
        (
            [TEST, "--config.train.learning_rate=-1"],
            "train.learning_rate is -1.0, expected a finite number, above 0",
        ),
        ([TEST, "--confgi.train.epochs=1"], "Unknown command line flag 'confgi.train.epochs'"),
        ([TEST, "train.epochs=1"], "'train.epochs=1' is not understood"),
        (
            [TEST, "--config.model.name=cradle"],
            "model.name is 'cradle', expected one of additive, annotation_weighted",
        ),
        ([TEST, "--config.model.kwargs.compat=paper"], "expected one of default, reference"),
        ([TEST, "--config.data.preset=huge"], "'huge'"),
        ([TEST, "--config.data.source=nowhere.h5ad"], "there is no file nowhere.h5ad"),
        ([TEST, "--config.data.source=norma"], "expected a file or a public name"),
        ([TEST, "--config.quality.multiplier=7"], "quality.multiplier"),
        ([TEST, "--config.quality.doublets=magic"], "quality.doublets"),
        ([TEST, "--config.split.kind=pairs"], "split.kind is 'pairs', expected one of auto"),
        ([TEST, "--config.split.kind=column"], "set split.column"),
        ([TEST, "--config.train.batch_size=0"], "train.batch_size is 0"),
        ([TEST, "--config.evaluation.particles=50"], "evaluation.particles is 50"),
        ([TEST, "--config.evaluation.shown=NOPE"], "evaluation.shown"),
        ([TEST, "--config.evaluation.likelihood=vall"], "evaluation.likelihood"),
    ],
)
def test_flags_and_settings(argv, said, capsys, tmp_path):
    assert said in refused(capsys, tmp_path, *argv)


@pytest.mark.parametrize(
    ("adata", "argv", "said"),
    [
        (lambda: screen(), ["--config.data.perturbation=guide"], "guide"),
        (lambda: screen(), ["--config.data.control=NT"], "NT"),
        (lambda: screen(), ["--config.data.layer=counts"], "counts"),
        (lambda: screen(X=counts_with(-1)), [], "negative"),
        (lambda: screen(X=counts_with(2.5)), [], "2.5"),
        (lambda: screen(X=counts_with(np.nan)), [], "nan"),
        (lambda: screen(X=counts_with(np.inf)), [], "inf"),
        (lambda: screen(X=counts_with(3).log1p()), [], "log"),
        (lambda: screen()[:0].copy(), [], "cell"),
        (lambda: screen()[:, :0].copy(), [], "gene"),
        (lambda: singles_only(), ["--config.split.kind=combinations"], "split.kind=cells"),
        (lambda: screen(X=sparse.csr_matrix(np.full((240, 30), 5.0, np.float32))), [], "failed"),
        (lambda: screen(condition=[None, *["ctrl"] * 239]), [], "condition"),
        (
            lambda: screen(part=["train"] * 240),
            ["--config.split.kind=column", "--config.split.column=part"],
            "no cell",
        ),
        (
            lambda: screen(part=["fit"] * 240),
            ["--config.split.kind=column", "--config.split.column=part"],
            "fit",
        ),
    ],
)
def test_files(adata, argv, said, capsys, tmp_path):
    assert said in refused(capsys, tmp_path, *FILE, saved(tmp_path, adata()), *argv)


@pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique:UserWarning")
@pytest.mark.parametrize("axis", ["cell", "gene"])
def test_duplicated_names(axis, capsys, tmp_path):
    adata = screen()
    names = adata.obs_names if axis == "cell" else adata.var_names
    doubled = [names[0], names[0], *names[2:]]
    if axis == "cell":
        adata.obs_names = doubled
    else:
        adata.var_names = doubled
    assert str(names[0]) in refused(capsys, tmp_path, *FILE, saved(tmp_path, adata))


def test_files_that_are_no_h5ad(capsys, tmp_path):
    path = tmp_path / "screen.h5ad"
    flag = f"--config.data.source={path}"
    path.write_text("cell,gene\n1,2\n")
    assert "screen.h5ad" in refused(capsys, tmp_path, *FILE, flag)
    saved(tmp_path, screen())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "screen.h5ad" in refused(capsys, tmp_path, *FILE, flag)
    assert "folder" in refused(capsys, tmp_path, *FILE, f"--config.data.source={tmp_path}")


def test_public_screen_without_a_network(capsys, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    argv = [f"--config={ROOT}/configs/cradle_norman.py", f"--config.data.folder={tmp_path}/public"]
    said = refused(capsys, tmp_path, *argv)
    assert "norman.h5ad" in said and "34027562" in said and ":demo" in said


def test_perturbations_that_are_hard_but_allowed_are_named(tmp_path):
    """One cell of a perturbation, and a held-out pair whose gene was never perturbed alone or in
    training; that notes are said and stand in metrics.json shows every finished run."""
    adata = screen()
    label = adata.obs.condition.to_numpy().copy()
    label[label == "D+ctrl"] = "A+ctrl"
    label[1] = "LONELY+ctrl"
    label[np.isin(label, ["A+D"])] = "A+B"
    part = np.array(["train", "train", "val", "train"])[np.arange(240) % 4]
    part[label == "C+D"] = "test"
    adata.obs = adata.obs.assign(condition=label, part=part)
    columns = ["--config.split.kind=column", "--config.split.column=part"]
    argv = [*FILE, saved(tmp_path, adata), *columns, *LEAN, f"--workdir={tmp_path}/work"]
    raw, _ = training.parse(argv)
    notes = run.prepare(*run.read(raw)).problem.dataset.notes
    assert any("LONELY" in note and "single cell" in note for note in notes)
    assert any("C+D (D)" in note and "rests on the model's prior" in note for note in notes)


@pytest.fixture(scope="module")
def finished(run_of):
    """A finished run of the test variant."""
    return run_of("cradle_norman:test")


def test_run_leaves_what_the_readme_says(finished):
    assert {p.name for p in finished.iterdir()} >= {
        "report.html",
        "metrics.json",
        "predictions.h5ad",
        "metrics.jsonl",
        "checkpoints",
        "config.json",
        "figures",
    }
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["data"]["notes"]
    assert {
        "model",
        "baselines",
        "ceiling",
        "verdict",
        "quality",
        "likelihood",
        "recovery",
        "run",
    } <= set(metrics)
    assert {"no_change", "mean_perturbation", "additive", "linear"} <= set(metrics["baselines"])
    # Each baseline is made, or it is said why not.
    absent = [name for name in BASELINES if f"baseline {name} is not made" in json.dumps(metrics)]
    assert sorted([*metrics["baselines"], *absent]) == sorted(BASELINES)
    predicted = anndata.read_h5ad(finished / "predictions.h5ad")
    assert set(predicted.obs.columns) >= {"condition", "split"}
    assert np.isfinite(predicted.X).all() and np.isfinite(predicted.layers["effect_error"]).all()
    assert {"train+val", "test"} <= set(predicted.obs["split"])


def test_finished_run_is_not_repeated(finished, capsys):
    before = (finished / "metrics.json").stat().st_mtime_ns
    assert cli.main(["train", TEST, ONE_DEVICE, f"--workdir={finished}"]) == 0
    assert "finished" in capsys.readouterr().err
    assert (finished / "metrics.json").stat().st_mtime_ns == before


def test_work_directories_of_others(finished, capsys, tmp_path):
    from jaxpert.core import workdir

    assert cli.main(["train", TEST, ONE_DEVICE, "--config.seed=1", f"--workdir={finished}"]) == 2
    assert "seed was 0 and is now 1" in capsys.readouterr().err
    (tmp_path / "work").mkdir()
    (tmp_path / "work/.config.json.part").write_text("{")
    workdir.check({}, tmp_path / "work")
    (tmp_path / "work/thesis.txt").write_text("mine")
    assert "no config.json" in refused(capsys, tmp_path, TEST)
    (tmp_path / "work/config.json").write_text("{")
    assert "cannot be read" in refused(capsys, tmp_path, TEST)
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "work").write_text("a file")
    assert "is a file" in refused(capsys, tmp_path, TEST)


def test_truncated_checkpoint_falls_back_and_says_so(finished, capsys, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    (work / "metrics.json").unlink()
    steps = sorted(int(p.name) for p in (work / "checkpoints").iterdir() if p.name.isdigit())
    largest = max(
        (p for p in (work / f"checkpoints/{steps[-1]}").rglob("*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[:100])
    status = cli.main(["train", TEST, ONE_DEVICE, f"--workdir={work}"])
    said = capsys.readouterr().err
    if len(steps) > 1:
        assert status == 0 and f"checkpoint {steps[-1]} cannot be read" in said
    else:
        assert status == 2 and "none of the checkpoints" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_disk_full_and_unwritable(number, capsys, tmp_path, monkeypatch):
    from jaxpert.core import files

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "write_json", fail)
    status = cli.main(["train", TEST, ONE_DEVICE, f"--workdir={tmp_path}/work"])
    said = capsys.readouterr().err
    assert status == 2
    assert ("disk" if number == errno.ENOSPC else "cannot be written") in said


def test_help_lists_every_key_of_the_family(capsys):
    assert cli.main(["train", "--config=cradle_norman", "--help"]) == 0
    said = capsys.readouterr().out
    keys = listed(families.keys_of("cradle_vae"), families.entry_of("cradle_vae"))
    assert all(f"--config.{key.key}={key.default}" in said for key in keys) and len(keys) > 60
    assert "compound" not in said and "gene_layers" not in said
    for command in ("predict", "evaluate", "simulate", "figures", "clean", "interpret", "pairs"):
        assert cli.main([command, "--help"]) == 0
        assert f"jaxpert {command}" in capsys.readouterr().out
    assert cli.main([]) == 0 and cli.main(["fit"]) == 2
    assert "'fit' is no command, expected one of train, study, predict" in capsys.readouterr().err
    assert cli.main(["chek", "screen.h5ad"]) == 2
    assert "did you mean 'check'?" in capsys.readouterr().err
    assert cli.main(["--version"]) == 0 and "jaxpert " in capsys.readouterr().out


LONG = [
    f"--config={ROOT}/configs/cradle_baselines.py:conditional_vae,test",
    *LEAN,
    ONE_DEVICE,
    "--config.train.epochs=60",
    "--config.train.patience=0",
    "--config.train.save_seconds=0.1",
]


def start(work: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "experiments/main.py"), *LONG, f"--workdir={work}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(work: pathlib.Path, process: subprocess.Popen) -> None:
    """Wait until the run has saved a step."""
    end = time.monotonic() + 300
    while not any(path.name.isdigit() for path in (work / "checkpoints").glob("*")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def numbers(state) -> list[bytes]:
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def losses(work: pathlib.Path) -> list[float]:
    """Of training and validation, in the order of metrics.jsonl."""
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return [row.get("train/loss", row.get("val/loss")) for row in rows]


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path, capsys):
    """A run that is asked to stop: tests/core/test_train.py; kills of every family at any moment:
    `make campaign`. The smallest NumPyro model, whose program is traced three times here."""
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    killed = start(broken)
    wait_for_checkpoint(broken, killed)
    time.sleep(np.random.default_rng().uniform(0, 1.5))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    raw, _ = training.parse([*LONG, f"--workdir={broken}"])
    prepared = run.prepare(*run.read(raw))
    resumed = run.train(prepared, raw, broken)
    assert "going on from step" in capsys.readouterr().err
    uninterrupted = run.train(prepared, raw, whole)
    assert numbers(resumed.train) == numbers(uninterrupted.train)
    assert losses(broken) == losses(whole)
