"""Optimisers in the order of PyTorch's: clip, add the L2 term to the gradient, take moments, scale
by the rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxpert.core.types import InputError, PyTree

Rate = float | optax.Schedule
KINDS = ("adam", "rmsprop", "sgd")
CLIPS = ("norm", "value")
NORM_GUARD = 1e-6
"""Added to the norm that a clipped gradient is divided by, as PyTorch does."""
RMS_DECAY = 0.99


def build(
    kind: str,
    learning_rate: Rate,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    clip: float | None = None,
    clip_kind: str = "norm",
    clip_parts: Sequence[str] = (),
    freeze: Sequence[str] = (),
) -> optax.GradientTransformation:
    """An optimiser as the published models use them.

    The raw gradient is clipped first; `weight_decay * parameter` is added to the clipped gradient,
    for every parameter, before the moments are taken (this is not AdamW); constants that guard
    divisions stand outside the roots.

    Args:
        kind: "adam" (1e-8), "rmsprop" (0.99, 1e-8, from 0, no momentum) or "sgd".
        learning_rate: a number, or an optax schedule of the step (see `decayed`).
        betas: Adam's decay of the first and of the second moment.
        weight_decay: coefficient of the L2 term; 0 for none.
        clip, clip_kind: bound on the gradient (None for none): "norm" on the global norm, "value"
            on every element.
        clip_parts: top-level parts of the parameters that the clip is for; empty for all.
        freeze: parameters to leave as they are: all at or below a path ("generators.p2n.encoder").

    Raises InputError for an unknown kind, and (when the state is made) for a part or path that no
    parameter has.
    """
    if kind not in KINDS:
        raise InputError(
            f"train.optimizer is {kind!r}, expected one of {', '.join(KINDS)}: correct it"
        )
    if clip_kind not in CLIPS:
        raise InputError(
            f"train.clip_kind is {clip_kind!r}, expected one of {', '.join(CLIPS)}: correct it"
        )
    clipping = decay = optax.identity()
    if clip is not None:
        clipping = _clipping(clip, clip_kind, clip_parts)
    if weight_decay:
        decay = optax.add_decayed_weights(weight_decay)
    # The order decides the numbers (docs/models/cradle.md, "Training").
    rate = optax.scale_by_learning_rate(learning_rate)
    chain = optax.chain(clipping, decay, _moments(kind, betas), rate)
    if not freeze:
        return chain
    return _frozen(chain, freeze)


def check_names(
    params: PyTree, *, clip_parts: Sequence[str] = (), freeze: Sequence[str] = ()
) -> None:
    """Raise InputError for a part or path that no parameter has; shapes are enough for `params`."""
    absent = [name for name in clip_parts if name not in params]
    if absent:
        raise InputError(
            f"train.clip_parts names {absent[0]!r}, expected some of {', '.join(params)}: correct "
            "it"
        )
    names = _names(params)
    for path in freeze:
        if not any(_is_below(name, path) for name in names):
            raise InputError(
                f"train.freeze names {path!r}, expected paths of parameters such as {names[0]!r} "
                "or the beginning of one: correct it"
            )


def _moments(kind: str, betas: tuple[float, float]) -> optax.GradientTransformation:
    """What turns a gradient into a step, before the rate."""
    # Guards stand outside the root, as in PyTorch; optax's RMSprop has its own inside.
    if kind == "adam":
        return optax.scale_by_adam(b1=betas[0], b2=betas[1], eps=1e-8)
    if kind == "rmsprop":
        return optax.scale_by_rms(RMS_DECAY, 1e-8, eps_in_sqrt=False)
    return optax.identity()


def adam(
    learning_rate: Rate, *, weight_decay: float = 0.0, clip: float | None = 100.0
) -> optax.GradientTransformation:
    """Adam with the clip of CRADLE-VAE (appendix H)."""
    return build("adam", learning_rate, weight_decay=weight_decay, clip=clip)


def sgd(learning_rate: Rate) -> optax.GradientTransformation:
    """Plain gradient descent: linear in the gradient, so a wrongly scaled gradient shows."""
    return build("sgd", learning_rate)


def decayed(learning_rate: float, factor: float, every: int) -> Rate:
    """The rate times `factor` after every `every` steps; the number itself for a factor of 1."""
    if factor == 1:
        return learning_rate
    # Whole divisions make a staircase: the rate is constant in between.
    return lambda step: learning_rate * factor ** (jnp.asarray(step) // every)


def _clipping(limit: float, kind: str, parts: Sequence[str]) -> optax.GradientTransformation:
    def clip(updates: PyTree) -> PyTree:
        if kind == "value":
            return jax.tree.map(lambda g: jnp.clip(g, -limit, limit), updates)
        # min(1, limit / (norm + 1e-6)): a gradient within the bound stays as it is.
        scale = jnp.minimum(1, limit / (optax.tree.norm(updates) + NORM_GUARD))
        return jax.tree.map(lambda g: g * scale, updates)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        if not parts:
            return clip(updates), state
        # The norm of these parts alone (docs/models/cycseq.md, "Optimiser and schedule").
        chosen = clip({name: updates[name] for name in parts})
        return {**updates, **chosen}, state

    def init(params: PyTree) -> Any:
        check_names(params, clip_parts=parts)
        return optax.EmptyState()

    return optax.GradientTransformation(init, update)


def _frozen(
    inner: optax.GradientTransformation, paths: Sequence[str]
) -> optax.GradientTransformation:
    """Gradients of frozen parameters count in no norm, and neither steps nor weight decay move
    them."""

    def init(params: PyTree) -> Any:
        check_names(params, freeze=paths)
        return inner.init(params)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        # Zeros before, so that no norm counts them, and after, since weight decay moves them.
        moved, state = inner.update(_without(updates, paths), state, params)
        return _without(moved, paths), state

    return optax.GradientTransformation(init, update)


def _names(params: PyTree) -> list[str]:
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _is_below(name: str, path: str) -> bool:
    """Whether a parameter is at a path or below it."""
    # The dot at the end keeps "encoder" from matching "encoder2".
    return f"{name}.".startswith(f"{path}.")


def _without(tree: PyTree, paths: Sequence[str]) -> PyTree:
    """Zeros at and below the paths."""

    def thawed(path: Any, leaf: jax.Array) -> jax.Array:
        frozen = any(_is_below(_name(path), frozen_path) for frozen_path in paths)
        return jnp.zeros_like(leaf) if frozen else leaf

    return jax.tree_util.tree_map_with_path(thawed, tree)
