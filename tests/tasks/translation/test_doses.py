import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.types import InputError
from jaxpert.tasks.translation import doses
from jaxpert.tasks.translation.columns import assign_columns
from jaxpert.tasks.translation.feed import make_feed
from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import drawn_cells

GENES = ("HDAC1", "HDAC2", "JAK1", "MTOR", "g1", "g2")
TARGETS = {
    "Temsirolimus": ("MTOR",),
    "Ruxolitinib": "JAK1; JAK9",
    "Vorinostat": ["HDAC1", "HDAC2"],
    "Unmeasured": "TOP1",
    "Untargeted": "",
}
SMALL = {"replicates": 4, "cells_per_draw": 8}


def screen(dose=(10, 100, 1000), cells=12, vehicle_dose="0", lines=("K562", "A549")):
    """Cells of five compounds at each dose, and vehicle, in two lines; `product` and `nM` as
    text."""
    rng = np.random.default_rng(0)
    series = [("vehicle", vehicle_dose), *((name, str(d)) for name in TARGETS for d in dose)]
    obs = pd.DataFrame(
        [(line, name, d) for line in lines for name, d in series for _ in range(cells)],
        columns=["cell_type", "product", "nM"],
    )
    obs.index = [f"c{i}" for i in range(len(obs))]
    counts = sparse.csr_matrix(rng.poisson(3.0, (len(obs), len(GENES))).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=list(GENES)))


def load(adata=None, targets=TARGETS, **settings):
    return doses.load_doses(
        screen() if adata is None else adata,
        targets=targets,
        compound="product",
        dose="nM",
        **settings,
    )


@pytest.fixture(scope="module")
def dataset():
    return load()


def series(prepared, part):
    """{(condition of the higher dose, condition of the lower dose, batch)} of a part's pairs."""
    data, pairs = prepared.dataset, prepared.pairs
    given = pairs.part == part
    upper, lower = (
        prepared.draws.cells[side[given], pairs.replicate[given], 0]
        for side in (pairs.upper, pairs.lower)
    )
    names = np.asarray(data.conditions)
    assert (data.stratum[upper] == data.stratum[lower]).all()
    return set(
        zip(
            names[data.condition[upper]],
            names[data.condition[lower]],
            data.stratum[upper].tolist(),
            strict=True,
        )
    )


def test_conditions_are_compounds_at_doses_and_treatments_their_measured_targets(dataset):
    assert dataset.conditions[:4] == (
        "vehicle",
        "Ruxolitinib@10",
        "Ruxolitinib@100",
        "Ruxolitinib@1000",
    )
    assert len(dataset.conditions) == 10 and dataset.treatments == (
        "HDAC1",
        "HDAC2",
        "JAK1",
        "MTOR",
    )
    both = dataset.condition_treatments[dataset.conditions.index("Vorinostat@100")]
    np.testing.assert_array_equal(both, [1, 1, 0, 0])
    assert not dataset.condition_treatments[dataset.control].any()
    given = dataset.condition == dataset.conditions.index("Temsirolimus@1000")
    assert set(dataset.obs["dose"][given]) == {1000.0} and set(dataset.obs["compound"][given]) == {
        "Temsirolimus"
    }
    source = screen()
    np.testing.assert_array_equal(dataset.counts.toarray(), source[dataset.cells].X.toarray())


def test_compounds_without_a_measured_target_are_counted_and_named(dataset):
    assert len(dataset.cells) == 2 * 12 * 10
    text = " ".join(dataset.notes)
    assert (
        "2 compounds without a measured target are left out, 144 cells: Unmeasured, Untargeted"
        in text
    )
    assert "1 annotated targets are not measured and are no part of treatments: JAK9" in text


def test_targets_may_be_a_table(dataset, tmp_path):
    lines = [
        ("Vorinostat", "HDAC1"),
        ("Vorinostat", "HDAC2"),
        *((k, v) for k, v in TARGETS.items() if isinstance(v, str)),
    ]
    lines.append(("Temsirolimus", "MTOR"))
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        path = tmp_path / f"targets{suffix}"
        pd.DataFrame(lines, columns=["compound", "gene"]).to_csv(path, sep=separator, index=False)
        read = load(targets=path)
        np.testing.assert_array_equal(read.condition_treatments, dataset.condition_treatments)
    path.write_text("compound\nVorinostat\n")
    with pytest.raises(InputError, match="has 1 column"):
        load(targets=path)


