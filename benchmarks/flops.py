"""Operations of the matrix products of a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax


def of_program(function: Callable, *arguments: Any) -> float:
    """Operations of all products of a call; XLA's own count takes the body of a loop once."""
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> float:
    """The larger branch of a conditional counts, so that rows without cells count as if they were
    computed."""
    total = 0.0
    for equation in jaxpr.eqns:
        leaves = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        )
        inner = [
            _of_jaxpr(getattr(leaf, "jaxpr", leaf)) for leaf in leaves if hasattr(leaf, "eqns")
        ]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * summed * equation.outvars[0].aval.size
        elif equation.primitive.name == "cond":
            total += max(inner, default=0.0)
        else:
            total += sum(inner) * equation.params.get("length", 1)
    return total
