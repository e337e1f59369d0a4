"""Samples of the campaigns that damage, kill and fill up, and that each sees a fault where there is
one; `make campaign` runs them whole."""

from jaxpert.core import checkpoint
from robustness import __main__ as campaigns
from robustness import checkpoints, faults

FAULTS = ("tracebacks", "silent", "differences")


def clean(tally):
    return tally["cases"] > 0 and not any(tally[kind] for kind in FAULTS)


def test_damaged_checkpoints():
    assert clean(checkpoints.main(4, 1))


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
    monkeypatch.setattr(campaigns, "run", lambda name, *_: tallies[name])
    monkeypatch.setattr(campaigns.importlib.util, "find_spec", lambda n: tallies.get(n[11:]))
    assert campaigns.main(10, 0) == 1
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert shown[0] == ["campaign", *faults.COLUMNS]
    assert shown[1:] == [
        ["fuzz_text", "5", "0", "2", "0", "0", "0"],
        ["kills", "3", "0", "0", "0", "9", "0"],
    ]
    del tallies["fuzz_text"]
    assert campaigns.main(10, 0) == 0
