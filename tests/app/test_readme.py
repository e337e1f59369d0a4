"""The README is true: its Python runs, its commands run or are read to the end, its files exist."""

import re
import shlex
import shutil

import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.app import cli, families, run, training
from jaxpert.core.config import listed
from jaxpert.study import benchmark, contest
from support import finished_run
from support.paths import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def of_jaxpert() -> list[list[str]]:
    """Arguments of every command of ours."""
    return [shlex.split(c)[1:] for c in commands() if c.startswith(".venv/bin/jaxpert")]


TRAINING = [argv for argv in of_jaxpert() if argv[0] == "train"]
LONG = [argv for argv in of_jaxpert() if argv[0] == "benchmark"]
"""Commands that take minutes."""
ASKING = [argv for argv in of_jaxpert() if argv[0] != "train" and argv not in LONG]


def test_python_gives_predictions(tmp_path, monkeypatch):
    adata, _ = data.simulate("tiny")
    adata.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[0]
    assert len([line for line in code.splitlines() if line]) <= 9
    # Fewer epochs and latents than a reader would take: what is asked is whether it runs.
    quick = code.replace("epochs=20", "epochs=1, devices=1").replace(
        "latent_dim=32", "latent_dim=8"
    )
    assert quick != code
    scope: dict = {}
    exec(quick, scope)
    predicted = scope["predicted"]
    assert list(predicted.obs_names) == ["ctrl", "PERT001+PERT002"]
    assert predicted.shape == (2, 200) and {"effect", "effect_error", "sd"} <= set(predicted.layers)
    assert (predicted.layers["effect"][0] == 0).all() and predicted.layers["effect"][1].std() > 0
    fitted, cells = scope["fitted"], scope["cells"]  # as they were loaded from "mine"
    assert cells.genes == tuple(predicted.var_names)
    again = jaxpert.predict(fitted, cells, "PERT001+PERT002")
    np.testing.assert_array_equal(again.layers["effect"], predicted.layers["effect"])


def test_python_of_lines_gives_predictions(tmp_path, monkeypatch):
    adata, _ = data.simulate("lines_tiny")
    adata.write_h5ad(tmp_path / "lines.h5ad")
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(blocks("python")[1].replace("epochs=2", "epochs=1, devices=1"), scope)
    predicted, fitted, rows = scope["predicted"], scope["fitted"], scope["rows"]
    assert predicted.n_obs >= 3 and predicted.shape[1] == len(rows.dataset.genes)
    assert np.isfinite(predicted.layers["effect"]).all()
    again, same_rows = jaxpert.load(jaxpert.save(fitted, rows, tmp_path / "rows"))
    repeated = jaxpert.predict(again, same_rows, "PERT001")
    np.testing.assert_array_equal(predicted.X, repeated.X)
    assert jaxpert.evaluate(fitted, rows)["cycseq"]["model"]


@pytest.mark.parametrize("argv", TRAINING, ids=" ".join)
def test_training_commands_are_read_to_the_end(argv, monkeypatch):
    monkeypatch.chdir(ROOT)
    raw, folder = training.parse(argv[1:])
    checked, family = run.read(raw)
    assert checked.model.name in family.models and folder.parts[0] == "runs"


@pytest.mark.parametrize("argv", LONG, ids=" ".join)
def test_long_commands_have_their_flags_and_data(argv):
    flags = benchmark.parser_of_flags().parse_intermixed_args(argv[1:])
    assert contest.source_of(flags.data, flags.variant)[0] and flags.workdir.startswith("runs/")


@pytest.mark.parametrize("argv", ASKING, ids=" ".join)
def test_commands_on_finished_runs_work(argv, tmp_path, monkeypatch):
    owner = {"pairs": "gears", "clean": "cradle", "interpret": "cradle"}.get(argv[0])
    if owner:
        # Their own tests run these commands; here, that the flags exist.
        options = families.load(owner).commands[argv[0]].options
        flags = {flag.split("=")[0] for flag in argv if flag.startswith("--")} - {"--output"}
        assert flags <= {f"--{name}" for name in options.__dataclass_fields__}
        return
    shutil.copytree(finished_run.finished()[0], tmp_path / "runs/demo")
    monkeypatch.chdir(tmp_path)
    quick = {"figures": ["--cells=200", "--figures=4"]}
    assert cli.main([*argv, *quick.get(argv[0], [])]) == 0
    assert len(list(tmp_path.rglob("*"))) > 10


def test_the_study_command_is_known(tmp_path, monkeypatch):
    (command,) = [c for c in commands() if "cradle_tables.py" in c]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/tables").mkdir(parents=True)
    flags = shlex.split(command)[2:]
    assert cli.main(["study", "--family=cradle", *flags, "--only_tables"]) == 0
    assert (tmp_path / "runs/tables/tables.md").exists()
    assert '"study", "--family=cradle"' in (ROOT / "experiments/cradle_tables.py").read_text()


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_target_exists(command):
    assert f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()


def test_named_files_exist_and_keys_are_known():
    for path in re.findall(r"`((?:configs|docs|tests|experiments)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
    known: set[str] = set()
    for model in families.models():
        known |= {key.key for key in listed(families.keys_of(model), families.entry_of(model))}
    sections = "data|graphs|split|train|quality|evaluation|model"
    for key in re.findall(rf"`(?:--config\.)?((?:{sections})\.[\w.]+)", README):
        assert key in known or any(name.startswith(f"{key}.") for name in known), key
