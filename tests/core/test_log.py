import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from jaxpert.core import log
from jaxpert.core.types import InputError


def test_metrics_are_appended_and_read_back_with_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with log.metrics_writer(path) as append:
        append({"step": 1, "train/loss": float("nan"), "list": [1.0, float("inf")]})
        assert log.read_metrics(path) == [
            {"step": 1, "train/loss": None, "list": [1.0, None]}
        ]  # flushed at once
        append({"step": 2, "train/loss": 0.5})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_continued_run_drops_later_rows_and_a_half_written_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1}\n{"step": 2}\n{"step": 2, "val/loss": 1.0}\n{"step": 3}\n{"step": 4, "tr'
    )
    with log.metrics_writer(path, step=2) as append:
        append({"step": 3})
    assert (
        path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 2, "val/loss": 1.0}\n{"step": 3}\n'
    )


def test_a_new_run_starts_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 3}\n')
    with log.metrics_writer(path):
        pass
    assert path.read_text() == "" and log.read_metrics(tmp_path / "none.jsonl") == []


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    with (
        pytest.raises(InputError, match="cannot be written"),
        log.metrics_writer(tmp_path / "none" / "metrics.jsonl"),
    ):
        pass
    monkeypatch.setattr(log, "open", lambda *_: open("/dev/full", "a"), raising=False)
    with (
        pytest.raises(InputError, match="No space left"),
        log.metrics_writer(tmp_path / "metrics.jsonl") as append,
    ):
        append({"step": 1})


def test_plain_lines_away_from_a_terminal_are_few_and_say_the_time_left(capsys):
    with log.progress(100, start=50, every=0.0) as show:
        show(75, "loss 3")
        show(100, "loss 2")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["step 75/100, loss 3, 0:00 left", "step 100/100, loss 2"]
    with log.progress(100, every=1e9) as show:
        for done in range(1, 101):
            show(done)
    assert capsys.readouterr().err.splitlines() == ["step 100/100"]


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with log.progress(10, start=4) as show:
        show(10, "loss 2.5")
    shown = capsys.readouterr().err
    assert "10/10" in shown and "loss 2.5" in shown


def test_notebooks_have_a_bar(monkeypatch):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", stream)
    with log.progress(10, start=4) as show:
        show(6, "loss 1")
    assert "6/10" in stream.getvalue() and "loss 1" in stream.getvalue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop_and_handlers_are_put_back(number, capfd):
    before = signal.getsignal(number)
    with log.catch_signals() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
        assert signal.getsignal(number) == before  # so a second one ends the process
    assert signal.getsignal(number) == before
    assert number.name in capfd.readouterr().err


def test_a_second_signal_ends_the_process():
    code = (
        "import os, signal\nfrom jaxpert.core import log\nwith log.catch_signals() as stop:\n    "
        "os.kill(os.getpid(), signal.SIGTERM)\n    print(stop(), flush=True)\n    "
        "os.kill(os.getpid(), signal.SIGTERM)\n    print('still here', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n" and done.returncode == -signal.SIGTERM


def test_outside_the_main_thread_nothing_is_caught():
    seen = []

    def work():
        with log.catch_signals() as should_stop:
            seen.append(should_stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"step": "x"}', "[" * 99999, "\xff"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n', encoding="latin-1")
    with pytest.raises(InputError, match="line 2 of .* is damaged.* delete that line"):
        log.read_metrics(path)
