"""The critic of CycSeq: how real a row looks under its conditions."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from jaxpert.models.cycseq.layers import Condition, Dropout, Joint, Keep, Picked, Prelu
from jaxpert.models.cycseq.network import Sizes, condition_blocks
from jaxpert.nn.layers import Linear


class Critic(nn.Module):
    """Logit of a row being real, given its true conditions (docs/models/cycseq.md, Critics).

    `first` and `tail` are its two halves.
    """

    sizes: Sizes

    def setup(self):
        sizes = self.sizes
        # True columns without an embedding (docs/models/cycseq.md, Critics).
        blocks = (
            ("expression", sizes.genes),
            *condition_blocks(sizes, sizes.targets, sizes.strata),
        )
        self.first = Joint(blocks, sizes.hidden[0])
        for i, width in enumerate(sizes.hidden, 1):
            if i > 1:
                setattr(self, f"linear{i}", Linear(sizes.hidden[i - 2], width))
            setattr(self, f"prelu{i}", Prelu())
            setattr(self, f"drop{i}", Dropout(sizes.rate))
        self.last = Linear(sizes.hidden[-1], 1)

    def expression(self, x: Picked | Float[Array, "B G"]) -> Float[Array, "B H"]:
        """What expression gives to the first layer: linear, so that mixtures of rows need no
        product of their own."""
        return self.first.share(0, x)

    def conditions(self, condition: Condition) -> Float[Array, "B H"]:
        """What the conditions give to the first layer, with the bias."""
        return self.first.rest(*condition.parts())

    def tail(self, first: Float[Array, "B H"], keep: Keep) -> Float[Array, "B"]:
        """From the first layer's linear output to the logit."""
        h = first
        for i in range(1, len(self.sizes.hidden) + 1):
            if i > 1:
                h = getattr(self, f"linear{i}")(h)
            h = getattr(self, f"drop{i}")(getattr(self, f"prelu{i}")(h), keep.get(f"drop{i}"))
        # No activation at the end: the logit may have either sign.
        return self.last(h)[:, 0]

    def __call__(
        self, x: Float[Array, "B G"], condition: Condition, keep: Keep
    ) -> Float[Array, "B"]:
        return self.tail(self.expression(x) + self.conditions(condition), keep)
