"""A screen that stays on disk: its labels, splits and statistics are those of one in memory."""

import jax
import numpy as np
import pytest

from jaxpert import data
from jaxpert.app import run
from jaxpert.data.mapped import is_mapped
from jaxpert.evaluation import pseudobulk
from jaxpert.tasks.screen import leaks, load, measured, understood
from support import finished_run


@pytest.fixture
def config_of(tmp_path):
    """Function from the layout to a config on a file of simulated cells."""
    adata, _ = data.simulate("tiny", seed=1)
    adata.write_h5ad(tmp_path / "screen.h5ad")

    def config(layout, counts="auto"):
        raw = finished_run.config("cradle_norman")
        raw["data"] |= {"source": str(tmp_path / "screen.h5ad"), "folder": str(tmp_path)}
        raw["data"] |= {"variable_genes": 120, "counts": counts}
        raw["quality"]["doublets"] = "none"
        raw["train"]["layout"] = layout
        return run.read(raw)[0]

    return config


def test_what_is_known_of_a_screen_on_disk_is_that_of_one_in_memory(config_of, monkeypatch):
    monkeypatch.setattr("jaxpert.data.mapped.ROWS", 64)
    (disk, _), (memory, _) = (load.load_dataset(config_of(kind)) for kind in ("stream", "auto"))
    assert is_mapped(disk.counts) and not is_mapped(memory.counts)
    assert disk.notes == memory.notes
    np.testing.assert_array_equal(disk.split, memory.split)
    np.testing.assert_array_equal(disk.quality.failed, memory.quality.failed)
    for of in (
        lambda screen: vars(data.make_spec(screen)) | {"scale": 0},
        lambda screen: data.split_tables(screen, "train"),
        lambda screen: pseudobulk.observed_means(screen, "train", variance=True),
        lambda screen: measured.duplicate(screen, 3),
        understood.facts_of,
        leaks.repeated_between_parts,
    ):
        for left, right in zip(*(jax.tree.leaves(of(s)) for s in (disk, memory)), strict=True):
            np.testing.assert_array_equal(left, right)


def test_counts_may_stay_in_memory_and_the_device_be_fed_from_there(config_of):
    dataset, _ = load.load_dataset(config_of("stream", counts="memory"))
    assert not is_mapped(dataset.counts)


def test_doublets_of_a_screen_on_disk_are_called_in_groups(config_of, monkeypatch):
    groups = []

    def call(counts, method, seed, group):
        groups.append(group)
        return np.zeros(counts.shape[0], bool), ()

    monkeypatch.setattr("jaxpert.data.quality.call_doublets", call)
    for layout in ("stream", "auto"):
        data.add_quality(load.read_source(config_of(layout))[0])
    assert groups == [20_000, None]
