"""Values as a reader wants to see them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.words import LABELS, METHODS

# Not behind "=" or a point, where it is a setting to be typed as it stands.
CALLED = "|".join(sorted((*METHODS, "held_out"), key=len, reverse=True))
KEYS_IN_TEXT = re.compile(rf"(?<![=.\w])({CALLED})(?![=\w])")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def finite(value: Any) -> bool:
    """Whether this is a number that can be shown and compared."""
    # A truth value is an int to Python and no number to a reader.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def digits_for(values: Sequence[Any]) -> int:
    """Decimals that show three figures of the largest value, the same down a row so that it can be
    compared."""
    largest = max(map(abs, values), default=0)
    # Three decimals suit most scores; only very small or large ones need others.
    if largest == 0 or 0.1 <= largest < 100:
        return 3
    return _decimals(largest, figures=3)


def _decimals(value: float, figures: int) -> int:
    """Decimals that show so many figures of a number other than 0, 8 at most."""
    # Capped, since more decimals than 8 are noise of float32.
    return min(8, max(0, figures - 1 - math.floor(math.log10(abs(value)))))


def fixed(value: float, digits: int, sign: str = "") -> str:
    """`digits` decimals with a true minus sign; `sign="+"` marks positive numbers too."""
    return f"{value:{sign},.{digits}f}".replace("-", "−")


def value(it: Any) -> Any:
    """Any single value as a reader wants it; None and numbers that are not finite are
    "undefined"."""
    from markupsafe import Markup

    if it is None or (isinstance(it, float) and not math.isfinite(it)):
        return Markup(
            '<abbr class="undefined" title="no value: not computed, or not a finite '
            'number">undefined</abbr>'
        )
    # Before the numbers, since a truth value is an int to Python.
    if isinstance(it, bool):
        return "yes" if it else "no"
    if isinstance(it, int):
        return f"{it:,}".replace("-", "−")
    if isinstance(it, float):
        return _real(it)
    return str(it)


def _real(value: float) -> str:
    """Five figures, thousands grouped, and powers of ten only for the very small and the very
    large."""
    if not _is_plain(value):
        # Two decimals suffice where the power of ten says the most.
        mantissa, power = f"{value:.2e}".split("e")
        exponent = str(int(power)).translate(SUPERSCRIPT)
        return f"{mantissa} × 10{exponent}".replace("-", "−")
    # 0 has no logarithm to take decimals from.
    digits = 0
    if value:
        digits = _decimals(value, figures=5)
    text = f"{value:,.{digits}f}"
    if "." in text:
        # Zeros at the end say nothing, and the point alone even less.
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def aligned(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same table with the numbers of a column as text of equally many decimals."""
    # A first pass finds the digits of a column, a second writes its numbers.
    digits: dict[str, int] = {}
    for row in table.values():
        for column, number in row.items():
            if _is_plain(number):
                decimals = len(_real(number).partition(".")[2])
                digits[column] = max(digits.get(column, 0), decimals)
    rows: dict[str, dict[str, Any]] = {}
    for name, row in table.items():
        rows[name] = dict(row)
        for column, number in row.items():
            if _is_plain(number):
                rows[name][column] = fixed(number, digits[column])
    return rows


def _is_plain(value: Any) -> bool:
    """Whether this is a real number that is written without a power of ten."""
    return isinstance(value, float) and (value == 0 or 1e-5 <= abs(value) < 1e9)


def label(name: Any) -> str:
    """What a key of metrics.json is called on the page."""
    key = str(name)
    if key in LABELS:
        return LABELS[key]
    if key in METRICS:
        return METRICS[key].label
    return key.replace("_", " ")


def heading(name: Any) -> str:
    """Its label with a capital letter in front; names of lines and genes keep theirs."""
    text = label(name)
    return text[:1].upper() + text[1:]


def true_minus(text: str) -> str:
    """The text with true minus signs before its numbers; hyphens of names stay."""
    return re.sub(r"(?<![\w.+-])-(?=\d)", "−", text)


def in_words(text: str) -> str:
    """A sentence of a run as the page says it: keys of metrics.json by their names in words."""
    return KEYS_IN_TEXT.sub(lambda name: label(name[0]), text)


def sentences(text: str) -> list[str]:
    """The sentences of a verdict, in words; decimal points do not end one."""
    # A capital letter must follow, so that "0.5" and "e.g. this" are left whole.
    return re.split(r"(?<=[.!?]) +(?=[A-Z])", true_minus(in_words(text.strip())))


def pretty(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def is_scalar(value: Any) -> bool:
    """Whether `value` is a single value, shown on one line."""
    return value is None or isinstance(value, str | int | float)


def is_table(value: Any) -> bool:
    """A mapping of at least two mappings of single values is shown as rows and columns."""
    # One mapping is no table: it reads better as a list.
    if not isinstance(value, Mapping) or len(value) < 2:
        return False
    return all(_is_row(row) for row in value.values())


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0 and all(map(is_scalar, value.values()))


def is_many(value: Any) -> bool:
    """Whether `value` holds so many named numbers that a page shows them where they are asked
    for."""
    return isinstance(value, Mapping) and len(value) > 20 and all(map(finite, value.values()))


def is_long(value: Any) -> bool:
    """Whether `value` is a list of numbers too long to be shown one by one."""
    return isinstance(value, list) and len(value) > 12 and all(map(finite, value))
