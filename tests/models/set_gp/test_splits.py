"""The table of several splits."""

import json
import re

from jaxpert.app import cli


def test_scores_of_runs_stand_beside_every_baseline(run_of, tmp_path):
    work = run_of("set_gp_norman:test")
    assert cli.main(["tables", str(work), f"--output={tmp_path / 'out'}"]) == 0
    text = (tmp_path / "out/splits.md").read_text()
    metrics = json.loads((work / "metrics.json").read_text())
    assert "all held-out conditions (2 held-out conditions in 1 splits)" in text
    row = next(line for line in text.splitlines() if line.startswith("| **set GP**"))
    expected = f"{metrics['model']['test']['mse']:.3f}"
    assert row.split("|")[2].strip() == expected
    for name in metrics["baselines"]:
        assert f"| {name.replace('_', ' ')} |" in text
    # Two conditions are too few for an interval.
    assert "undefined" in text and "nan" not in text
    assert re.search(r"\| all held-out conditions \| 2 \| [\d.]+ \(0.0\)", text)
