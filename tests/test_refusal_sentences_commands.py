"""Refusals of commands and calls that no other test meets, each with its whole sentence: what was
found, what was expected, and the fix. `{at}` is the folder of the test."""

import pathlib

import jax
import pytest

from jaxpert import data
from jaxpert.app import cli, python, run, training
from support import finished_run
from support.refused import told

COMMANDS = {
    "no run was given, expected the work directory of one: jaxpert figures RUN": ["figures"],
    "--strip_versions is 'perhaps', expected True or False: correct it": [
        "check",
        "x.h5ad",
        "--strip_versions=perhaps",
    ],
    "--min_cells_per_gene is 'few', expected a whole number, at least 0: correct it": [
        "check",
        "x.h5ad",
        "--min_cells_per_gene=few",
    ],
    "no perturbation was given, expected names such as KLF1+FAR2: give them after the run, or "
    "--list=FILE with one a line": ["predict", "run"],
    "seed is '1_000', expected a number in the digits 0 to 9: type it anew": [
        "train",
        "--config=cradle_norman:test",
        "--config.seed=1_000",
    ],
    "--output is 'x.csv', expected the name of an .h5ad file: choose such a name": [
        "predict",
        "run",
        "A",
        "--output=x.csv",
    ],
}


@pytest.mark.parametrize("sentence", COMMANDS)
def test_commands(sentence, capsys):
    assert cli.main(COMMANDS[sentence]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def config_file(folder: pathlib.Path, *lines: str) -> str:
    """A flag that names a config file with these lines before its last one."""
    head = ["from ml_collections import ConfigDict", "from jaxpert.models.cradle import settings"]
    function = ["def get_config(variant):", *lines]
    last = "    return ConfigDict(settings.defaults('cradle_vae', variant))"
    (folder / "own.py").write_text("\n".join([*head, *function, last]))
    return f"--config={folder}/own.py:test"


CONFIGS = {
    # The flags library reads the file once more, under another name.
    "{at}/own.py with these flags ends in RuntimeError (no room), expected a config and values of "
    "its keys: correct whichever is wrong": (
        ["    if __name__ != '<run_path>':", "        raise RuntimeError('no room')"],
        [],
    ),
    "{at}/own.py with these flags ends in MemoryError (), expected a config and values of its "
    "keys: correct whichever is wrong": ([], ["--config.quality.columns=" + "-" * 100_000 + "1"]),
}


@pytest.mark.parametrize("sentence", CONFIGS)
def test_configs(sentence, tmp_path):
    lines, flags = CONFIGS[sentence]
    message = told(lambda: training.parse([config_file(tmp_path, *lines), *flags]))
    assert message == sentence.replace("{at}", str(tmp_path))


def test_long_values_are_not_repeated_whole(tmp_path):
    value = "(" * 5000
    message = told(
        lambda: training.parse([config_file(tmp_path), f"--config.quality.columns={value}"])
    )
    assert message.startswith("the flags are wrong (flag --config.quality.columns=(((")
    assert message.endswith("((( ...), expected those of this config: see --help for all")
    assert len(message) < 500


@pytest.mark.parametrize("key", ["perturbation", "stratum"])
def test_columns_are_named_by_text(screen, labels, key, unchecked_shapes):
    """As for users, whose calls nothing else checks."""
    message = told(lambda: data.read(screen(labels), **{key: 3}))
    expected = "expected the name of a column of the cells as text: correct it"
    assert message == f"data.{key} is 3, {expected}"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of mudata, on what it will do by default
def test_mudata_without_rna(screen, labels):
    mudata = pytest.importorskip("mudata")
    proteins = mudata.MuData({"protein": screen(labels)})
    assert told(lambda: data.read(proteins)) == (
        "the MuData object has the modalities protein, expected one called 'rna': give that "
        "modality as an AnnData object"
    )


def test_data_of_another_kind(unchecked_shapes):
    """As for users, whose calls nothing else checks."""
    assert told(lambda: python.make_spec("x.h5ad")) == (  # pyright: ignore
        "the data are a str, expected what jaxpert.read or jaxpert.prepare_rows returned: read the "
        "file with one of these"
    )


def test_processes_that_cannot_be_joined(tmp_path, monkeypatch):
    def initialize(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    message = told(lambda: run.run(finished_run.config(multi_process=True), tmp_path / "run"))
    assert message == (
        "train.multi_process is set but no other process was found (coordinator_address should be "
        "defined.), expected some: start the processes through Slurm, MPI, Kubernetes or a TPU "
        "pod, or leave it False"
    )
    assert not (tmp_path / "run").exists()


def test_processes_that_are_lost(tmp_path, monkeypatch):
    def lost(*_):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: connection reset by peer")

    monkeypatch.setattr(run, "train", lost)
    message = told(lambda: run.run(finished_run.config(), tmp_path / "run"))
    monkeypatch.undo()
    assert message == (
        "another process of this run has gone (UNAVAILABLE: connection reset by peer), expected "
        "all of them to the end: start them again with the same command, which goes on from the "
        "last checkpoint"
    )
