"""Samples of the campaigns that damage, kill and fill up, and that each sees a fault where there is
one; `make campaign` runs them whole."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from jaxpert.core import checkpoint
from robustness import __main__ as campaigns
from robustness import checkpoints, disk, disk_checkpoints, faults, processes, tables

FAULTS = ("tracebacks", "silent", "differences")


def clean(tally):
    return tally["cases"] > 0 and not any(tally.get(kind) for kind in FAULTS)


def test_damaged_checkpoints():
    assert clean(checkpoints.main(4, 1))


def test_commands_that_are_refused():
    """In a process of their own, since its children must not have the threads of this one."""
    assert clean(campaigns.run("command_line", 3, 0))


def test_a_disk_that_fills_up_while_checkpoints_are_written():
    if reason := disk.why_not():
        pytest.skip(reason)
    # Every third size, for each takes two processes.
    shares = (*disk_checkpoints.SHARES[:-1:3], disk_checkpoints.SHARES[-1])
    tally = disk_checkpoints.campaign(shares)
    # The smallest disk takes none, and the largest both.
    assert clean(tally) and 0 < tally["refused"] < tally["cases"] == len(shares)


def test_other_numbers_and_tracebacks_are_faults(monkeypatch):
    restore = checkpoint.restore

    def other(manager, like):
        now, meta, notes = restore(manager, like)
        return now._replace(state={"counts": now.state["counts"] + 1}), meta, notes

    monkeypatch.setattr(checkpoint, "restore", other)
    assert checkpoints.main(0.5, 0)["silent"] > 0
    monkeypatch.setattr(checkpoint, "restore", lambda *_: {}["x"])
    assert checkpoints.main(0.5, 0)["tracebacks"] > 0


def test_the_table_and_the_exit_status(monkeypatch, capsys):
    tallies = {"kills": {"cases": 3, "kills": 9}, "fuzz_text": {"cases": 5, "silent": ["x", "y"]}}
    monkeypatch.setattr(campaigns, "run", lambda name, *_: dict(tallies[name]))
    monkeypatch.setattr(campaigns.importlib.util, "find_spec", lambda n: tallies.get(n[11:]))
    assert campaigns.main(10, 0) == 1
    shown = capsys.readouterr().out
    assert "FAULT silent: x" in shown
    rows = [line.split() for line in shown.splitlines()[-3:]]
    assert rows[0] == ["campaign", *faults.COLUMNS, "seconds"]
    assert rows[1:] == [
        ["kills", "3", "0", "0", "0", "9", "0", "0"],
        ["fuzz_text", "5", "0", "2", "0", "0", "0", "0"],
    ]
    del tallies["fuzz_text"]
    assert campaigns.main(10, 0) == 0


@pytest.mark.parametrize(
    ("name", "tally"),
    [("kills", {"cases": 2, "kills": 0}), ("disk", {}), ("tables", {"cases": 0, "kills": 3})],
)
def test_a_campaign_that_did_nothing_has_not_passed(name, tally, monkeypatch, capsys):
    monkeypatch.setattr(campaigns, "run", lambda *_: dict(tally))
    monkeypatch.setattr(campaigns.importlib.util, "find_spec", lambda n: n[11:] == name or None)
    assert campaigns.main(10, 0) == 1
    assert "did nothing" in capsys.readouterr().out.splitlines()[-1]


def test_the_time_is_shared_out(monkeypatch, capsys):
    """What a campaign takes beyond its part is taken from those that follow."""
    now, asked = [0.0], {}
    monkeypatch.setattr(campaigns.time, "monotonic", lambda: now[0])

    def run(name, seconds, seed):
        asked[name] = seconds
        now[0] += seconds + (100 if name == "kills" else 0)
        return {"cases": 1}

    monkeypatch.setattr(campaigns, "run", run)
    campaigns.share_out({"fuzz_h5ad": 2, "kills": 30, "tables": 6, "disk": 4}, 420, 0)
    assert asked == {
        "fuzz_h5ad": 20,
        "kills": 300,
        "tables": campaigns.LEAST,
        "disk": campaigns.LEAST,
    }
    capsys.readouterr()


def test_kills_go_on_beside_the_others(monkeypatch, capsys):
    """Each waits for the other to have begun, which two that follow each other would never see."""
    both, asked = threading.Barrier(2, timeout=30), {}

    def run(name, seconds, seed):
        asked[name] = seconds
        if name in ("kills", "fuzz_text"):
            both.wait()
        return {"cases": 1, "kills": 1}

    monkeypatch.setattr(campaigns, "run", run)
    assert campaigns.main(3600, 0) == 0
    assert asked["kills"] > 3590
    assert set(asked) == {name for lane in campaigns.LANES for name in lane}
    capsys.readouterr()


@pytest.mark.parametrize(("end", "kills"), [(30, tables.KILLS[0]), (0, 0)])
def test_a_study_that_is_done_is_not_waited_for(end, kills, monkeypatch, tmp_path):
    """Kills follow its short writing, and beyond the end of the time there are none."""
    start = lambda _: os.posix_spawnp("sleep", ["sleep", "0.2"], os.environ)  # noqa: E731
    monkeypatch.setattr(processes, "start", start)
    place, found = tables.Place(tmp_path, tmp_path / "log", tmp_path), faults.Faults()
    began = time.monotonic()
    tables.kill_until_done(place, 1e6, began + end, random.Random(0), found)
    assert found.tally["kills"] >= kills and not found.tally["tracebacks"]
    assert time.monotonic() - began < end + 10


def test_every_campaign_is_one_of_a_lane():
    """Whatever can be run for so many seconds is run by `make campaign`."""
    files = Path(campaigns.__file__).parent.glob("*.py")
    runnable = {path.stem for path in files if "\ndef main(seconds" in path.read_text()}
    lanes = [name for lane in campaigns.LANES for name in lane]
    assert runnable - {"__main__"} == set(lanes)
    assert len(lanes) == len(set(lanes))
