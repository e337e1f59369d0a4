"""How far predictions of each kind can be trusted, told by those that were kept away from
training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpert.report.numbers import finite, fixed, label
from jaxpert.report.perturbations import NOTHING, Each, is_held_out
from jaxpert.report.words import TERMS

UNKNOWN = "kept away from training"
"""The one kind of a run whose model does not say what its predictions rest on."""
DIGITS = 2


class Kind(NamedTuple):
    """Held-out perturbations of which training knew equally much."""

    name: str
    cells: list[str]
    """Of the columns of `Trust.heads`."""


class Trust(NamedTuple):
    """The table of kinds."""

    supported: bool
    """Whether the model says what training knew of a perturbation."""

    heads: list[tuple[str, str]]
    """Heading and meaning of each column after the first."""
    kinds: list[Kind]


def trust_of(each: Each) -> Trust | None:
    """The table; None where no perturbation with a match was kept away from training."""
    values = each.values
    groups: dict[str, list[int]] = {}
    # Where some were kept for the test, those that chose the epoch say less and do not count.
    tested = any("test" in str(split) for split in values["split"])
    for i in each.order:
        if _is_tested(values, i, tested) and finite(values["match"][i]):
            groups.setdefault(_kind(values, i), []).append(i)
    if not groups:
        return None
    columns = _columns(each)
    # The best known kind on top.
    ordered = sorted(groups.items(), key=lambda item: -_median(values, "match", item[1]))
    kinds = [Kind(name, [text(rows) for _, _, text in columns]) for name, rows in ordered]
    return Trust("support" in values, [(head, meaning) for head, meaning, _ in columns], kinds)


def _is_tested(values: Mapping[str, Sequence[Any]], i: int, only_test: bool) -> bool:
    """Whether it was measured on cells that training did not see."""
    alone = (values.get("measured_on") or {i: ""})[i] == "test cells"
    split = str(values["split"][i])
    return alone or (is_held_out(split) and ("test" in split or not only_test))


def _kind(values: Mapping[str, Sequence[Any]], i: int) -> str:
    """What training knew of it, without the names that follow."""
    support = values.get("support")
    return str(support[i]).partition(":")[0] if support else UNKNOWN


def _columns(each: Each) -> list[tuple[str, str, Any]]:
    """Heading, meaning and what is written for the rows of a kind, of what this run knows."""
    values = each.values
    columns: list[tuple[str, str, Any]] = [
        ("Kept away", "Perturbations, or their test cells, that training did not see.", _count),
        ("Match", "Median match of the model.", lambda rows: _shown(values, "match", rows)),
    ]
    if each.rival is not None and values.get("rival_match"):
        name = label(each.rival)
        said = f"Median match of {name}, the simple baseline that is best on average."
        columns.append((f"Of {name}", said, lambda rows: _shown(values, "rival_match", rows)))
        said = "Perturbations whose match is higher than that of this baseline."
        columns.append(("Model ahead", said, lambda rows: _ahead(values, rows)))
    if values.get("noise"):
        said = (
            "Perturbations whose effect is larger than the noise of its measurement: only of "
            "these can be seen whether a prediction is right."
        )
        columns.append(("Effect above noise", said, lambda rows: _above_noise(values, rows)))
    if values.get("sure_genes"):
        said = TERMS["sure genes"]
        columns.append(("Sure genes right", said, lambda rows: _sure(values, rows)))
    return columns


def _count(rows: Sequence[int]) -> str:
    return f"{len(rows):,}"


def _median(values: Mapping[str, Sequence[Any]], key: str, rows: Sequence[int]) -> float:
    known = [values[key][i] for i in rows if finite(values[key][i])]
    return float(np.median(known)) if known else float("nan")


def _shown(values: Mapping[str, Sequence[Any]], key: str, rows: Sequence[int]) -> str:
    median = _median(values, key, rows)
    return fixed(median, DIGITS) if finite(median) else NOTHING


def _ahead(values: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> str:
    pairs = [(values["match"][i], values["rival_match"][i]) for i in rows]
    known = [(ours, theirs) for ours, theirs in pairs if finite(theirs)]
    return f"{sum(ours > theirs for ours, theirs in known)} of {len(known)}"


def _above_noise(values: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> str:
    pairs = [(values["effect_size"][i], values["noise"][i]) for i in rows]
    known = [(size, noise) for size, noise in pairs if finite(size) and finite(noise)]
    # A measured effect holds its noise, so that squares are twice the noise where both are equal.
    above = sum(size**2 > 2 * noise**2 for size, noise in known)
    return f"{above} of {len(known)}"


def _sure(values: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> str:
    known = [i for i in rows if finite(values["sure_genes"][i])]
    sure = sum(int(values["sure_genes"][i]) for i in known)
    right = sum(int(values["sure_right"][i]) for i in known)
    return f"{right:,} of {sure:,}" if known else NOTHING
