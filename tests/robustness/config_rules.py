"""What the keys of configs may be, by what their names mean.

Stated apart from the settings, so that a bound which is forgotten there shows.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import numpy as np

INFINITY = math.inf
MILLION = 1_000_000
LARGEST, SMALLEST = 1e30, 1e-30
"""float32 holds no number far beyond."""
LONGEST, LONGEST_LIST = 4_096, 65_536
"""Characters of a name or path, and of many of them."""


class Key(NamedTuple):
    """A setting."""

    path: str
    """Dotted, as messages name it."""
    owner: str
    """The model, or the dataclass of flags."""
    field: dataclasses.Field
    kind: Any
    """Its type."""
    default: Any

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def many(self) -> bool:
        """Whether it is a list."""
        return str(self.kind).startswith("tuple")

    @property
    def is_text(self) -> bool:
        """Whether it, or each of its members, is a text."""
        return "str" in str(self.kind)

    @property
    def joined(self) -> bool:
        """Whether the list stands as one text in a config."""
        return self.field.metadata["joined"]

    @property
    def choices(self) -> tuple:
        return self.field.metadata["range"].choices


class Rule(NamedTuple):
    """What a number may be."""

    low: float
    high: float
    whole: bool = False
    ends: str = "[]"
    """A round bracket stands at an end that is no allowed value."""

    def allows(self, value: Any) -> bool:
        if not is_number(value, self.whole):
            return False
        above = value > self.low if self.ends[0] == "(" else value >= self.low
        below = value < self.high if self.ends[1] == ")" else value <= self.high
        return bool(above and below)


NUMBERS: dict[str, Rule] = {
    # Sizes of networks, which cost memory squared, and of what is drawn or held at once.
    r".*_dim|tokens|hidden": Rule(1, 65_536, True),
    r".*_layers": Rule(1, 100, True),
    r"blocks": Rule(0, 100, True),
    r"placeholders": Rule(0, 1_000, True),
    # Fine-tuning for no epoch evaluates the run that it starts from.
    r"epochs of (cycseq|Options)": Rule(0, MILLION, True),
    r"epochs of .*": Rule(1, MILLION, True),
    r"seeds|model\.kwargs\.particles": Rule(1, 1_000, True),
    r"particles|draws": Rule(2, MILLION, True),
    r"batch_size|score_particles|log_every|validate_every|neighbours": Rule(1, MILLION, True),
    r"replicates|cells_per_draw|control_draws|generated_cells": Rule(1, MILLION, True),
    r"pairs of Options": Rule(1, MILLION, True),
    r"patience|decay_every|devices|pass_cells|umap_cells|samples|folds": Rule(0, MILLION, True),
    r"cells of FigureOptions": Rule(50, MILLION, True),
    r"max_steps|min_cells_per_gene|variable_genes|doublet_group": Rule(0, 2**31 - 1, True),
    r"seed|simulation_seed": Rule(0, 2_000_000_000, True),
    # Probabilities, and what multiplies a running mean.
    r"dropout|b1|b2|jaccard|correlation|test_share|val_share": Rule(0, 1, ends="[)"),
    r"decay|gene_share": Rule(0, 1, ends="(]"),
    r"combination_share|line_share": Rule(0, 1),
    r"mask_prior|share|control_share|mask_share": Rule(0, 1, ends="()"),
    r".*_share of Settings|pathway_correlation|related_pairs": Rule(0, 1, ends="[)"),
    # Weights of a loss, rates and scales.
    r".*_weight|weight_decay": Rule(0, 1e6),
    r"guide_threshold": Rule(1, MILLION, True),
    r"gamma": Rule(0, 10),
    r"learning_rate": Rule(0, 10, ends="(]"),
    r"clip|save_seconds": Rule(0, INFINITY),
    r"embedding_prior_scale|temperature|mask_beta|strength_shape": Rule(1e-3, 1e3),
    r"library": Rule(1, 1e9),
    # The simulated screen.
    r"cells|reference_cells": Rule(1, 10_000_000, True),
    r"genes|singles": Rule(1, 200_000, True),
    r"pairs|triples": Rule(0, 200_000, True),
    r"batches|pathways": Rule(1, 10_000, True),
    r"programs|basal_programs|lines": Rule(1, 1_000, True),
    r"doses": Rule(0, 4, True),
    r"umis": Rule(0, MILLION),
    r"umis_log_sd|strength_scale": Rule(0, 5, ends="(]"),
    r".*_sd|loading_scale": Rule(0, 5),
    r"own_effect": Rule(-10, 10),
}
"""By name, by path, or by name and owner; the first that fits holds."""
NEEDED = {
    "base",
    "source",
    "perturbation",
    "control",
    "preset",
    "doublets",
    "dose",
    "vehicle",
    "coexpression_graph",
    "aspects",
    "hidden",
}
"""Texts and lists without which nothing can be read or built."""
LONG = {"source"}
"""Texts that may name many files."""


def is_number(value: Any, whole: bool) -> bool:
    """Whether a value is a number that arrays of 32 bits hold."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    # False for NaN too; and the whole number 10**400 is none that floats can be compared with.
    return bool(value == 0 or SMALLEST <= abs(value) <= LARGEST)


def is_plain(text: str, longest: int) -> bool:
    """Whether a text is short and holds nothing that controls a terminal or cannot be written."""
    return len(text) <= longest and not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text)


def rule_of(key: Key) -> Rule:
    """The rule of a number."""
    for pattern, rule in NUMBERS.items():
        named = (key.name, key.path, f"{key.name} of {key.owner}")
        if any(re.fullmatch(pattern, name) for name in named):
            return rule
    raise LookupError(f"no rule says what {key.path} of {key.owner} may be: state one")


def allows(key: Key, value: Any) -> bool:
    """Whether a value may be used for a key."""
    if isinstance(value, np.ndarray):
        return False
    if not key.many:
        return _allows_member(key, value, needed=key.name in NEEDED)
    members = members_of(key, value)
    if members is None or (not members and key.name in NEEDED):
        return False
    return all(_allows_member(key, member, needed=False) for member in members)


def members_of(key: Key, value: Any) -> list[Any] | None:
    """What a list consists of; None for what is no list."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not key.joined or not is_plain(value, LONGEST_LIST):
        return None
    texts = [part.strip() for part in value.split(",") if part.strip()]
    if key.is_text:
        return list(texts)
    return [int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else text for text in texts]


def allows_typed(key: Key, text: str) -> bool | None:
    """Whether a person may type a text for a key; None where the flags library makes a list of it
    in its own way."""
    if isinstance(key.default, list | tuple):
        return None
    if isinstance(key.default, str):
        return allows(key, text)
    if isinstance(key.default, bool):
        return text.lower() in ("true", "false", "1", "0")
    whole = isinstance(key.default, int)
    number = r" *[+-]?[0-9]+ *" if whole else r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf)|nan"
    if not re.fullmatch(number, text):
        return False
    return allows(key, int(text) if whole else float(text))


def _allows_member(key: Key, value: Any, *, needed: bool) -> bool:
    if key.kind is bool:
        return isinstance(value, bool)
    if key.choices:
        # True is 1 to Python.
        return not isinstance(value, bool | float) and value in key.choices
    if not key.is_text:
        return rule_of(key).allows(value)
    if not isinstance(value, str):
        return False
    longest = LONGEST_LIST if key.name in LONG else LONGEST
    return is_plain(value, longest) and bool(value.strip() or not needed)
