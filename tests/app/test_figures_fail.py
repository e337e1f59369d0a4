"""Figures follow the results: one that fails, or a run killed while it drew, loses nothing."""

import html
import json
import shutil

import pytest

from jaxpert.app import cli, run
from jaxpert.core import files
from jaxpert.report import plots
from support.paths import ROOT
from support.runs import ONE_DEVICE

TEST = f"--config={ROOT}/configs/scgen.py:test"


@pytest.fixture
def copied(run_of, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(run_of("scgen:test"), work)
    return work


def again(work):
    return cli.main(["train", TEST, ONE_DEVICE, f"--workdir={work}"])


# One of each kind that is caught in its own way, all in one evaluation.
FAILURES = {
    "umap_embedding": ("latent_umap.png", RuntimeError("cannot cache function 'rdist'")),
    "baseline_bars": ("baselines.png", OSError("no space for bars")),
    "effect_panels": ("effects.png", MemoryError("no memory for panels")),
}


def test_figures_that_fail_are_notes(copied, monkeypatch, capsys):
    """A process that dies while it draws leaves results, and no folder of figures; the same command
    draws what is absent, and a figure that fails is named in log and report."""
    before = json.loads((copied / "metrics.json").read_text())
    for name in ("metrics.json", "report.html"):
        (copied / name).unlink()
    shutil.rmtree(copied / "figures")
    with monkeypatch.context() as killed:
        killed.setattr(plots, "loss_curves", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert again(copied) == 130
    assert (copied / "metrics.json").exists() and not (copied / run.FIGURES).exists()
    assert not list(copied.glob(".*.part"))
    capsys.readouterr()

    for name, (_, error) in FAILURES.items():
        monkeypatch.setattr(plots, name, lambda *_, error=error, **__: raised(error))
    assert again(copied) == 0
    told, report = capsys.readouterr().err, (copied / "report.html").read_text()
    drawn = {path.name for path in (copied / "figures").iterdir()}
    assert {"loss_curves.png", "ate_scatter.png", "not_drawn.json"} <= drawn
    for figure, error in FAILURES.values():
        assert f"{figure} could not be drawn" in told and str(error) in told
        assert f"{figure} is missing" in report and str(error) in html.unescape(report)
        assert figure not in drawn
    after = json.loads((copied / "metrics.json").read_text())
    assert after["model"] == before["model"] and after["verdict"] == before["verdict"]
    # Now the run is finished, and nothing is drawn again.
    stamp = (copied / "metrics.json").stat().st_mtime_ns
    assert again(copied) == 0 and "this run is finished" in capsys.readouterr().err
    assert (copied / "metrics.json").stat().st_mtime_ns == stamp


def raised(error):
    raise error


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
