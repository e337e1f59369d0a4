"""Whole runs without UMAP, which compiles for half a minute in each process."""

import pytest


@pytest.fixture(autouse=True)
def plain_umap(monkeypatch):
    """The first two latents in place of UMAP; tests/report/test_plots.py is where it runs."""
    from jaxpert.models.cradle.paper import panels
    from jaxpert.report import plots

    for module in (plots, panels):
        monkeypatch.setattr(module, "umap_embedding", lambda latent, seed: latent[:, :2])
