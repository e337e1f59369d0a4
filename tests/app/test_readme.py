"""The README and the first guides are true: their Python runs, their commands run or are read to
the end, their files exist."""

import re
import shlex
import shutil

import jax
import numpy as np
import pytest

import jaxpert
from jaxpert import data
from jaxpert.app import cli, families, run, training
from jaxpert.core.config import listed
from jaxpert.study import benchmark, command, contest
from jaxpert.tasks.screen import feeds
from support import finished_run
from support.minibatch import few_layers
from support.paths import ROOT

README = (ROOT / "README.md").read_text()
GUIDES = ("start", "guide/asking", "guide/configs", "guide/clusters", "guide/data")
PAGES = {name: (ROOT / f"docs/{name}.md").read_text() for name in GUIDES}
TEXT = "\n".join([README, *PAGES.values()])


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def of_jaxpert() -> list[list[str]]:
    """Arguments of every command of ours, $SEED filled in."""
    ours = [c for c in commands() if re.match(r"(?:\.venv/bin/)?jaxpert ", c)]
    return [shlex.split(c.replace("$SEED", "1"))[1:] for c in ours]


TRAINING = [argv for argv in of_jaxpert() if argv[0] == "train" and "--config=NAME" not in argv]
NOT_ASKING = ("train", "compare", "benchmark", "study")
LONG = [argv for argv in of_jaxpert() if argv[0] == "benchmark"]
"""Commands that take minutes."""
ASKING = [argv for argv in of_jaxpert() if argv[0] not in NOT_ASKING]
"""Commands on finished runs; what `compare` takes is in its own tests, its flags in test_docs."""
QUICK = {
    "figures": ["--cells=200", "--figures=4"],
    "simulate": ["--settings=cells=600,genes=200,singles=8,pairs=6"],
}
"""Flags by which a command takes seconds."""


def test_the_readme_is_short():
    assert len(README.splitlines()) < 120


@pytest.fixture(scope="module")
def screen():
    """The screen of the README, its labels in the columns that the pages name."""
    adata, _ = data.simulate("tiny")
    adata.obs["condition"] = adata.obs["gene"] = adata.obs["perturbation"]
    return adata


@pytest.mark.parametrize("text", [README, PAGES["start"]], ids=["README", "start"])
def test_python_gives_predictions(text, screen, tmp_path, monkeypatch):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", text)
    assert len([line for line in code.splitlines() if line]) <= 10
    # Fewer components than a reader would take: what is asked is whether it runs.
    quick = code.replace("make_spec(cells))", "make_spec(cells), components=4, folds=0)")
    assert quick != code
    scope: dict = {}
    exec(quick, scope)
    predicted, fitted, cells = scope["predicted"], scope["fitted"], scope["cells"]
    asked = predicted.obs_names[1]
    assert list(predicted.obs_names) == ["ctrl", asked] and asked.count("+") == 1
    assert predicted.shape == (2, 200) and {"effect", "effect_sd", "sd"} <= set(predicted.layers)
    assert (predicted.layers["effect"][0] == 0).all() and predicted.layers["effect"][1].std() > 0
    again = jaxpert.predict(*jaxpert.load(jaxpert.save(fitted, cells, "again")), asked)
    np.testing.assert_array_equal(again.layers["effect"], predicted.layers["effect"])


def test_python_of_lines_gives_predictions(tmp_path, monkeypatch):
    adata, _ = data.simulate("lines_tiny")
    adata.write_h5ad(tmp_path / "lines.h5ad")
    monkeypatch.chdir(tmp_path)
    few_layers(monkeypatch)
    scope: dict = {}
    code = blocks("python", PAGES["guide/data"])[1]
    exec(code.replace("epochs=2", "epochs=1, devices=1"), scope)
    predicted, fitted, rows = scope["predicted"], scope["fitted"], scope["rows"]
    assert predicted.n_obs >= 3 and predicted.shape[1] == len(rows.dataset.genes)
    assert np.isfinite(predicted.layers["effect"]).all()
    again, same_rows = jaxpert.load(jaxpert.save(fitted, rows, tmp_path / "rows"))
    repeated = jaxpert.predict(again, same_rows, "PERT001")
    np.testing.assert_array_equal(predicted.X, repeated.X)
    assert jaxpert.evaluate(fitted, rows)["cycseq"]["model"]


