"""Effects and a control profile from files, for a screen drawn around them (docs/simulator.md,
Effects of a file)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpert import simulate
from jaxpert.core.types import InputError
from jaxpert.data.files import shown
from jaxpert.data.tables import Columns, read_columns
from jaxpert.simulate.from_effects import (
    CONTROL,
    SEPARATOR,
    Effects,
    Profile,
    members_of,
    simulate_effects,
)

SCALES = {"log2": np.log(2), "ln": 1.0}
"""Natural logarithms in one unit of each scale."""
LARGEST_LOG2 = 20
"""Fold changes beyond a million are no log fold changes of expression."""
DRAWN = "drawn"
"""In place of a file: the control profile is drawn."""
EXAMPLE = "example"
"""In place of a file: the effects of 8 singles and 6 pairs of the preset `tiny` on 200 genes,
log2, which stand beside the simulator."""


def read_effects(path: str | Path, *, scale: str) -> Effects:
    """Log fold changes of conditions (rows) over genes (columns).

    Args:
        path: a .csv (plain or .gz) or .parquet file with the conditions in the first column, an
            .h5ad file (`obs["condition"]` or the names of the rows), or an .npz file with the
            arrays `conditions`, `genes` and `effects`. Conditions are A, A+ctrl or A+B; a row of
            the control ("ctrl") may stand there if it is 0.
        scale: "log2" or "ln", the logarithm of the file.

    Raises:
        InputError: for a file that cannot be read, names that are missing or stand twice, values
            that are not finite, folds beyond 2^20, an effect of the control.
    """
    if scale not in SCALES:
        raise InputError(
            f"the scale of effects is {scale!r}, expected one of {', '.join(SCALES)}: say which "
            "logarithm the file holds"
        )
    table = read_columns(path, "effects")
    _check_names(path, "gene", table.columns)
    _check_names(path, "condition", table.rows)
    _check_numbers(path, table)
    natural = table.values * SCALES[scale]
    _check_sizes(path, table, natural, scale)
    kept = _perturbed(path, table)
    _check_members(path, [table.rows[row] for row in kept])
    return Effects(
        name=Path(path).name,
        conditions=tuple(table.rows[row] for row in kept),
        genes=tuple(table.columns),
        log_fold=natural[kept],
    )


def effects_elsewhere(path: str | Path) -> dict[str, Float[np.ndarray, "g"]]:
    """{gene: its effects} of the single perturbations of another screen, whatever genes were
    measured there (the baseline `linear_other_screen`)."""
    # The unit of the logarithm is the same for all, and no matter to directions.
    read = read_effects(path, scale="log2")
    alone = {}
    for name, effects in zip(read.conditions, read.log_fold, strict=True):
        members = members_of(name)
        if len(members) == 1:
            alone[members[0]] = effects
    if not alone:
        raise InputError(
            f"{path} has {len(read.conditions)} combinations and no single perturbation, expected "
            "some singles such as A or A+ctrl: add their effects"
        )
    return alone


def read_profile(path: str | Path, effects: Effects) -> Profile:
    """Mean expression of the control, over the genes of the effects.

    Args:
        path: as in `read_effects`, with genes in the rows and the columns `mean` (any unit) and,
            if known, `inverse_dispersion` (r of the variance m + m^2 / r). An .h5ad file has them
            in `var`, an .npz file as arrays beside `genes`. Other genes are left out.
        effects: whose genes it must hold.

    Raises:
        InputError: for a file that cannot be read, genes that it lacks or has twice, and values
            that are not above 0.
    """
    table = read_columns(path, "profile")
    _check_names(path, "gene", table.rows)
    if "mean" not in table.columns:
        raise InputError(
            f"{path} has the columns {shown(table.columns)}, expected one named mean (and perhaps "
            "inverse_dispersion): rename it"
        )
    place = {name: row for row, name in enumerate(table.rows)}
    lacking = [name for name in effects.genes if name not in place]
    if lacking:
        raise InputError(
            f"the control profile {path} lacks {len(lacking)} genes of {effects.name} "
            f"({shown(lacking)}), expected all of them: add them to it or leave them out of the "
            "effects"
        )
    rows = [place[name] for name in effects.genes]

    def positive(name: str) -> Float[np.ndarray, "G"]:
        values = table.values[rows, table.columns.index(name)]
        wrong = [effects.genes[g] for g in np.flatnonzero(~(values > 0) | np.isinf(values))]
        if wrong:
            raise InputError(
                f"{name} in {path} is not above 0 for {len(wrong)} genes ({shown(wrong)}), "
                "expected finite numbers above 0, since nothing can be folded up from 0: correct "
                "it or leave these genes out"
            )
        return values

    known = "inverse_dispersion" in table.columns
    return Profile(positive("mean"), positive("inverse_dispersion") if known else None)


def simulate_files(
    effects: str | Path, scale: str, profile: str | Path, *, seed: int = 0, **overrides: Any
) -> tuple[Any, Any]:
    """`simulate_effects` of two files; `profile` may be "drawn"."""
    if str(effects) == EXAMPLE:
        effects = Path(simulate.__file__).parent / "example_effects.csv"
    read = read_effects(effects, scale=scale)
    if not str(profile):
        raise InputError(
            f"there is no control profile for the effects of {read.name}, expected a file with the "
            f"mean of every gene, or {DRAWN}: name one (docs/simulator.md)"
        )
    control = None if str(profile) == DRAWN else read_profile(profile, read)
    return simulate_effects(read, control, seed=seed, **overrides)


def _check_names(path: str | Path, what: str, names: Sequence[str]) -> None:
    if not names or not all(name.strip() for name in names):
        raise InputError(
            f"{path} has {len(names)} {what}s, some without a name, expected one or more with "
            f"names: see docs/simulator.md for the form of the file"
        )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(
            f"{path} names {len(twice)} {what}s more than once ({shown(twice)}), expected every "
            f"{what} once: join them or leave all but one out"
        )


def _check_numbers(path: str | Path, table: Columns) -> None:
    row, column = np.nonzero(~np.isfinite(table.values))
    if len(row):
        where = f"{table.columns[column[0]]} under {table.rows[row[0]]}"
        raise InputError(
            f"{path} has {len(row)} effects that are not finite, such as {where}, expected a "
            "number for every gene and condition: leave out genes without an effect, or write 0"
        )


def _check_sizes(path: str | Path, table: Columns, natural: np.ndarray, scale: str) -> None:
    log2 = natural / SCALES["log2"]
    row, column = np.unravel_index(np.abs(log2).argmax(), log2.shape)
    if abs(log2[row, column]) > LARGEST_LOG2:
        raise InputError(
            f"{path} has a fold change of 2^{log2[row, column]:.4g} ({table.columns[column]} under "
            f"{table.rows[row]}), expected at most 2^{LARGEST_LOG2} either way: check whether the "
            f"scale is {scale} and the values are logarithms"
        )


def _perturbed(path: str | Path, table: Columns) -> list[int]:
    """Rows that are no control; one of the control must be 0."""
    kept = []
    for row, name in enumerate(table.rows):
        if members_of(name):
            kept.append(row)
        elif table.values[row].any():
            raise InputError(
                f"{path} has effects of the control {name!r} that are not 0, expected changes "
                "against the control: subtract it from every condition"
            )
    if not kept:
        raise InputError(
            f"{path} has no perturbed condition, expected rows such as A+ctrl or A+B: check the "
            "names of the rows"
        )
    return kept


def _check_members(path: str | Path, conditions: Sequence[str]) -> None:
    """No perturbation twice in a condition, and no condition under two names."""
    seen: dict[tuple[str, ...], str] = {}
    for name in conditions:
        members = tuple(sorted(members_of(name)))
        if len(set(members)) < len(members) or not all(part.strip() for part in members):
            raise InputError(
                f"{path} has the condition {name!r}, expected different perturbations joined by "
                f"{SEPARATOR}, or one with {SEPARATOR}{CONTROL}: rename it"
            )
        if members in seen:
            raise InputError(
                f"{path} has the conditions {seen[members]!r} and {name!r} of the same "
                "perturbations, expected every condition once: leave one out"
            )
        seen[members] = name
