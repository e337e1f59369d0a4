"""Values as a reader wants to see them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.words import LABELS

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def finite(value: Any) -> bool:
    """Whether this is a number that can be shown and compared."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def digits_for(values: Sequence[Any]) -> int:
    """Decimals that show three figures of the largest value, the same down a row so that it can be
    compared."""
    largest = max((abs(v) for v in values), default=0)
    return (
        3
        if largest == 0 or 0.1 <= largest < 100
        else min(8, max(0, 2 - math.floor(math.log10(largest))))
    )


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
    if isinstance(it, bool):
        return "yes" if it else "no"
    if isinstance(it, int):
        return f"{it:,}".replace("-", "−")
    return _real(it) if isinstance(it, float) else str(it)


def _real(value: float) -> str:
    """Five figures, thousands grouped, and powers of ten only for the very small and the very
    large."""
    if _is_plain(value):
        digits = 0 if value == 0 else min(8, max(0, 4 - math.floor(math.log10(abs(value)))))
        text = f"{value:,.{digits}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    mantissa, power = f"{value:.2e}".split("e")
    exponent = str(int(power)).translate(SUPERSCRIPT)
    return f"{mantissa} × 10{exponent}".replace("-", "−")


def aligned(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same table with the numbers of a column as text of equally many decimals."""
    digits: dict[str, int] = {}
    plain = [
        (c, v)
        for row in table.values()
        for c, v in row.items()
        if isinstance(v, float) and _is_plain(v)
    ]
    for column, v in plain:
        digits[column] = max(digits.get(column, 0), len(_real(v).partition(".")[2]))
    return {
        name: {
            c: fixed(v, digits[c]) if isinstance(v, float) and _is_plain(v) else v
            for c, v in row.items()
        }
        for name, row in table.items()
    }


def _is_plain(value: float) -> bool:
    """Whether a number is written without a power of ten."""
    return value == 0 or 1e-5 <= abs(value) < 1e9


def label(name: Any) -> str:
    """What a key of metrics.json is called on the page."""
    return LABELS.get(
        str(name), METRICS[name].label if name in METRICS else str(name).replace("_", " ")
    )


def heading(name: Any) -> str:
    """Its label with a capital letter in front; names of lines and genes keep theirs."""
    text = label(name)
    return text[:1].upper() + text[1:]


def sentences(text: str) -> list[str]:
    """The sentences of a text; decimal points do not end one."""
    return re.split(r"(?<=[.!?]) +(?=[A-Z])", text.strip())


def pretty(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def is_scalar(value: Any) -> bool:
    """Whether `value` is a single value, shown on one line."""
    return value is None or isinstance(value, str | int | float)


def is_table(value: Any) -> bool:
    """A mapping of at least two mappings of single values is shown as rows and columns."""
    inner = list(value.values()) if isinstance(value, Mapping) else []
    return len(inner) > 1 and all(
        isinstance(i, Mapping) and i and all(map(is_scalar, i.values())) for i in inner
    )


def is_long(value: Any) -> bool:
    """Whether `value` is a list of numbers too long to be shown one by one."""
    return isinstance(value, list) and len(value) > 12 and all(map(finite, value))
