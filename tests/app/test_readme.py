"""The README is true: its Python runs, its commands parse, its files exist."""

import pathlib
import re
import runpy
import shlex
import shutil

import pytest

import main as cli
from jaxpert import data
from support import finished_run
from support.paths import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def test_python_gives_predictions(tmp_path, monkeypatch):
    adata, _ = data.simulate("tiny")
    adata.write_h5ad(tmp_path / "screen.h5ad")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) <= 7
    scope: dict = {}
    exec(code, scope)
    predicted = scope["predicted"]
    assert list(predicted.obs_names) == ["ctrl", "PERT001+PERT002"]
    assert predicted.shape == (2, 200) and {"effect", "effect_error", "sd"} <= set(predicted.layers)
    assert (predicted.layers["effect"][0] == 0).all() and predicted.layers["effect"][1].std() > 0


@pytest.mark.parametrize("command", [c for c in commands() if "experiments/main.py" in c])
def test_command_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    argv = shlex.split(command)
    config, _ = cli.parse(argv[argv.index("experiments/main.py") :])
    models = (
        "cradle_vae",
        "sams_vae",
        "cpa_vae",
        "svae_plus",
        "conditional_vae",
        "gears",
        "cycseq",
        "scgen",
    )
    assert config["model"]["name"] in models


ELSEWHERE = {
    "gears_leave_pairs_out": "tests/study/test_leave_pairs_out_command.py",
    "gears_figures": "tests/analysis/test_gears_figures.py",
}
"""Scripts that need runs of their own, with the tests that run them."""


def of_script(command: str) -> str:
    return pathlib.Path(shlex.split(command)[1]).stem


@pytest.mark.parametrize(
    "command", [c for c in commands() if "experiments/" in c and of_script(c) in ELSEWHERE]
)
def test_commands_that_are_run_elsewhere(command):
    script = of_script(command)
    assert f"{script}" in (ROOT / ELSEWHERE[script]).read_text()
    help_of = runpy.run_path(str(ROOT / f"experiments/{script}.py"))["__doc__"]
    assert all(flag.split("=")[0] in help_of for flag in shlex.split(command)[2:])


@pytest.mark.parametrize(
    "command",
    [c for c in commands() if "experiments/" in c and of_script(c) not in ("main", *ELSEWHERE)],
)
def test_command_on_finished_runs_works(command, tmp_path, monkeypatch):
    (tmp_path / "runs/tables").mkdir(parents=True)
    shutil.copytree(finished_run.finished()[0], tmp_path / "runs/demo")
    monkeypatch.chdir(tmp_path)
    _, script, *flags = shlex.split(command)
    quick = {"cradle_tables": ["--only_tables"], "cradle_figures": ["--cells=200", "--figures=4"]}
    status = runpy.run_path(str(ROOT / script))["main"](
        [script, *flags, *quick.get(pathlib.Path(script).stem, [])]
    )
    assert status == 0 and len(list(tmp_path.rglob("*"))) > 10


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_target_exists(command):
    assert f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()


def test_named_files_exist_and_keys_are_known():
    from jaxpert.core.config import MEANINGS

    for path in re.findall(r"`((?:configs|docs|tests)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path
    for key in re.findall(
        r"`(?:--config\.)?((?:data|graphs|split|train|quality|evaluation|model)\.[\w.]+)", README
    ):
        assert key.split("=")[0] in MEANINGS, key
