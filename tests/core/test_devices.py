"""The command on eight devices with two seeds."""

import json

import numpy as np
import pytest

from jaxpert.app import cli
from support.paths import ROOT


@pytest.mark.slow
def test_two_seeds_on_eight_devices_are_scored_together(tmp_path):
    command = [
        "train",
        f"--config={ROOT}/configs/cradle_norman.py:test",
        "--config.train.devices=8",
        "--config.train.seeds=2",
        "--config.train.epochs=2",
        "--config.evaluation.umap_cells=0",
        "--config.evaluation.pass_cells=0",
        "--config.evaluation.likelihood=",
        "--config.quality.doublets=none",
        f"--workdir={tmp_path}",
    ]
    assert cli.main(command) == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(np.shape(row.get("train/loss", row.get("val/loss"))) == (2,) for row in rows)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["run"]["device"].startswith("8 x")
    assert {"mean", "sd"} <= set(metrics["seeds"]["all"]["mse"])
