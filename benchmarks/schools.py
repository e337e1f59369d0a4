"""Every metric of the other schools on a screen of 236 perturbations, 5,000 genes and 100 cells
each beside 1,000 control cells, and cell-eval's own metrics where it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measure

PERTURBATIONS, GENES, CELLS, CONTROLS = 236, 5_000, 100, 1_000
TARGET_SECONDS, TARGET_MB = 60, 4_096
SLOW = ["clustering_agreement"]
"""Of cell-eval, without a counterpart here."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        real, predicted = Path(folder, "real.h5ad"), Path(folder, "predicted.h5ad")
        density = measure.in_child(write_screen, real, predicted)
        ours = measure.in_child(our_scores, real, predicted, False)
        streamed = measure.in_child(our_scores, real, predicted, True)
        rows = [
            _row("jaxpert, every metric", ours),
            _row("jaxpert, every metric, from backed files", streamed),
        ]
        if importlib.util.find_spec("cell_eval") is not None:
            rows.append(
                _row("cell-eval, its own metrics", measure.in_child(their_scores, real, predicted))
            )
    met = ours[1] < TARGET_SECONDS and ours[3] < TARGET_MB
    measure.show(
        f"Metrics of other schools: {PERTURBATIONS} perturbations, {GENES:,} genes, {CELLS} cells "
        f"each, {CONTROLS:,} control cells, {density:.0%} of the values above 0; reading counted",
        ("who", "metrics", "wall s", "CPU s", "peak MB"),
        rows,
        f"Under {TARGET_SECONDS} s and {TARGET_MB:,} MB: {'yes' if met else 'no'}",
    )


def _row(name: str, work: tuple[int, float, float, float]) -> list[str]:
    metrics, wall, cpu, peak = work
    return [name, str(metrics), f"{wall:.1f}", f"{cpu:.1f}", f"{peak:,.0f}"]


def write_screen(real: Path, predicted: Path) -> float:
    """Two files of cells drawn around the same effects; the share of values above 0."""
    from anndata import AnnData
    from pandas import DataFrame, Index

    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(-1.5, 1.2, GENES))
    effects = rng.normal(0, 1, (PERTURBATIONS, GENES)) * (rng.random((PERTURBATIONS, GENES)) < 0.05)
    labels = ["control"] * CONTROLS
    labels += [f"gene{p}" for p in range(PERTURBATIONS) for _ in range(CELLS)]
    genes = DataFrame(index=Index([f"gene{g}" for g in range(GENES)]))
    for path, share in ((real, 1.0), (predicted, 0.7)):
        counts = _draw(rng, level, np.concatenate([np.zeros((1, GENES)), share * effects]))
        cells = DataFrame({"target": labels}, index=Index([str(n) for n in range(len(labels))]))
        AnnData(counts, obs=cells, var=genes).write_h5ad(path)
    return counts.nnz / np.prod(counts.shape)


def _draw(rng: np.random.Generator, level: np.ndarray, effects: np.ndarray):
    """Log-normalised cells as CSR in single precision, condition by condition."""
    from scipy import sparse

    from jaxpert.data.moments import log_normalise

    parts = []
    for place, effect in enumerate(effects):
        cells = CELLS if place else CONTROLS
        depth = rng.gamma(5, 0.2, (cells, 1))
        counts = rng.poisson(level * np.exp(effect) * depth)
        parts.append(log_normalise(sparse.csr_matrix(counts))[0].astype(np.float32))
    return sparse.vstack(parts, format="csr")


def our_scores(real: Path, predicted: Path, backed: bool) -> tuple[int, float, float, float]:
    """Metrics, wall and CPU seconds, peak memory in MB."""
    import anndata

    from jaxpert.evaluation.schools.score import score_cells

    mode = "r" if backed else None
    training = [f"gene{p}" for p in range(PERTURBATIONS // 2)]
    cpu, wall = time.process_time(), time.perf_counter()
    scores = score_cells(
        anndata.read_h5ad(real, backed=mode),
        anndata.read_h5ad(predicted, backed=mode),
        control="control",
        condition_key="target",
        scale="log1p",
        training=training,
    )
    return (
        len(scores.aggregate),
        time.perf_counter() - wall,
        time.process_time() - cpu,
        measure.peak_mb(),
    )


def their_scores(real: Path, predicted: Path) -> tuple[int, float, float, float]:
    """The same of cell-eval, its compilation counted."""
    from cell_eval import MetricsEvaluator  # pyright: ignore

    cpu, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        evaluator = MetricsEvaluator(
            str(predicted),
            str(real),
            control_pert="control",
            pert_col="target",
            num_threads=2,
            outdir=folder,
        )
        results, _ = evaluator.compute(skip_metrics=SLOW, write_csv=False)
    return (
        len(results.columns) - 1,
        time.perf_counter() - wall,
        time.process_time() - cpu,
        measure.peak_mb(),
    )
