"""Two real processes at one run, on one machine."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxpert.core import log
from support.paths import ROOT

LEAN = ("pass_cells=0", "likelihood=", "umap_cells=0")
FLAGS = (
    "--config=configs/cradle_norman.py:test",
    "--config.train.epochs=40",
    *(f"--config.evaluation.{flag}" for flag in LEAN),
)
TOGETHER = ("--config.train.multi_process=True", "--config.train.save_seconds=0.5")
CLOCK = ("seconds", "cells_per_second")


def start(workdir, *flags, **environment):
    return subprocess.Popen(
        [sys.executable, "experiments/main.py", *FLAGS, f"--workdir={workdir}", *flags],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def both(workdir):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    told = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    # One device of each.
    told["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"
    return [start(workdir, *TOGETHER, **told, JAX_PROCESS_ID=str(number)) for number in range(2)]


def losses(workdir):
    rows = log.read_metrics(workdir / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_go_on_after_a_kill(tmp_path):
    alone = start(tmp_path / "one", "--config.train.devices=1")
    pair = both(tmp_path / "two")
    saved = tmp_path / "two" / "checkpoints"
    end = time.monotonic() + 300
    while not list(saved.glob("[1-9]*[0-9]")):
        assert time.monotonic() < end and pair[0].poll() is None, pair[0].communicate()
        time.sleep(0.01)
    pair[1].send_signal(signal.SIGKILL)
    said, _ = pair[0].communicate(timeout=60)
    assert pair[0].returncode == 2 and "another process of this run has gone" in said, said
    assert "Traceback" not in said
    pair[1].communicate()
    again = both(tmp_path / "two")
    texts = [process.communicate(timeout=600)[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], texts
    assert "going on from step" in texts[0]
    text, _ = alone.communicate(timeout=600)
    assert alone.returncode == 0, text
    here, there = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert len(here) == len(there) > 40
    for row, expected in zip(here, there, strict=True):
        assert row == pytest.approx(expected, rel=2e-4, abs=1e-6)
