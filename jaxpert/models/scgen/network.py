"""The scGen network: a variational autoencoder of log-normalised expression with normalised,
dropped-out layers."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxpert.nn.layers import BatchNorm, BlockDense, moments, uniform_fan_in

EPSILON, MOMENTUM = 1e-3, 0.01
"""Of the batch normalisation: eps 1e-3, running factor 0.99 (docs/models/scgen.md)."""
DRAW = 2**32 - 1
"""Stream of the latent draw within a cell's key; dropout takes the layers' numbers."""


class Form(NamedTuple):
    """What tells the variants apart (docs/models/scgen.md)."""

    slope: float
    """Of the leaky ReLU below 0."""
    min_variance: float
    """Added to the posterior variance."""
    kl_factor: float
    decoder_layers: int | None = None
    """None for as many as the encoder has."""
    last_norm: bool = True
    """Whether the decoder's last hidden layer is normalised."""
    output: str = "affine"
    """"affine", "relu" after it, or "layer": normalised, leaky and dropped out as the hidden
    ones."""


FORMS = {
    "default": Form(0.01, 1e-4, 1.0),
    "v1": Form(0.2, 0.0, 1.0, last_norm=False, output="relu"),
    "v2": Form(0.01, 1e-4, 0.5, decoder_layers=1, output="layer"),
}


class Noise(NamedTuple):
    """What training adds to a pass: whose moments normalise, and a key for each cell."""

    weight: Float[Array, "B"]
    """1 for cells, 0 for padding."""
    keys: PRNGKeyArray


class Layer(nn.Module):
    """Product, batch normalisation, leaky ReLU, dropout; no bias, which the normalisation would
    take away again."""

    inputs: int
    features: int
    number: int
    """Of the layer in the network: the stream of its dropout."""
    slope: float
    dropout: float
    normalized: bool = True

    def setup(self):
        self.kernel = self.param(
            "kernel", uniform_fan_in, (self.inputs, self.features), self.inputs
        )
        if self.normalized:
            self.norm = BatchNorm(self.features, epsilon=EPSILON, momentum=MOMENTUM)

    def __call__(self, x: Float[Array, "B W"], noise: Noise | None) -> Float[Array, "B H"]:
        y = x @ self.kernel
        if self.normalized:
            # Moments of the batch in training, the remembered ones without noise.
            seen = None if noise is None else moments(y, noise.weight)
            y = self.norm(seen)(y)
        # The order of the public code: product, normalisation, activation, dropout.
        y = nn.leaky_relu(y, self.slope)
        if noise is None or not self.dropout:
            return y
        return self.dropped(y, noise)

    def dropped(self, y: Float[Array, "B H"], noise: Noise) -> Float[Array, "B H"]:
        """Values kept with probability 1 - dropout and then scaled up, each cell's by its own
        key."""

        def kept(key: PRNGKeyArray) -> Array:
            # The layer's number is folded in, so that layers drop different units.
            return jax.random.bernoulli(
                jax.random.fold_in(key, self.number), 1 - self.dropout, y.shape[1:]
            )

        return jnp.where(jax.vmap(kept)(noise.keys), y / (1 - self.dropout), 0)


class Stack(nn.Module):
    """Hidden layers of one side."""

    inputs: int
    hidden: int
    layers: int
    first: int
    """Number of the first layer in the network."""
    form: Form
    dropout: float
    last_norm: bool = True

    def setup(self):
        for k in range(self.layers):
            width = self.hidden if k else self.inputs
            # The version of 2019 computes the decoder's last normalisation and does not use it.
            normalized = self.last_norm or k + 1 < self.layers
            layer = Layer(
                width, self.hidden, self.first + k, self.form.slope, self.dropout, normalized
            )
            setattr(self, f"layer{k}", layer)

    def __call__(self, x: Float[Array, "B W"], noise: Noise | None) -> Float[Array, "B H"]:
        for k in range(self.layers):
            x = getattr(self, f"layer{k}")(x, noise)
        return x


class Encoder(nn.Module):
    """Mean and variance of the posterior of z."""

    genes: int
    latent: int
    hidden: int
    layers: int
    form: Form
    dropout: float

    def setup(self):
        self.trunk = Stack(self.genes, self.hidden, self.layers, 0, self.form, self.dropout)
        self.mean = BlockDense((self.hidden,), self.latent)
        self.log_var = BlockDense((self.hidden,), self.latent)

    def __call__(self, x: Float[Array, "B G"], noise: Noise | None) -> tuple[Array, Array]:
        h = self.trunk(x, noise)
        # sigma^2 = e^v + 1e-4, which keeps the logarithm of the KL finite (3.1 Encoder).
        return self.mean(h), jnp.exp(self.log_var(h)) + self.form.min_variance


class Decoder(nn.Module):
    """Expression from z."""

    genes: int
    latent: int
    hidden: int
    layers: int
    first: int
    form: Form
    dropout: float

    def setup(self):
        form, rate = self.form, self.dropout
        self.trunk = Stack(
            self.latent, self.hidden, self.layers, self.first, form, rate, form.last_norm
        )
        # Version 2 ends in one more hidden layer, whose width is that of the genes.
        if form.output == "layer":
            self.layer = Layer(self.hidden, self.genes, self.first + self.layers, form.slope, rate)
        else:
            self.out = BlockDense((self.hidden,), self.genes)

    def __call__(self, z: Float[Array, "B Z"], noise: Noise | None) -> Float[Array, "B G"]:
        h = self.trunk(z, noise)
        if self.form.output == "layer":
            return self.layer(h, noise)
        # Nothing is clipped by default (3.2 Decoder).
        if self.form.output == "relu":
            return nn.relu(self.out(h))
        return self.out(h)


class Network(nn.Module):
    """Both sides; without noise in inference mode: no dropout, remembered moments."""

    genes: int
    latent: int
    hidden: int
    layers: int
    form: Form
    dropout: float

    def setup(self):
        sizes = {"genes": self.genes, "latent": self.latent, "hidden": self.hidden}
        both = {"form": self.form, "dropout": self.dropout}
        self.encoder = Encoder(**sizes, **both, layers=self.layers)
        # Layers are numbered through both sides, which keeps their streams of dropout apart.
        self.decoder = Decoder(
            **sizes, **both, layers=self.form.decoder_layers or self.layers, first=self.layers
        )

    def encode(self, x: Float[Array, "B G"]) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"]]:
        """Mean and variance of the posterior, in inference mode."""
        return self.encoder(x, None)

    def decode(self, z: Float[Array, "B Z"]) -> Float[Array, "B G"]:
        """Expression, in inference mode."""
        return self.decoder(z, None)

    def __call__(
        self, x: Float[Array, "B G"], noise: Noise | None
    ) -> tuple[Float[Array, "B Z"], Float[Array, "B Z"], Float[Array, "B G"]]:
        """(mean, variance, reconstruction); of a draw of z with noise, of its mean without."""
        mean, variance = self.encoder(x, noise)
        if noise is None:
            return mean, variance, self.decoder(mean, None)

        def draw(key: PRNGKeyArray) -> Array:
            return jax.random.normal(jax.random.fold_in(key, DRAW), mean.shape[1:], mean.dtype)

        # z = m + sigma eps (docs/models/scgen.md, 3.1 Encoder).
        z = mean + jnp.sqrt(variance) * jax.vmap(draw)(noise.keys)
        return mean, variance, self.decoder(z, noise)