def test_a_loss_is_changed_as_its_guide_says(screen, tmp_path, monkeypatch, capsys):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/guide/changing_a_loss.md").read_text()
    weaker, decay = blocks("python", text)
    small = "make_spec(cells), latent_dim=4, hidden_dim=8, particles=1)"
    quick = weaker.replace("make_spec(cells))", small).replace("epochs=200", "epochs=1, devices=1")
    scope: dict = {}
    exec(quick.replace("add_quality(cells)", "add_quality(cells, doublets='none')") + decay, scope)
    assert len(capsys.readouterr().out.splitlines()) == 2
    model, cells, fitted = scope["model"], scope["cells"], scope["before"]
    asked = fitted.params, fitted.state, jax.random.key(0), feeds.sample(cells, model)
    value, (_, terms) = model.loss(*asked)
    # "Their sum is the value", of which the first function takes a part and the second adds one.
    assert sum(terms.values()) == pytest.approx(float(value), rel=1e-5)
    changed, _ = scope["weaker_prior"](*asked)
    assert float(changed) == pytest.approx(float(value - 0.9 * terms["z_basal"]), rel=1e-5)
    more, (_, all_terms) = scope["with_decay"](*asked)
    assert more > value and float(more - value) == pytest.approx(
        float(all_terms["decay"]), rel=1e-2
    )


def test_python_of_data_forms_reads_a_screen(screen, tmp_path, monkeypatch):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    scope: dict = {"jaxpert": jaxpert}
    exec(blocks("python", PAGES["guide/data"])[0], scope)
    assert scope["cells"].strata == ("batch1", "batch2") and scope["cells"].quality is not None


def test_a_config_of_ones_own_is_one(tmp_path):
    (code,) = blocks("python", PAGES["guide/configs"])
    (tmp_path / "mine.py").write_text(code)
    raw, _ = training.parse([f"--config={tmp_path / 'mine.py'}", "--workdir=runs/mine"])
    checked, _ = run.read(raw)
    assert checked.model.name == "set_gp" and checked.data.perturbation == "gene"


@pytest.mark.parametrize("argv", TRAINING, ids=" ".join)
def test_training_commands_are_read_to_the_end(argv, monkeypatch):
    monkeypatch.chdir(ROOT)
    raw, folder = training.parse(argv[1:])
    checked, family = run.read(raw)
    # Machines of one job share a folder.
    assert checked.model.name in family.models
    assert folder.parts[0] == "runs" or folder.is_relative_to("/shared")


@pytest.mark.parametrize("argv", LONG, ids=" ".join)
def test_long_commands_have_their_flags_and_data(argv, screen, tmp_path, monkeypatch):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    flags = benchmark.parser_of_flags().parse_intermixed_args(argv[1:])
    assert contest.source_of(flags.data, flags.variant)[0] and flags.workdir.startswith("runs/")


STUDIES = [argv for argv in of_jaxpert() if argv[0] == "study"]


@pytest.mark.parametrize("argv", STUDIES, ids=" ".join)
def test_studies_have_their_flags_and_runs(argv, screen, tmp_path, monkeypatch):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    flags = command.parser_of_flags().parse_args(argv[1:])
    asked = command.study_of(flags.family)
    assert set(flags.models.split(",")) <= set(asked.variants)
    assert (tmp_path / flags.data).exists() and flags.results.startswith("runs/")


@pytest.mark.parametrize("argv", ASKING, ids=" ".join)
def test_commands_on_finished_runs_work(argv, screen, tmp_path, monkeypatch):
    owner = {"pairs": "gears", "clean": "cradle", "interpret": "cradle"}.get(argv[0])
    if owner:
        # Their own tests run these commands; here, that the flags exist.
        options = families.load(owner).commands[argv[0]].options
        flags = {flag.split("=")[0] for flag in argv if flag.startswith("--")} - {"--output"}
        assert flags <= {f"--{name}" for name in options.__dataclass_fields__}
        return
    for run_asked in {name for name in argv if name.startswith("runs/")} or {"runs/demo"}:
        shutil.copytree(finished_run.finished()[0], tmp_path / run_asked)
    if argv[0] == "check":
        screen.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    assert cli.main([*argv, *QUICK.get(argv[0], [])]) == 0
    assert len(list(tmp_path.rglob("*"))) > 10


def test_the_study_command_is_known(tmp_path, monkeypatch):
    (command,) = [c for c in commands() if "cradle_tables.py" in c]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/tables").mkdir(parents=True)
    flags = shlex.split(command)[2:]
    assert cli.main(["study", "--family=cradle", *flags, "--only_tables"]) == 0
    assert (tmp_path / "runs/tables/tables.md").exists()
    assert '"study", "--family=cradle"' in (ROOT / "experiments/cradle_tables.py").read_text()


def test_named_files_exist_and_keys_are_known():
    for path in re.findall(r"[`(]((?:configs|docs|tests|experiments)/[\w./]+)[`)]", TEXT):
        assert (ROOT / path).exists(), path
    known: set[str] = set()
    for model in families.models():
        known |= {key.key for key in listed(families.keys_of(model), families.entry_of(model))}
    sections = "data|graphs|split|train|quality|evaluation|model"
    for key in re.findall(rf"`(?:--config\.)?((?:{sections})\.[\w.]+)", TEXT):
        assert key in known or any(name.startswith(f"{key}.") for name in known), key
