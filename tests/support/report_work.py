"""The work directory of a small run as a report reads it, with names that look like HTML."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jaxpert.core import files
from jaxpert.evaluation.by_perturbation import by_perturbation, target_of
from jaxpert.evaluation.compare import compare
from jaxpert.evaluation.sums import Screen

SCRIPT = "</script><script>document.title = 'taken'</script>"
QUOTES = "\"KLF1\" & 'FOXO4' <b>bold</b> --><!--"
LONG = "L" * 200
NAMES = ("ctrl", SCRIPT, QUOTES, LONG, *(f"PERT{i:02d}" for i in range(27)))
GENES = ("<img src=x onerror=alert(1)>", *(f"G{g:02d}" for g in range(39)))
TESTED = 12


def results(seed: int = 0) -> tuple[dict, dict[str, np.ndarray]]:
    """metrics.json and effects.npz of a model that is better than its baselines."""
    rng = np.random.default_rng(seed)
    count, genes = len(NAMES), len(GENES)
    observed = rng.normal(size=(count, genes))
    observed[0] = 0
    predicted = 0.8 * observed + 0.2 * rng.normal(size=observed.shape)
    mean = np.tile(observed[TESTED + 1 :].mean(0), (count, 1))
    rows = np.arange(1, count)
    screen = Screen(
        conditions=NAMES,
        control=0,
        subsets={"all": rows, "test": rows[:TESTED], "train": rows[TESTED:]},
        trained=np.arange(count) > TESTED,
        control_mean=rng.random(genes),
        reference=mean[0],
    )
    predictions = {"model": predicted, "mean_perturbation": mean, "no_change": 0 * observed}
    predictions["linear"] = 0.3 * observed + rng.normal(size=observed.shape)
    split = ["train", *["test"] * TESTED, *["train+val"] * (count - TESTED - 1)]
    facts = {
        "split": split,
        "cells": rng.integers(20, 900, count),
        "support": ["trained"] + [f"no cells of {SCRIPT}"] * (count - 1),
    }
    metrics = compare(observed, predictions, screen, draws=200)
    metrics["each"] = by_perturbation(target_of(observed, screen, None), predictions, screen, facts)
    arrays = {
        "effect": predicted[None].astype(np.float32),
        "measured": observed.astype(np.float32),
        "seeds": np.array([0]),
        "conditions": np.array(NAMES),
        "genes": np.array(GENES),
    }
    return metrics, arrays


def write_work(folder: Path) -> Path:
    """config.json, metrics.json, metrics.jsonl and effects.npz of it."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics, arrays = results()
    metrics["data"] = {"name": QUOTES, "cells": 9000, "notes": [f"gene {SCRIPT} was merged"]}
    metrics["run"] = {"command": f"jaxpert train --data.source={QUOTES}", "seed": 0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps({"model": {"name": "cradle_vae"}}))
    losses = []
    for epoch in range(4):
        row = {"step": 10 * epoch, "epoch": epoch}
        losses += [row | {"train/loss": 3 - epoch / 2}, row | {"val/loss": 3.2 - epoch / 3}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    files.write_arrays(folder / "effects.npz", arrays)
    return folder
