"""The GEARS network: predicted change of every gene for sets of perturbed genes (spec section 4).

The change does not depend on the control cell, only on the perturbation set, so everything here
runs over R distinct rows with a number of cells each, and all before the composition once, on G and
T rows.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxpert.models.gears.fused import Inputs, recover
from jaxpert.models.gears.layers import GraphConvolution, Mlp, capped
from jaxpert.nn.graphs import Hops
from jaxpert.nn.layers import BatchNorm, Moments, Weight, joined, moments


class Rows(NamedTuple):
    """Perturbation sets of a batch."""

    composed: Float[Array, "R H"]
    """Sum of the embeddings of the set's genes."""
    perturbed: Float[Array, "R"]
    """0 for the empty set, else 1."""
    variant: Int[Array, "R"]
    """Which gene base the row has: 0 of one, or (published behaviour) 0 with and 1 without the
    co-expression graph."""


class Change(NamedTuple):
    """What the network predicts for each set."""

    mean: Float[Array, "R G"]
    """Change of expression, to be added to a control profile on the log-normalised scale."""
    log_variance: Float[Array, "R G"] | None


class Network(nn.Module):
    """`weight` is the number of cells of each row in training; None evaluates with remembered
    moments."""

    genes: int
    nodes: int
    width: int
    gene_layers: int
    perturbation_layers: int
    perturbation_graphs: tuple[str, ...]
    attention: bool
    position_weight: float
    cross_gene: bool
    shared_decoder: bool
    head: str | None
    """Uncertainty head: "shared", "gene" or None."""
    published: bool
    """Co-expression graph for one cell of the batch only; a single perturbed cell counts as two."""

    def setup(self):
        d, wide = self.width, 2 * self.width
        normal = nn.initializers.normal(1.0)
        self.gene_embedding = self.param("gene_embedding", normal, (self.genes, d))
        self.position_embedding = self.param("position_embedding", normal, (self.genes, d))
        self.perturbation_embedding = self.param("perturbation_embedding", normal, (self.nodes, d))
        self.gene_conv = GraphConvolution(d, self.gene_layers, self.attention)
        for name in self.perturbation_graphs:
            layers = GraphConvolution(d, self.perturbation_layers, self.attention)
            setattr(self, f"perturbation_conv_{name}", layers)
        self.gene_norm = BatchNorm(d)
        self.gene_mlp = Mlp((d, d, d))
        self.fusion_mlp = Mlp((d, d, d), self.published)
        self.base_norm = BatchNorm(d)
        self.recovery_mlp = Mlp((d, wide, d))
        self.decoder = Decoder(
            self.genes, 1 if self.shared_decoder else self.genes, d, self.cross_gene
        )
        if self.cross_gene:
            self.cross_gene_mlp = Mlp((self.genes, d, d))
        if self.head == "shared":
            self.uncertainty_mlp = Mlp((d, wide, d, 1))
        elif self.head == "gene":
            self.uncertainty = Readout(self.genes, d)

    def perturbations(self, hops: Mapping[str, Hops]) -> Float[Array, "n H"]:
        """Embeddings of the nodes that the hops lead to, summed over the graphs."""
        table = capped(self.perturbation_embedding)
        each = [
            getattr(self, f"perturbation_conv_{name}")(table, hops[name])
            for name in self.perturbation_graphs
        ]
        return functools.reduce(operator.add, each)

    def base(
        self, hops: tuple[Hops, ...], cells: Float[Array, "V"] | None
    ) -> Float[Array, "V G H"]:
        """Gene vectors before the composition; one variant for each given graph, of which the first
        `cells` have seen the first, and so on."""
        embedded, position = capped(self.gene_embedding), capped(self.position_embedding)
        every = None if cells is None else moments(embedded, cells.sum()[None])
        embedded = nn.relu(self.gene_norm(every)(embedded))
        convolved = jnp.stack([self.gene_conv(position, one) for one in hops])
        self.sow("intermediates", "gene_relu", embedded)
        self.sow("intermediates", "position", convolved)
        weight = None if cells is None else cells[:, None]
        return self.gene_mlp(embedded + self.position_weight * convolved, weight)

    def decode(
        self, base: Float[Array, "V G H"], rows: Rows, weight: Float[Array, "R"] | None
    ) -> Change:
        """Compose each row with every gene, and decode."""
        active = None if weight is None else weight * rows.perturbed
        fused = self.fusion_mlp(rows.composed, active) * rows.perturbed[:, None]
        scale, shift = self.base_norm(
            None if weight is None else _sum_moments(base, fused, rows.variant, weight)
        )
        left, right = base * scale + shift, fused * scale
        z = self.recovered(left, right, rows.variant, weight) + self.decoder.first_bias
        self.sow("intermediates", "fused", fused)
        self.sow("intermediates", "z", z)
        across = self.cross_gene_mlp(z, weight) if self.cross_gene else None
        spread = None
        if self.head is not None:
            spread = self.spread(nn.relu(left[rows.variant] + right[:, None]), weight)
        return Change(self.decoder.second(z, across), spread)

    def recovered(
        self,
        left: Float[Array, "V G H"],
        right: Float[Array, "R H"],
        variant: Int[Array, "R"],
        weight: Weight | None,
    ) -> Float[Array, "R G"]:
        """Each gene's own value of each row, before the bias."""
        mlp, onto = self.recovery_mlp, self.decoder.first()
        if weight is None:
            return mlp.projected(
                nn.relu((left if len(left) == 1 else left[variant]) + right[:, None]), onto
            )
        first, second = mlp.layers()
        z, seen = recover(Inputs(left, right, variant, weight), (first, second), onto)
        mlp.remember([joined(one.mean, one.variance, weight, self.genes) for one in seen])
        return z

    def spread(
        self, h: Float[Array, "R G H"], weight: Float[Array, "R"] | None
    ) -> Float[Array, "R G"] | None:
        """Log variances, from the head for them."""
        if self.head == "gene":
            return self.uncertainty(h)
        return self.uncertainty_mlp(h, None if weight is None else weight[:, None])[..., 0]

    def __call__(self, gene_hops: tuple[Hops, ...], hops: Mapping[str, Hops]) -> Change:
        """Touch every parameter (for `init`)."""
        composed = self.perturbations(hops)[:1]
        rows = Rows(composed, jnp.ones(1), jnp.zeros(1, int))
        return self.decode(self.base(gene_hops, None), rows, None)


