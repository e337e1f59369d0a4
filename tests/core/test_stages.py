"""What a command does now, how far it is, and how much of that is told."""

import sys

import pytest

from jaxpert.app import cli
from jaxpert.core import log, stages, verbosity
from jaxpert.core.errors import InputError


@pytest.fixture(autouse=True)
def normal():
    token = verbosity.LEVEL.set(verbosity.NORMAL)
    yield
    verbosity.LEVEL.reset(token)


def test_flags_of_any_place_set_the_level_and_are_taken_off():
    assert verbosity.take_flags(["train", "--quiet", "--config=a"]) == ["train", "--config=a"]
    assert verbosity.quiet()
    assert verbosity.take_flags(["--verbose"]) == [] and verbosity.verbose()
    # The next command of the process starts anew.
    assert verbosity.take_flags(["train"]) == ["train"]
    assert not verbosity.quiet() and not verbosity.verbose()


def test_both_flags_are_refused(capsys):
    with pytest.raises(InputError, match="--quiet and --verbose are both given, expected one"):
        verbosity.take_flags(["--quiet", "--verbose"])
    assert cli.main(["check", "--quiet", "x.h5ad", "--verbose"]) == 2
    assert capsys.readouterr().err.startswith("error: --quiet and --verbose are both given")


def test_results_alone_are_told_quietly(capsys):
    verbosity.LEVEL.set(verbosity.QUIET)
    with stages.stage("reading"):
        log.say("a note")
        log.result("a result")
    with log.progress(10, every=0.0) as show:
        show(10)
    assert list(stages.track(range(3), "predicting")) == [0, 1, 2]
    assert capsys.readouterr().err == "a result\n"


def test_a_stage_says_how_long_it_took_where_everything_is_told(capsys):
    with stages.stage("reading"):
        pass
    assert capsys.readouterr().err == "reading\n"
    verbosity.LEVEL.set(verbosity.VERBOSE)
    with stages.stage("reading"):
        pass
    assert capsys.readouterr().err.splitlines() == ["reading", "reading: done in 0.0 s"]


def test_long_work_says_where_it_is_and_short_work_nothing(monkeypatch, capsys):
    assert list(stages.track("abc", "drawing")) == list("abc")
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    assert list(stages.track("abcd", "drawing")) == list("abcd")
    # Six seconds for each item, and a line every ten at most.
    assert capsys.readouterr().err.splitlines() == [
        "drawing: 1 of 4, 0:36 left",
        "drawing: 3 of 4, 0:08 left",
    ]


def test_a_terminal_gets_a_bar_where_work_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(stages, "PATIENCE", 0.0)
    assert list(stages.track("ab", "drawing")) == ["a", "b"]
    assert "drawing" in capsys.readouterr().err
