"""Whole runs without UMAP, which compiles for half a minute in each process; files for commands."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def plain_umap(monkeypatch):
    """The first two latents in place of UMAP; tests/report/test_plots.py is where it runs."""
    from jaxpert.models.cradle.paper import panels
    from jaxpert.report import plots

    for module in (plots, panels):
        monkeypatch.setattr(module, "umap_embedding", lambda latent, seed: latent[:, :2])


@pytest.fixture
def write(screen, tmp_path):
    """Factory: distinct labels (or columns of the cells) -> the path of a file of 12 cells each."""

    def make(labels=(), genes=40, var=None, change=None, **columns):
        some = next(iter(columns.values()), ())
        adata = screen(np.repeat(list(labels), 12) if labels else ["x"] * len(some), genes=genes)
        for name, values in columns.items():
            adata.obs[name] = values
        if var is not None:
            adata.var_names = [*var, *adata.var_names[len(var) :]]
        if change is not None:
            change(adata)
        adata.write_h5ad(tmp_path / "screen.h5ad")
        return tmp_path / "screen.h5ad"

    return make


@pytest.fixture
def check(capsys):
    """Factory: what `jaxpert check` says of a file, page and error, and its status."""
    # Not above: what is imported before the session is configured has no checks of its shapes.
    from jaxpert.app import cli

    def run(path, *flags):
        status = cli.main(["check", str(path), *flags])
        told = capsys.readouterr()
        assert "Traceback" not in told.err and status in (0, 2)
        assert told.err.count("\n") <= 1 or status == 0
        return status, told.out + told.err

    return run
