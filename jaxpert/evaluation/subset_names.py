"""What subsets of perturbations are called: whose cells they hold, what training saw of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

HELD_OUT = "held_out"
UNSEEN_FIRST = (HELD_OUT, "test", "val", "all", "train")
"""What training did not see comes first: the order of tables, and of what the verdict speaks of."""
PLACES = {"test": "test", "val": "validation", "train": "training", "all": "all"}


def described(trained: Mapping[str, float]) -> dict[str, str]:
    """Every subset in words.

    `trained` is the share of the perturbations of each subset that training has cells of, NaN where
    that is unknown.
    """
    # Test cells stand apart only where training has cells of the same perturbations.
    of_cells = HELD_OUT in trained
    return {name: _words(name, share, of_cells) for name, share in trained.items()}


def _words(name: str, share: float, of_cells: bool) -> str:
    if name == HELD_OUT:
        return "test cells"
    if name in ("all", "train"):
        whose = f"{PLACES[name]} perturbations"
        # The measured side takes the cells of all splits (docs/evaluation.md, "Targets").
        return f"{whose}, training and test cells" if of_cells or name == "all" else whose
    kind = PLACES.get(name, name.replace("_", " "))
    if math.isnan(share):
        return f"{kind} perturbations"
    if share == 0:
        never = "perturbations never trained"
        return never if name == "test" else f"{kind}: {never}"
    cells = "training and validation cells" if name == "val" else "training and test cells"
    return f"{kind} perturbations, {cells}"