def _sum_moments(
    base: Float[Array, "V G H"],
    fused: Float[Array, "R H"],
    variant: Int[Array, "R"],
    weight: Float[Array, "R"],
) -> Moments:
    """Moments of base[variant][r, g] + fused[r] over all r and g, without forming the sums."""
    within = jnp.square(base - base.mean(1, keepdims=True)).mean(1)[variant]
    return joined(base.mean(1)[variant] + fused, within, weight, base.shape[1])


class Decoder(nn.Module):
    """Gene-specific read-outs before and after the genes are looked at together; one row for all
    genes if shared."""

    genes: int
    rows: int
    width: int
    cross_gene: bool

    def setup(self):
        rows, d = self.rows, self.width
        self.first_kernel = self.param(
            "first_kernel", nn.initializers.normal((2 / (rows + d)) ** 0.5), (rows, d)
        )
        small = nn.initializers.normal((2 / (rows + 1)) ** 0.5)
        self.first_bias = self.param("first_bias", small, (rows,))
        if self.cross_gene:
            kernel = nn.initializers.normal((2 / ((rows + 1) * (d + 1))) ** 0.5)
            self.second_kernel = self.param("second_kernel", kernel, (rows, d + 1))
            self.second_bias = self.param("second_bias", small, (rows,))

    def first(self) -> Float[Array, "G H"]:
        """What each gene's own value is the product with."""
        return jnp.broadcast_to(self.first_kernel, (self.genes, self.width))

    def second(
        self, z: Float[Array, "R G"], across: Float[Array, "R H"] | None
    ) -> Float[Array, "R G"]:
        """Own value and cross-gene vector, in factorised form: nothing of size R x G x H."""
        if across is None:
            return z
        return (
            z * self.second_kernel[:, 0] + across @ self.second_kernel[:, 1:].T + self.second_bias
        )


class Readout(nn.Module):
    """One number per gene from its own linear form."""

    genes: int
    width: int

    @nn.compact
    def __call__(self, h: Float[Array, "R G H"]) -> Float[Array, "R G"]:
        shape = (self.genes, self.width)
        kernel = self.param("kernel", nn.initializers.normal((2 / sum(shape)) ** 0.5), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.genes,))
        return jnp.einsum("rgh,gh->rg", h, kernel) + bias
