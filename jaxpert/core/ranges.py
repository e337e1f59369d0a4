"""What a value of a setting may be: types, bounds that hold for all settings, and words for them.

Nothing here imports JAX, since configs are read before it is.
"""

from __future__ import annotations

import math
import typing
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

Bound = float | int | None

LARGEST_WHOLE = 2**31 - 1
"""Arrays count in 32 bits, where a larger whole number would come out as another one."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Sizes of a number other than 0: training computes in float32, which holds nothing far beyond."""
LARGEST_SEED = 2_000_000_000
"""Keys are made of 32 bits, so a larger seed would be another one; room is left for consecutive
seeds."""
WIDEST, DEEPEST = 65_536, 100
"""Units of a layer, and layers: one array of more would be larger than a device."""
MOST = 1_000_000
"""Of what a run draws, repeats or holds at once: epochs, cells of a batch, generated cells."""
HEAVIEST = 1e6
"""Weight of a term of a loss: beside a larger one, float32 keeps nothing of the others."""
LONGEST, LONGEST_LIST = 4_096, 65_536
"""Characters of a text (no path may be longer), and of a list of names in one text."""
SHOWN = 100
"""Characters of a wrong value that a message repeats."""

WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}
MEMBERS = {int: "whole numbers", float: "numbers"}


class Range(NamedTuple):
    """What a value may be, beside its type."""

    choices: tuple = ()
    """The only values, where there are any; of a tuple, of each of its members."""
    at_least: Bound = None
    above: Bound = None
    at_most: Bound = None
    below: Bound = None
    filled: bool = False
    """Whether a text, or a tuple, may not be empty."""
    longest: int = LONGEST
    """Characters of a text."""

    def text(self) -> str:
        """The range in words; empty for none."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        bounds = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        words = [f"{word} {_digits(b)}" for word, b in bounds.items() if b is not None]
        if self.filled:
            words.append("not empty")
        return " and ".join(words)

    def holds(self, value: Any) -> bool:
        """Whether a number lies within the bounds, or a text is one of the choices."""
        if self.choices:
            return value in self.choices
        if isinstance(value, str):
            return is_plain(value, self.longest) and bool(value.strip() or not self.filled)
        # None says that the number is not given.
        if value is None:
            return True
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


def brief(value: Any) -> str:
    """A value as a message repeats it: its beginning, without what would control a terminal."""
    # Python refuses to write out whole numbers of thousands of digits.
    if isinstance(value, int) and abs(value) > 10**SHOWN:
        return f"a number of {int(value.bit_length() * math.log10(2)):,} digits"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ... ({len(text):,} characters)"


def number(kind: type, text: str) -> Any:
    """A text as a number, as a person writes one: int() and float() take digits of every script.

    Raises ValueError.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text!r} is no number")
    return kind(text)


def is_plain(text: str, longest: int = LONGEST) -> bool:
    """Whether a text is of bearable length and holds nothing that files and terminals cannot."""
    # Control characters, and halves of characters that no encoding writes.
    return len(text) <= longest and not {"Cc", "Cs"} & set(map(unicodedata.category, text))


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a field's type; numbers are finite, and truth values are no numbers."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(members[0], member) for member in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if members:  # X | None
        return any(fits(member, value) for member in members)
    if kind is Any:
        return True
    # Before int, of which bool is a subclass.
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return _is_number(kind, value)
    return isinstance(value, kind)


def _is_number(kind: Any, value: Any) -> bool:
    """Whether a value is a number that arrays of 32 bits hold."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return False
    if kind is int:
        return abs(value) <= LARGEST_WHOLE
    return is_finite(value) and (value == 0 or SMALLEST <= abs(value) <= LARGEST)


def is_finite(value: Any) -> bool:
    """Whether a number is finite, as a float too."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _digits(bound: float | int) -> str:
    """A bound as people write it: 1,000,000, but 0.5 and 1e-05."""
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def expected(kind: Any, limits: Range) -> str:
    """What a value of a field has to be, in words."""
    if limits.choices:
        return limits.text()
    if typing.get_origin(kind) is tuple:
        what = f"{MEMBERS.get(typing.get_args(kind)[0], 'names')} in a tuple"
    else:
        what = WORDS.get(kind, str(kind).replace("NoneType", "None"))
    return f"{what}, {limits.text()}" if limits.text() else what


def implied(kind: Any, value: Any, limits: Range) -> str:
    """What every value has to be and this one is not; empty for none.

    A range does not say it, since nobody expects it to be wrong.
    """
    if isinstance(value, str):
        limit = f", at most {limits.longest:,} characters and none that controls a terminal"
        return "" if is_plain(value, limits.longest) else limit
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        return ""
    # One of another type, or out of its own range, is told that alone.
    fraction = kind is int and not isinstance(value, int)
    if fraction or _is_number(kind, value) or not limits.holds(value):
        return ""
    if kind is int:
        return f", of a size up to {LARGEST_WHOLE:,}"
    return f", 0 or of a size from {SMALLEST:g} to {LARGEST:g}"
