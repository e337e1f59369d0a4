"""Optimisers: Adam as the published VAEs use it, and plain gradient descent."""

from __future__ import annotations

import optax

Rate = float | optax.Schedule


def adam(
    learning_rate: Rate,
    *,
    weight_decay: float = 0.0,
    clip: float | None = 100.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam with coupled (L2) weight decay and clipping by global norm, in the order of PyTorch's optimiser.

    The raw gradient of all parameters together is clipped first; `weight_decay * parameter` is added to the clipped
    gradient, for every parameter, before the moments are taken (this is not AdamW); `eps` is added outside the square
    root of the bias-corrected second moment. Source: CRADLE-VAE, appendix H (weight decay 1e-6, clip 100); differs
    from PyTorch only in that a clipped gradient has norm `clip`, not clip * norm / (norm + 1e-6).

    Args:
        learning_rate: a number, or an optax schedule of the step.
        weight_decay: coefficient of the L2 term; 0 for none.
        clip: largest global norm; None for no clipping.
    """
    return optax.chain(
        optax.identity() if clip is None else optax.clip_by_global_norm(clip),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )


def sgd(learning_rate: Rate) -> optax.GradientTransformation:
    """Plain gradient descent: linear in the gradient, so a wrongly scaled gradient shows."""
    return optax.sgd(learning_rate)