def test_each_dose_is_paired_with_the_next_lower_one(dataset):
    """Tested is the compound with one annotated target; JAK9 is a second one though it is not
    measured."""
    prepared = doses.prepare(dataset, **SMALL)
    expected = {
        (f"{name}@{high}", low if low == "vehicle" else f"{name}@{low}", line)
        for name in ("Ruxolitinib", "Vorinostat")
        for high, low in ((10, "vehicle"), (100, 10), (1000, 100))
        for line in (0, 1)
    }
    assert series(prepared, 0) == series(prepared, 1) == expected
    assert {upper for upper, _, _ in series(prepared, 2)} == {
        f"Temsirolimus@{d}" for d in (10, 100, 1000)
    }
    assert np.bincount(prepared.pairs.part).tolist() == [3 * 12, 12, 4 * 6]
    assert "2 compounds train and 1 are tested: Temsirolimus" in prepared.notes
    cells = drawn_cells(prepared)
    treated = prepared.dataset.condition[cells["test"][0]] != prepared.dataset.control
    assert treated.all() and not np.isin(cells["test"][0], np.concatenate(cells["train"])).any()


def test_lowest_to_highest_trains_on_the_lowest_dose_alone(dataset):
    prepared = doses.prepare(dataset, pairs="lowest_to_highest", **SMALL)
    assert series(prepared, 0) == {
        (f"{n}@10", "vehicle", b) for n in ("Ruxolitinib", "Vorinostat") for b in (0, 1)
    }
    assert series(prepared, 2) == {("Temsirolimus@1000", "Temsirolimus@10", b) for b in (0, 1)}
    idle = prepared.dataset.conditions.index("Vorinostat@1000")
    assert set(prepared.dataset.split[prepared.dataset.condition == idle]) == {3}


def test_batches_carry_both_doses_as_logarithms(dataset):
    prepared = doses.prepare(dataset, test=["Vorinostat"], **SMALL)
    feed = make_feed(prepared, "test", 24)
    key = jax.random.key(0)
    batch = jax.jit(feed.batch)(
        feed.data, key, feed.order(feed.data, key, jnp.int32(0)), jnp.int32(0)
    )
    lower = {1.0: 0.0, 2.0: 1.0, 3.0: 2.0}
    np.testing.assert_allclose(
        batch.extras["control_dose"], [lower[float(d)] for d in batch.extras["dose"]]
    )
    names = np.asarray(prepared.dataset.conditions)[batch.condition]
    np.testing.assert_allclose(
        batch.extras["dose"], [np.log10(float(n.split("@")[1])) for n in names], rtol=1e-6
    )
    assert (batch.treatment[:, :2] == 1).all() and set(np.asarray(batch.stratum)) == {0, 1}


def test_vehicle_is_dose_zero_whatever_is_written_there(dataset):
    odd = load(screen(vehicle_dose="none"))
    np.testing.assert_array_equal(odd.condition, dataset.condition)
    zero = screen(dose=(0, 10))
    assert (load(zero).condition == 0).sum() == 2 * 12 * (1 + 5)


def test_a_dose_series_on_a_known_line_takes_a_placeholder(dataset):
    columns = ("A549", "K562", "placeholder1", "placeholder2")
    assert assign_columns(dataset, columns).strata == columns
    moved = assign_columns(dataset, columns, as_new=True)
    assert moved.strata == ("A549", "K562", "A549@adata", "K562@adata") and set(moved.stratum) == {
        2,
        3,
    }


def changed(**columns):
    adata = screen()
    for name, value in columns.items():
        adata.obs.loc[adata.obs_names[30:33], name] = value
    return adata


ONLY = screen()[screen().obs["product"] != "vehicle"]


@pytest.mark.parametrize(
    ("adata", "targets", "expected"),
    [
        (
            changed(nM="high"),
            TARGETS,
            r"3 cells of adata have a dose that is no number from 0 \(such as 'high'",
        ),
        (changed(nM="-1"), TARGETS, "such as '-1'"),
        (
            changed(product="Temsirolimos"),
            TARGETS,
            r"1 compounds .*unknown.*\(Temsirolimos; did you mean 'Temsirolimus'",
        ),
        (
            screen(),
            {name: "TOP1" for name in TARGETS},
            "none of the 5 compounds has a target among the 6 genes",
        ),
        (screen(), "/nowhere/targets.tsv", "targets.tsv cannot be read"),
        (ONLY, TARGETS, r"2 lines have no control cell \(A549, K562\)"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(adata, targets, expected):
    with pytest.raises(InputError, match=expected) as error:
        load(adata, targets)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"test": ["Temozolomide"]}, "there is no compound 'Temozolomide'.*did you mean"),
        ({"test": []}, "3 compounds train and 0 are tested"),
        ({"pairs": "all"}, "expected one of adjacent, lowest_to_highest"),
    ],
)
def test_pairs_that_cannot_be_made_are_one_sentence(dataset, settings, expected):
    with pytest.raises(InputError, match=expected):
        doses.prepare(dataset, **SMALL, **settings)
    with pytest.raises(InputError, match="read it with load_doses"):
        from support.line_screens import screen as lines

        doses.prepare(load_lines(lines()), **SMALL)
