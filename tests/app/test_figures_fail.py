"""Figures follow the results: one that fails, or a run killed while it drew, loses nothing."""

import json
import shutil

import pytest

from jaxpert.app import cli, run
from jaxpert.core import files
from jaxpert.report import plots
from support.paths import ROOT
from support.runs import ONE_DEVICE

TEST = f"--config={ROOT}/configs/cradle_norman.py:test"


@pytest.fixture
def copied(run_of, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(run_of("cradle_norman:test"), work)
    return work


def again(work):
    return cli.main(["train", TEST, ONE_DEVICE, f"--workdir={work}"])


@pytest.mark.parametrize("error", [RuntimeError, OSError, MemoryError])
def test_a_figure_that_fails_is_a_note(error, copied, monkeypatch, capsys):
    """The same command draws what is absent; a figure that fails is named in log and report."""
    before = json.loads((copied / "metrics.json").read_text())

    def fail(*_):
        raise error("cannot cache function 'rdist'")

    shutil.rmtree(copied / "figures")
    monkeypatch.setattr(plots, "umap_embedding", fail)
    assert again(copied) == 0
    told = capsys.readouterr().err
    assert "latent_umap.png could not be drawn" in told and "rdist" in told
    drawn = {path.name for path in (copied / "figures").iterdir()}
    assert {"ate_scatter.png", "effects.png", "baselines.png", "not_drawn.json"} <= drawn
    assert "latent_umap.png" not in drawn
    report = (copied / "report.html").read_text()
    assert "latent_umap.png is missing" in report and "rdist" in report
    after = json.loads((copied / "metrics.json").read_text())
    assert after["model"] == before["model"] and after["verdict"] == before["verdict"]
    # Now the run is finished, and nothing is drawn again.
    stamp = (copied / "metrics.json").stat().st_mtime_ns
    assert again(copied) == 0 and "this run is finished" in capsys.readouterr().err
    assert (copied / "metrics.json").stat().st_mtime_ns == stamp


def test_metrics_are_there_before_figures(copied, monkeypatch):
    """A process that dies while it draws leaves results, and no folder of figures."""
    for name in ("metrics.json", "report.html"):
        (copied / name).unlink()
    shutil.rmtree(copied / "figures")
    monkeypatch.setattr(plots, "loss_curves", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert again(copied) == 130
    assert (copied / "metrics.json").exists() and not (copied / run.FIGURES).exists()
    assert not list(copied.glob(".*.part"))
    monkeypatch.undo()
    assert again(copied) == 0 and (copied / "figures/loss_curves.png").exists()


def test_a_folder_is_whole_or_not_there(tmp_path):
    target = tmp_path / "figures"
    with files.whole_folder(target) as part:
        (part / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(ValueError), files.whole_folder(target) as part:
        (part / "b").write_text("2")
        raise ValueError
    assert [path.name for path in target.iterdir()] == ["a"]
    with files.whole_folder(target) as part:
        (part / "c").write_text("3")
    assert [path.name for path in target.iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
