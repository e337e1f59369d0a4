"""Whose a work directory is: of one process at a time, and of the data it was begun with."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import anndata
import numpy as np
import pytest

from jaxpert.app import cli, run, training
from jaxpert.app.check import check_config
from jaxpert.core import checkpoint, fit, workdir
from jaxpert.core.family import Results
from jaxpert.core.train import Outcome
from jaxpert.core.types import InputError
from jaxpert.tasks.screen import load
from support import finished_run


@pytest.fixture
def finished(tmp_path):
    work = tmp_path / "work"
    shutil.copytree(finished_run.finished()[0], work)
    return work


@pytest.fixture
def half(finished):
    """A run whose training is not over."""
    (finished / "metrics.json").unlink()
    return finished


def reading(monkeypatch, change):
    """Let the file hold other data than it did."""
    read = load.load_dataset
    monkeypatch.setattr(load, "load_dataset", lambda config: (change(read(config)[0]), None))


def turned(dataset):
    """The file written again with its genes in another order."""
    order = np.arange(len(dataset.genes))[::-1]
    genes = tuple(dataset.genes[i] for i in order)
    return replace(dataset, genes=genes, counts=dataset.counts[:, order].tocsr())


def mended(dataset):
    counts = dataset.counts.copy()
    counts.data[0] += 1
    return replace(dataset, counts=counts)


@pytest.mark.parametrize(
    ("change", "said"),
    [(turned, r"in another order, of the genes number 1 was"), (mended, r"\(other counts\)")],
)
@pytest.mark.parametrize("state", ["finished", "half"])
def test_other_data_are_refused(state, change, said, request, monkeypatch):
    folder = request.getfixturevalue(state)
    before = sorted(path.name for path in folder.rglob("*"))
    reading(monkeypatch, change)
    with pytest.raises(InputError, match=said):
        run.run(finished_run.config(), folder)
    after = sorted(path.name for path in folder.rglob("*"))
    assert set(after) - set(before) <= {".lock", "truth.npz"}


def test_the_same_data_are_finished(finished, capsys):
    assert run.run(finished_run.config(), finished) == 0
    assert "this run is finished" in capsys.readouterr().err


def test_ctrl_c_at_the_end_of_training_waits_for_no_evaluation(half, monkeypatch, capfd):
    """Evaluating takes as long as training, and so is left to the same command."""

    def interrupted(model, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return fit.Fitted(model, {}, {}, None, Outcome("finished", 3, 21))

    monkeypatch.setattr(fit, "fit", interrupted)
    assert run.run(finished_run.config(), half) == 0
    said = capfd.readouterr().err
    assert "SIGINT: stopping" in said and "stopped at step 21 and saved; the same command" in said
    assert not (half / "metrics.json").exists()


def test_what_a_killed_process_left_half_written_is_removed(finished):
    left = [finished / ".metrics.1234.part.json", finished / "figures" / ".scores.99.part.png"]
    left[1].parent.mkdir(exist_ok=True)
    kept = [finished / ".notes", finished / "mine.part.txt"]
    # Figures are drawn into a folder, which takes its place when all are there.
    left.append(finished / ".figures.99.part" / "loss_curves.png")
    left[2].parent.mkdir()
    for path in (*left, *kept):
        path.write_text("x")
    run.run(finished_run.config(), finished)
    assert not any(path.exists() for path in (*left, left[2].parent))
    assert all(path.exists() for path in kept)


def test_one_process_at_a_time(finished, capsys):
    code = (
        "import sys, time, pathlib; from jaxpert.core import workdir\n"
        "with workdir.alone(pathlib.Path(sys.argv[1])):\n"
        "    print('mine', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(finished)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="another process is writing to .* wait for its end"):
            run.run(finished_run.config(), finished)
        os.kill(other.pid, signal.SIGKILL)
    # Freed with the process, and not by it.
    assert run.run(finished_run.config(), finished) == 0


def test_a_folder_that_another_process_took_while_data_were_read(tmp_path, monkeypatch):
    folder, read = tmp_path / "work", load.load_dataset
    # Made before, since making it reads data too.
    finished = finished_run.finished()[0]

    def slowly(config):
        shutil.copytree(finished, folder)
        (folder / "config.json").write_text(json.dumps({"format": 2, "seed": 1}))
        return read(config)

    monkeypatch.setattr(load, "load_dataset", slowly)
    with pytest.raises(InputError, match="belongs to a run with another config"):
        run.run(finished_run.config(), folder)


@pytest.mark.parametrize("flag", [{"freeze": "decoderr"}, {"clip_parts": "decoderr"}])
def test_parameters_that_the_model_has_not_are_refused_without_a_trace(flag, tmp_path):
    raw = finished_run.config()
    raw["train"] |= flag
    name = next(iter(flag))
    with pytest.raises(InputError, match=f"train.{name} names 'decoderr', expected"):
        run.run(raw, tmp_path / "work")
    assert not (tmp_path / "work").exists()
    with pytest.raises(InputError, match=f"train.{name} names 'decoderr', expected"):
        check_config(raw)


def test_a_file_system_without_locks_is_a_note(finished, monkeypatch, capsys):
    import errno

    import filelock

    def refused(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    assert run.run(finished_run.config(), finished) == 0
    assert "knows no locks" in capsys.readouterr().err


def test_data_of_an_older_run_are_compared_by_name(finished, capsys, monkeypatch):
    with checkpoint.open(finished) as manager:
        read = checkpoint.newest_meta
        older = {name: value for name, value in read(manager).items() if name != "digest"}
    monkeypatch.setattr(checkpoint, "newest_meta", lambda _: older)
    assert run.run(finished_run.config(), finished) == 0
    assert "counts could not be compared" in capsys.readouterr().err


def test_settings_that_the_version_of_a_run_did_not_have_count_as_their_defaults(finished, capsys):
    path = finished / "config.json"
    before = json.loads(path.read_text())
    del before["model"]["kwargs"]["compat"], before["data"]["case"]
    path.write_text(json.dumps(before))
    assert run.run(finished_run.config(), finished) == 0
    assert "this run is finished" in capsys.readouterr().err


def test_a_run_begun_with_the_settings_of_before_is_refused_with_both_values(tmp_path, capsys):
    """The test variant of CycSeq had three hidden layers once."""
    flag = "--config=cycseq_pretrain:test"
    before, _ = training.parse([flag])
    now = before["model"]["kwargs"]["hidden"]
    before["model"]["kwargs"]["hidden"] = (16, 8, 8)
    workdir.write_config(tmp_path, before)
    assert cli.main(["train", flag, f"--workdir={tmp_path}"]) == 2
    said = f"model.kwargs.hidden was [16, 8, 8] and is now {list(now)}"
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


CONFIGS = {
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "text": b'"x"',
    "empty": b"",
    "cut": b'{"seed": ',
    "deep": b"[" * 100_000,
    "utf-16": '{"seed": 0}'.encode("utf-16"),
    "latin-1": b'{"seed": "\xe9"}',
    "bytes": bytes(range(256)),
    "format a text": b'{"format": "x"}',
    "format null": b'{"format": null}',
    "format a list": b'{"format": []}',
    "format of later": b'{"format": 99}',
    "format true": b'{"format": true}',
    "sections that are none": b'{"format": 2, "model": [], "train": 3}',
}


@pytest.mark.parametrize("name", CONFIGS)
def test_any_config_json_is_one_sentence(name, tmp_path):
    (tmp_path / "config.json").write_bytes(CONFIGS[name])
    with pytest.raises(InputError) as refused:
        workdir.check(finished_run.config(), tmp_path)
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_without_drawing_there_are_results_and_no_figures(tmp_path, monkeypatch):
    drawn = []
    results = Results({"verdict": "better"}, anndata.AnnData(np.zeros((1, 1))), {})
    task = SimpleNamespace(
        evaluate=lambda *_: results, about=lambda _: {}, draw=lambda *_: drawn.append(1)
    )
    checked = SimpleNamespace(train=SimpleNamespace(seeds=1))
    prepared = run.Prepared(checked, SimpleNamespace(task=task), SimpleNamespace(audit={}), None)
    fitted = fit.Fitted._make([None] * len(fit.Fitted._fields))
    monkeypatch.setattr(run, "about", lambda *_: {})
    run.finish(prepared, fitted, tmp_path, draw=False)
    assert (tmp_path / "metrics.json").exists() and (tmp_path / "predictions.h5ad").exists()
    assert not (tmp_path / "figures").exists() and not drawn
    # Drawn later, by the same call with figures.
    run.finish(prepared, fitted, tmp_path)
    assert (tmp_path / "figures").is_dir() and drawn
