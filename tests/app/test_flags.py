"""How commands end: by an exit status and one sentence, whatever happens."""

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxpert.app import cli, flags
from jaxpert.core import unforeseen
from jaxpert.core.errors import InputError
from jaxpert.data.doublets import _largest_embedding
from jaxpert.report import attempts
from support.paths import ROOT


def raising(error, folder=None):
    """Work that fails, in the work directory of a run or before there is one."""

    def work():
        unforeseen.FOLDER.set(folder)
        raise error

    return work


def test_an_error_that_nobody_foresaw_is_one_sentence_and_a_log(tmp_path, capsys):
    assert flags.guarded(raising(ZeroDivisionError("a\nb"), tmp_path)) == 70
    said = capsys.readouterr().err
    log = tmp_path / "error.log"
    assert said.count("\n") == 1 and said.startswith("error: ZeroDivisionError (a b), which nobody")
    assert str(log) in said and "Traceback (most recent call last)" in log.read_text()
    flags.guarded(raising(KeyError("second"), tmp_path))
    assert "ZeroDivisionError" in log.read_text() and "KeyError: 'second'" in log.read_text()


@pytest.mark.parametrize("inside", [None, "gone"])
def test_without_a_work_directory_the_log_is_temporary(inside, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unforeseen.tempfile, "tempdir", str(tmp_path))
    token = unforeseen.FOLDER.set(inside and tmp_path / inside)
    assert flags.guarded(raising(ValueError("no InputError"))) == 70
    (log,) = tmp_path.glob("jaxpert-*.log")
    assert str(log) in capsys.readouterr().err and "no InputError" in log.read_text()
    monkeypatch.setattr(unforeseen.tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert flags.guarded(raising(ValueError("x"))) == 70
    assert "test_flags.py:" in capsys.readouterr().err
    unforeseen.FOLDER.reset(token)


def test_other_ends_stay_what_they_are(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(unforeseen.tempfile, "tempdir", str(tmp_path))
    assert flags.guarded(lambda: 0) == 0
    assert flags.guarded(raising(SystemExit())) == 0
    assert flags.guarded(raising(SystemExit(3))) == 3
    assert flags.guarded(raising(SystemExit("text"))) == 1
    assert flags.guarded(raising(InputError("found\nthis"))) == 2
    assert capsys.readouterr().err == "error: found this\n"
    with pytest.raises(BrokenPipeError):
        flags.guarded(raising(BrokenPipeError()))
    assert flags.guarded(raising(MemoryError())) == 70
    assert "lower train.batch_size" in capsys.readouterr().err


def test_one_way_to_name_the_config():
    for given in (["--config", "x:test"], ["-config", "x:test"], ["-config=x:test"]):
        assert flags.with_config([*given, "--config.seed=1"]) == [
            "--config=x:test",
            "--config.seed=1",
        ]
    kept = ["check", "f", "--config.data.control=--config", "--"]
    assert flags.with_config(kept) == kept


@pytest.mark.parametrize(
    ("command", "sentence"),
    [("predict", flags.UNDONE), ("evaluate", flags.ANEW), ("score", flags.ANEW)],
)
def test_an_interrupted_command_says_what_it_left(command, sentence, monkeypatch, capfd):
    monkeypatch.setattr(cli, command, lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert cli.main([command]) == 130
    assert capfd.readouterr().err == f"interrupted; {sentence}\n"


def test_handlers_are_put_back(capfd):
    before = [signal.getsignal(number) for number in flags.SIGNALS], sys.unraisablehook
    assert flags.guarded(lambda: os.kill(os.getpid(), signal.SIGINT)) == 130
    assert capfd.readouterr().err == f"interrupted; {flags.RESUMES}\n"
    assert flags.guarded(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    assert flags.guarded(lambda: os.kill(os.getpid(), signal.SIGTERM), flags.UNDONE) == 143
    assert capfd.readouterr().err.endswith(f"terminated; {flags.UNDONE}\n")
    assert before == ([signal.getsignal(number) for number in flags.SIGNALS], sys.unraisablehook)


def test_an_interrupt_that_a_library_swallows_ends_the_command(capfd):
    """Else a figure is noted as one that cannot be drawn, or doublets as too few to call."""
    reached = []

    def broken(*_):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)
        except KeyboardInterrupt:
            raise RuntimeError("the import failed") from None

    def figures():
        attempts.attempt({}, "umap.png", broken)
        reached.append("what follows")
        return 0

    def doublets():
        _largest_embedding(broken, None, 0)
        reached.append("what follows")
        return 0

    for work in (figures, doublets):
        assert flags.guarded(work) == 130 and not reached
        assert capfd.readouterr().err == f"interrupted; {flags.RESUMES}\n"

    def swallowed():
        with contextlib.suppress(RuntimeError):
            broken()
        return 0

    assert flags.guarded(swallowed) == 130
    # Nothing of it is left for what this process does next.
    missing = {}
    attempts.attempt(missing, "umap.png", raising(RuntimeError("no memory")))
    assert "no memory" in missing["umap.png"]
    assert flags.guarded(lambda: 0) == 0


KILL = "os.kill(os.getpid(), signal.SIGINT)"
PLACES = {
    "where nothing can be raised": f"""
class Late:
    def __del__(self):
        {KILL}

def work():
    late = Late()
    del late
    time.sleep(9)
""",
    "turned into a failed import": f"""
def work():
    try:
        {KILL}
        time.sleep(9)
    except BaseException:
        raise ImportError("the library is broken")
""",
    "twice": f"""
def work():
    try:
        {KILL}
        time.sleep(9)
    finally:
        {KILL}
        time.sleep(9)
""",
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_anywhere_is_one_sentence(place):
    code = (
        "import os, signal, time\nfrom jaxpert.app.door import enter\nfrom jaxpert.app import flags"
    )
    code += PLACES[place] + "\nenter(lambda: flags.guarded(work))"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, f"interrupted; {flags.RESUMES}\n")
    assert time.monotonic() - began < 8


IMPORTING = """
import os, signal, sys
class Interrupt:
    def find_spec(name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from jaxpert.app.door import enter
def work():
    from jaxpert.app.cli import main
    return main(["train", "--config=cradle_norman:test", "--workdir=" + sys.argv[2]])
enter(work)
"""


@pytest.mark.parametrize("module", ["argparse", "jaxpert.app.cli", "absl", "numpy", "jax"])
def test_an_interrupt_while_modules_are_imported(module, tmp_path):
    command = [sys.executable, "-c", IMPORTING, module, str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.startswith("interrupted")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "work").exists()


SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_opens_the_door_first(script):
    """Whatever it imports else comes under its handler of Ctrl-C."""
    body = ast.parse(script.read_text()).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    slow = [name for name in names if name not in ("__future__", "sys")]
    assert slow[0] == "jaxpert.app.door"


def test_the_door_has_its_handler_once_it_is_imported():
    code = f"import jaxpert.app.door, os, signal\n{KILL}\nraise SystemExit(9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
