"""One command, any number of devices and seeds: the same training."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np

import main as cli
from support.paths import ROOT

FAST = [
    "--config.train.epochs=2",
    "--config.evaluation.umap_cells=0",
    "--config.evaluation.pass_cells=0",
    "--config.evaluation.likelihood=",
    "--config.quality.doublets=none",
]


def losses(work: pathlib.Path, *flags: str, devices: int = 1) -> tuple[list[float], dict]:
    """Training and validation losses of a run of the test variant, and its metrics."""
    command = [
        "main.py",
        f"--config={ROOT}/configs/cradle_norman.py:test",
        *FAST,
        *flags,
        f"--workdir={work}",
    ]
    if devices == jax.device_count():
        assert cli.main(command) == 0
    else:
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        command[0] = str(ROOT / "experiments/main.py")
        done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    return [row.get("train/loss", row.get("val/loss")) for row in rows], json.loads(
        (work / "metrics.json").read_text()
    )


def test_eight_devices_give_the_losses_of_one(tmp_path):
    one, _ = losses(tmp_path / "one")
    eight, metrics = losses(tmp_path / "eight", devices=8)
    assert metrics["run"]["device"].startswith("8 x")
    # Adam amplifies the rounding of sums over devices; tests/test_models.py compares the loss
    # itself at 1e-5.
    np.testing.assert_allclose(eight, one, rtol=2e-4)


def test_two_seeds_are_scored_together(tmp_path):
    many, metrics = losses(tmp_path / "seeds", "--config.train.seeds=2")
    assert np.shape(many)[1:] == (2,)
    assert {"mean", "sd"} <= set(metrics["seeds"]["all"]["mse"])
