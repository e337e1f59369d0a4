"""The GEARS network: predicted change of every gene for sets of perturbed genes
(docs/models/gears.md, Network).

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
        # Parameters go by these names: checkpoints and the parity tests read them.
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
        # A shared decoder is one read-out for all genes (docs/models/gears.md, 5.9 Ablations).
        readouts = 1 if self.shared_decoder else self.genes
        self.decoder = Decoder(self.genes, readouts, d, self.cross_gene)
        if self.cross_gene:
            self.cross_gene_mlp = Mlp((self.genes, d, d))
        if self.head == "shared":
            self.uncertainty_mlp = Mlp((d, wide, d, 1))
        elif self.head == "gene":
            self.uncertainty = Readout(self.genes, d)

    def perturbations(self, hops: Mapping[str, Hops]) -> Float[Array, "n H"]:
        """Embeddings of the nodes that the hops lead to, summed over the graphs."""
        # Capped as the stored rows are, with the gradient of a plain look-up.
        table = capped(self.perturbation_embedding)
        embedded = []
        for name in self.perturbation_graphs:
            # W = sum over the graphs of Conv(V) (docs/models/gears.md, 5.4 Perturbation branch).
            convolution = getattr(self, f"perturbation_conv_{name}")
            embedded.append(convolution(table, hops[name]))
        # Added one after the other, which fixes the order of rounding.
        return functools.reduce(operator.add, embedded)

    def base(
        self, hops: tuple[Hops, ...], cells: Float[Array, "V"] | None
    ) -> Float[Array, "V G H"]:
        """Gene vectors before the composition, one variant for each graph in `hops`; `cells` says
        how many cells have each in training, None evaluates."""
        embedded, position = capped(self.gene_embedding), capped(self.position_embedding)
        seen = weight = None
        if cells is not None:
            # All cells share these rows, so that each row counts as often as there are cells.
            seen = moments(embedded, cells.sum()[None])
            # Every variant counts by the cells that see it.
            weight = cells[:, None]
        embedded = nn.relu(self.gene_norm(seen)(embedded))
        # The graph works on the position table, not on the gene table (Gene branch).
        convolved = jnp.stack([self.gene_conv(position, along) for along in hops])
        self.sow("intermediates", "gene_relu", embedded)
        self.sow("intermediates", "position", convolved)
        # H = MLP(ReLU(BN(E)) + 0.2 Conv(Q)) (docs/models/gears.md, 5.3 Gene branch).
        return self.gene_mlp(embedded + self.position_weight * convolved, weight)

    def decode(
        self, base: Float[Array, "V G H"], rows: Rows, weight: Float[Array, "R"] | None
    ) -> Change:
        """Compose each row with every gene, and decode."""
        active = seen = None
        # U_S is normalised over perturbed cells alone, and 0 for control (5.5 Composition).
        if weight is not None:
            active = weight * rows.perturbed
        fused = self.fusion_mlp(rows.composed, active) * rows.perturbed[:, None]
        if weight is not None:
            seen = _sum_moments(base, fused, rows.variant, weight)
        scale, shift = self.base_norm(seen)
        # BN(H_g + U_S) = left_g + right_S: the normalisation is affine, so that it goes into both
        # parts and the sums need not be formed (Decoder).
        # The variance of left + right is known already, so neither is formed for all rows.
        left, right = base * scale + shift, fused * scale
        # z_g = w1_g . r_g + b1_g (docs/models/gears.md, 5.6 Decoder).
        z = self.recovered(left, right, rows.variant, weight) + self.decoder.first_bias
        self.sow("intermediates", "fused", fused)
        self.sow("intermediates", "z", z)
        across = spread = None
        # k = MLP(z): genes are looked at together here (docs/models/gears.md, 5.6 Decoder).
        if self.cross_gene:
            across = self.cross_gene_mlp(z, weight)
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
            # Without weights the last layer folds into the read-out, so nothing large is made.
            of_row = left if len(left) == 1 else left[variant]
            return mlp.projected(nn.relu(of_row + right[:, None]), onto)
        first, second = mlp.layers()
        # The published moments are over all cells and genes (docs/models/gears.md, Speed).
        z, spreads = recover(Inputs(left, right, variant, weight), (first, second), onto)
        seen = [joined(spread.mean, spread.variance, weight, self.genes) for spread in spreads]
        mlp.remember(seen)
        return z

    def spread(
        self, h: Float[Array, "R G H"], weight: Float[Array, "R"] | None
    ) -> Float[Array, "R G"] | None:
        """Log variances, from the head for them."""
        if self.head == "gene":
            return self.uncertainty(h)
        # The head reads each gene's vector, so cells weigh every gene alike.
        of_gene = None if weight is None else weight[:, None]
        return self.uncertainty_mlp(h, of_gene)[..., 0]

    def __call__(self, gene_hops: tuple[Hops, ...], hops: Mapping[str, Hops]) -> Change:
        """Touch every parameter (for `init`)."""
        # One set suffices to touch all parameters.
        composed = self.perturbations(hops)[:1]
        rows = Rows(composed, jnp.ones(1), jnp.zeros(1, int))
        return self.decode(self.base(gene_hops, None), rows, None)


def _sum_moments(
    base: Float[Array, "V G H"],
    fused: Float[Array, "R H"],
    variant: Int[Array, "R"],
    weight: Float[Array, "R"],
) -> Moments:
    """Moments of base[variant][r, g] + fused[r] over all r and g, without forming the sums.

    Within a row fused[r] is constant: it moves the row's mean and leaves its variance.
    """
    # The variance within a row is that of its gene base alone.
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
        # Variances of docs/models/gears.md, Initial values.
        rows, d = self.rows, self.width
        kernel = nn.initializers.normal((2 / (rows + d)) ** 0.5)
        self.first_kernel = self.param("first_kernel", kernel, (rows, d))
        small = nn.initializers.normal((2 / (rows + 1)) ** 0.5)
        self.first_bias = self.param("first_bias", small, (rows,))
        if self.cross_gene:
            kernel = nn.initializers.normal((2 / ((rows + 1) * (d + 1))) ** 0.5)
            self.second_kernel = self.param("second_kernel", kernel, (rows, d + 1))
            self.second_bias = self.param("second_bias", small, (rows,))

    def first(self) -> Float[Array, "G H"]:
        """What each gene's own value is the product with."""
        # Broadcast and not copied: a shared row costs no memory.
        return jnp.broadcast_to(self.first_kernel, (self.genes, self.width))

    def second(
        self, z: Float[Array, "R G"], across: Float[Array, "R H"] | None
    ) -> Float[Array, "R G"]:
        """Own value and cross-gene vector, in factorised form: nothing of size R x G x H."""
        if across is None:
            return z
        of_own, of_all = self.second_kernel[:, 0], self.second_kernel[:, 1:]
        # delta_g = w2_g0 z_g + w2_g . k + b2_g (docs/models/gears.md, 5.6 Decoder): the first
        # column weighs the gene's own value, the others the cross-gene vector.
        return z * of_own + across @ of_all.T + self.second_bias


class Readout(nn.Module):
    """One number per gene from its own linear form."""

    genes: int
    width: int

    @nn.compact
    def __call__(self, h: Float[Array, "R G H"]) -> Float[Array, "R G"]:
        shape = (self.genes, self.width)
        # As published for its own read-outs (docs/models/gears.md, Initial values).
        kernel = self.param("kernel", nn.initializers.normal((2 / sum(shape)) ** 0.5), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.genes,))
        return jnp.einsum("rgh,gh->rg", h, kernel) + bias
