"""Interpretation says what a model of known inside has inside, for every kind of model."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from jaxpert.core.errors import InputError
from jaxpert.core.fit import Fitted
from jaxpert.core.types import SPLITS, Dataset, Latent, Model
from jaxpert.models.cradle import factors, settings
from jaxpert.models.cradle.interpret import interpret
from support import minibatch

INCLUSION = np.array(
    [[0.9, 0.1, 0.6, 0.2], [0.8, 0.2, 0.1, 0.3], [0.1, 0.1, 0.1, 0.4], [0.2, 0.9, 0.9, 0.9]]
)
MEAN = np.array([[-2, 1, 1, 1], [-1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], float)
BASE = np.linspace(-1, 1, minibatch.GENES)
LOADINGS = np.random.default_rng(0).normal(size=(4, minibatch.GENES))
NAMES = ("g0", "g1", "c", "late")


def screen() -> Dataset:
    """16 cells of five conditions; the fourth treatment's are all in the test split."""
    x, condition = minibatch.counts(), np.arange(minibatch.CELLS) % 5
    names = ("control", *NAMES)
    return Dataset(
        name="small",
        counts=sparse.csr_matrix(x.astype(np.uint16)),
        cells=np.array([f"cell{i}" for i in range(len(x))]),
        genes=tuple(f"g{i}" for i in range(minibatch.GENES)),
        conditions=names,
        condition=condition,
        control=0,
        treatments=NAMES,
        condition_treatments=np.eye(5, dtype=np.float32)[:, 1:],
        strata=("s",),
        stratum=np.zeros(len(x), int),
        obs=pd.DataFrame(index=range(len(x))),
        split=np.where(condition == 4, SPLITS.index("test"), SPLITS.index("train")),
    )


def transparent(masked: bool = True) -> Model:
    """Effects are mask * N(MEAN, 0.1^2), counts follow softmax(BASE + perturbation LOADINGS)."""

    def shared(params, key):
        key_mask, key_effect = jax.random.split(key)
        embedding = params + 0.1 * jax.random.normal(key_effect, MEAN.shape)
        mask = jax.random.bernoulli(key_mask, jnp.asarray(INCLUSION)).astype(float)
        return (
            {"effect": mask * embedding, "inclusion": jnp.asarray(INCLUSION)}
            if masked
            else {"effect": embedding}
        )

    def decode(params, blocks, library):
        logits = (
            jnp.asarray(BASE)
            + blocks["perturbation"] @ jnp.asarray(LOADINGS)
            + 0 * blocks["basal"][:, :1]
        )
        return library[:, None] * jax.nn.softmax(logits)

    def cells(params, key, batch):
        zero = jnp.zeros((len(batch.x), 4))
        return {"basal": zero, "perturbation": zero}

    return Model(init=None, loss=None, predict=None, latent=Latent(shared, cells, decode))


def fitted(model: Model, params=None) -> Fitted:
    return Fitted(model, jnp.asarray(MEAN) if params is None else params, {})


def expected_change(factor: int, shift: float) -> np.ndarray:
    def log_mean(logits):
        return np.log2(1e4 * np.exp(logits) / np.exp(logits).sum() + 0.1)

    return log_mean(BASE + shift * LOADINGS[factor]) - log_mean(BASE)


def test_inclusion_and_embeddings_of_a_known_model():
    found = interpret(fitted(transparent()), screen(), draws=2000)
    assert found.inclusion is not None
    np.testing.assert_allclose(found.inclusion, INCLUSION, rtol=1e-6)
    variance = INCLUSION * (MEAN**2 + 0.01) - (INCLUSION * MEAN) ** 2
    np.testing.assert_allclose(
        found.embedding, INCLUSION * MEAN, atol=5 * np.sqrt(variance.max() / 2000)
    )
    np.testing.assert_allclose(found.embedding_sd, np.sqrt(variance), rtol=0.1)
    assert list(found.embedding.index) == list(NAMES) and list(found.embedding.columns) == [
        "z0",
        "z1",
        "z2",
        "z3",
    ]


def test_factors_in_use_and_the_genes_they_move():
    """Without the fourth perturbation, which has no training cells, two move z0 and one z2."""
    found = interpret(fitted(transparent()), screen(), draws=50)
    assert found.perturbations["training_cells"].tolist() == [3, 3, 3, 0]
    assert found.perturbations["learned"].tolist() == [True, True, True, False]
    assert found.perturbations["factors"].tolist() == [2, 1, 0, 0]
    assert found.factors["perturbations"].to_dict() == {"z0": 2, "z2": 1}
    mean = found.embedding.to_numpy()
    shift = [-np.sqrt((mean[:2, 0] ** 2).mean()), mean[0, 2]]
    np.testing.assert_allclose(found.factors["shift"], shift, rtol=1e-6)
    for factor, size in zip((0, 2), shift, strict=True):
        row = found.gene_change.loc[f"z{factor}"]
        np.testing.assert_allclose(row, expected_change(factor, size), atol=1e-5)
    assert any("late" in note and "without training cells" in note for note in found.notes)


def test_top_genes_are_the_largest_changes_of_each_sign():
    found = interpret(fitted(transparent()), screen(), draws=50)
    top = found.top_genes(2)
    change = found.gene_change.loc["z0"].sort_values()
    of = top[top["factor"] == "z0"].set_index(["direction", "rank"])["gene"]
    assert [of["up", 1], of["up", 2], of["down", 1], of["down", 2]] == [
        *change.index[[-1, -2, 0, 1]]
    ]
    assert (np.sign(top["log2_change"]) == np.where(top["direction"] == "up", 1, -1)).all()
    assert len(found.top_genes(99)) == 2 * minibatch.GENES, "each gene either rises or falls"


def test_similarity_and_overlap():
    found = interpret(fitted(transparent()), screen(), draws=50)
    mean = found.embedding.to_numpy()
    by_hand = mean[0] @ mean[1] / np.linalg.norm(mean[0]) / np.linalg.norm(mean[1])
    assert found.similarity.loc["g0", "g1"] == pytest.approx(by_hand)
    both = (INCLUSION[0] * INCLUSION[1]).sum()
    assert found.overlap is not None
    assert found.overlap.loc["g1", "g0"] == pytest.approx(
        both / (INCLUSION[:2].sum() - both), rel=1e-5
    )
    np.testing.assert_array_equal(np.diag(found.overlap), 1)
    np.testing.assert_array_equal(factors.cosine(np.array([[0.0, 0], [3, 4]])), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(factors.mask_overlap(np.zeros((2, 3))), np.eye(2))


def test_a_model_without_masks_says_so():
    params = jnp.asarray(np.diag([3.0, -3, 0.001, 3]))
    found = interpret(fitted(transparent(masked=False), params), screen(), draws=200)
    assert found.inclusion is None and found.overlap is None
    assert found.factors["perturbations"].to_dict() == {"z0": 1, "z1": 1}
    assert found.factors.loc["z1", "shift"] == pytest.approx(-3, abs=0.05)
    assert any("no masks" in note for note in found.notes)


def test_a_model_that_uses_nothing():
    model = transparent(masked=False)
    found = interpret(fitted(model, jnp.zeros((4, 4))), screen(), draws=200)
    assert len(found.factors) == len(found.gene_change) == len(found.top_genes()) == 0
    assert any("no factors to describe" in note for note in found.notes)


def test_draws_repeat_with_the_seed():
    first, again, other = (
        interpret(fitted(transparent()), screen(), draws=5, seed=s).embedding for s in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize("name", settings.MODELS)
def test_every_model(name):
    """Untrained parameters will do: every table has its shape, or the model says why it has
    none."""
    model = minibatch.built(name)
    params, state = jax.jit(model.init)(jax.random.key(0), minibatch.batch())
    dataset = replace(screen(), treatments=NAMES[:3], conditions=("control", *NAMES[:3], "g0+g1"))
    dataset = replace(dataset, condition_treatments=minibatch.TREATMENTS)
    start = Fitted(model, params, state)
    if name == "conditional_vae":
        with pytest.raises(InputError, match="no embedding of perturbations"):
            interpret(start, dataset, draws=3)
        return
    found = interpret(start, dataset, draws=3, basal_states=5)
    width = minibatch.SMALL[name]["latent_dim"]
    assert found.embedding.shape == found.embedding_sd.shape == (3, width)
    assert (found.inclusion is None) == (name == "cpa_vae")
    assert found.perturbations["learned"].all()
    assert found.gene_change.shape == (len(found.factors), minibatch.GENES)
    assert np.isfinite(found.gene_change).all(axis=None) and np.isfinite(found.similarity).all(
        axis=None
    )
    if name != "cpa_vae":
        assert len(found.factors) == width and found.gene_change.to_numpy().any(), (
            "masks start at 0.5: all in use"
        )


def test_refusals():
    with pytest.raises(InputError, match="no latent space"):
        interpret(fitted(Model(init=None, loss=None, predict=None)), screen())
    with pytest.raises(InputError, match="draws is 1"):
        interpret(fitted(transparent()), screen(), draws=1)
