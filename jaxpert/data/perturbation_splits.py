"""Splits by perturbation, as the GEARS paper makes them: pure functions on conditions and the genes
in each.

Every random choice is drawn from NumPy's legacy stream (`RandomState`), so that published splits
come out again, list by list. Conditions are given in the order of their first cell: "combo_seen2"
and "no_test" depend on it, the others do not. Sets of three and more genes are treated by the same
rules, which the published code has for one and two only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.types import InputError

Genes = Mapping[str, frozenset[str]]
"""Condition -> its perturbed genes, none for control; in the order of first appearance."""
VAL_SHARE = 0.1
"""Share of what is left for training that every published split takes for validation."""
NO_GROUPS: Mapping[str, tuple[str, ...]] = {}


class PerturbationSplit(NamedTuple):
    """Names of conditions, sorted; every condition is in exactly one of the first four."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = NO_GROUPS
    """Test conditions by how many of their genes training saw: `unseen_single`, `seen_single`,
    `combo_seen0` to `combo_seen2` (pairs), `combo_seen1of3` ... (larger sets); "simulation" names
    empty groups too."""
    val_groups: Mapping[str, tuple[str, ...]] = NO_GROUPS
    """The same for val."""


class _Stage(NamedTuple):
    """One division of conditions into those kept and those held out."""

    kept: list[str]
    held: list[str]
    groups: Mapping[str, tuple[str, ...]] = NO_GROUPS


def gene_sets(
    conditions: Iterable[str], control: str = "ctrl", separator: str = "+"
) -> dict[str, frozenset[str]]:
    """Genes of each name: `A+B`, `B+A`, `A+ctrl`, `ctrl+A`, bare `A`, `A+B+C`, `ctrl`; order of
    names is kept."""
    return {
        name: frozenset()
        if name == control
        else frozenset(p.strip() for p in name.split(separator)) - {control}
        for name in conditions
    }


def simulation(
    genes: Genes,
    seed: int = 1,
    *,
    gene_share: float = 0.75,
    combination_share: float = 0.75,
    test_perts: Sequence[str] = (),
    only_test_set_perts: bool = False,
) -> PerturbationSplit:
    """Hold out genes, and with them the single perturbations and combinations that have any of
    them.

    A share of the genes is "seen". Conditions whose genes are all seen are for training, less the
    share of combinations that is held out; what is left for training is divided once more, 90 to
    10, for validation.

    Args:
        genes: condition -> genes.
        seed: of both draws, at both stages.
        gene_share, combination_share: shares (rounded down) of the genes that are seen and of the
            combinations of seen genes that are trained on.
        test_perts: genes that must be unseen; as many others become seen instead.
        only_test_set_perts: whether `test_perts` are the only unseen genes.
    """
    perturbed = [name for name, own in genes.items() if own]
    seen = _seen_genes(
        names_of(genes, perturbed), seed, gene_share, tuple(test_perts), only_test_set_perts
    )
    test = _by_seen_genes(genes, perturbed, seen, seed, combination_share)
    again = _seen_genes(names_of(genes, test.kept), seed, 1 - VAL_SHARE)
    val = _by_seen_genes(genes, test.kept, again, seed, 1 - VAL_SHARE)
    return _assembled(genes, val.kept, val.held, test.held, test.groups, val.groups)


def simulation_single(
    genes: Genes, seed: int = 1, *, gene_share: float = 0.75
) -> PerturbationSplit:
    """`simulation` for screens of single perturbations; an `InputError` where there are
    combinations."""
    combined = [name for name, own in genes.items() if len(own) > 1]
    if combined:
        raise InputError(
            f"{len(combined)} conditions have two genes or more (first: {combined[0]!r}), "
            "expected none for "
            "split.kind=simulation_single: set split.kind=simulation"
        )
    return simulation(genes, seed, gene_share=gene_share)


def held_out_combinations(
    genes: Genes, seed: int = 1, *, seen: int = 2, share: float = 0.1
) -> PerturbationSplit:
    """Hold out combinations (the published combo_seen0, combo_seen1 and combo_seen2).

    Genes are drawn for test, as many as a share of the single conditions, with replacement.

    Args:
        genes: condition -> genes, in the order of the file (it matters for `seen` 2).
        seed: of one stream for both stages, test and val.
        seen: 0 tests the drawn genes and combinations of nothing else, and drops combinations that
            mix drawn genes with others; 1 tests every combination with a drawn gene; 2 tests
            combinations drawn themselves.
        share: of the singles or combinations that test draws, with replacement, so that fewer may
            come out.
    """
    rule = {0: _drawn_only, 1: _any_drawn, 2: _drawn_combinations}[seen]
    return _two_stages(genes, seed, partial(rule, genes), share)


def single(genes: Genes, seed: int = 1, *, share: float = 0.1) -> PerturbationSplit:
    """Hold out single perturbations of drawn genes; combinations with such a gene are dropped."""
    return _two_stages(genes, seed, partial(_drawn_singles, genes), share)


def no_test(genes: Genes, seed: int = 1, *, share: float = 0.1) -> PerturbationSplit:
    """A share of the perturbed conditions, drawn with replacement, validates; the rest is trained
    on, none for test."""
    perturbed = [name for name, own in genes.items() if own]
    val = _drawn(genes, np.random.RandomState(seed), perturbed, share, perturbed)
    return _assembled(genes, val.kept, val.held, [])


def no_split(genes: Genes) -> PerturbationSplit:
    """Every condition, control too, is for test: a screen to evaluate a model on that was trained
    elsewhere."""
    return PerturbationSplit((), (), tuple(sorted(genes)))


def split_conditions(kind: str, genes: Genes, seed: int, **settings: Any) -> PerturbationSplit:
    """The split of one of KINDS; `settings` are the keyword arguments of its function."""
    shares = {
        name: value
        for name, value in settings.items()
        if name.endswith("share") and not 0 < value <= 1
    }
    if shares:
        raise InputError(
            f"{', '.join(f'{n} is {v}' for n, v in shares.items())}, expected a share over 0 and "
            "up to 1"
        )
    if kind == "no_split":
        return no_split(genes, **settings)
    return SEEDED[kind](genes, seed, **settings)


def groups_of(genes: Genes, held: Iterable[str], seen: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Held-out conditions by the number of their genes that are seen; the groups of pairs are there
    even when empty."""
    seen = set(seen)
    names = ("combo_seen0", "combo_seen1", "combo_seen2", "unseen_single")
    found: dict[str, list[str]] = {name: [] for name in names}
    for name in sorted(held):
        found.setdefault(_group(genes[name], seen), []).append(name)
    return {group: tuple(members) for group, members in found.items()}


def seen_groups(
    genes: Genes, train: Iterable[str], test: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Groups of test conditions where a gene is seen that any training condition perturbs; none
    that are empty."""
    return {
        name: members
        for name, members in groups_of(genes, test, names_of(genes, train)).items()
        if members
    }


def names_of(genes: Genes, conditions: Iterable[str]) -> list[str]:
    """Sorted genes of some conditions."""
    return sorted(frozenset().union(*(genes[name] for name in conditions)))


def _group(own: frozenset[str], seen: set[str]) -> str:
    known = len(own & seen)
    if len(own) == 1:
        return "seen_single" if known else "unseen_single"
    return f"combo_seen{known}" if len(own) == 2 else f"combo_seen{known}of{len(own)}"


def _seen_genes(
    names: Sequence[str], seed: int, share: float, unseen: tuple[str, ...] = (), only: bool = False
) -> set[str]:
    unknown = sorted(set(unseen) - set(names))
    if unknown:
        raise InputError(
            f"genes {', '.join(unknown)} are to be held out but perturbed nowhere: correct the "
            "names"
        )
    if only and not unseen:
        raise InputError(
            "only_test_set_perts is set without test_perts, expected genes to hold out: name them"
        )
    if only:
        return set(names) - set(unseen)
    rng = np.random.RandomState(seed)
    seen = set(_choose(rng, names, share))
    swapped = seen & set(unseen)
    if not swapped:
        return seen
    others = sorted(set(names) - seen - set(unseen))
    return seen - swapped | set(_take(rng, others, min(len(swapped), len(others))))


def _by_seen_genes(
    genes: Genes, conditions: Sequence[str], seen: set[str], seed: int, share: float
) -> _Stage:
    known = [name for name in conditions if genes[name] <= seen]
    combinations = sorted(name for name in known if len(genes[name]) > 1)
    kept = {name for name in known if len(genes[name]) == 1}
    kept |= set(_choose(np.random.RandomState(seed), combinations, share))
    held = [name for name in conditions if name not in kept]
    return _Stage([name for name in conditions if name in kept], held, groups_of(genes, held, seen))


def _two_stages(
    genes: Genes,
    seed: int,
    hold_out: Callable[[np.random.RandomState, list[str], float], _Stage],
    share: float,
) -> PerturbationSplit:
    """The same rule for test and, on what is left and with the published share, for val; both draw
    from one stream."""
    rng = np.random.RandomState(seed)
    test = hold_out(rng, [name for name, own in genes.items() if own], share)
    val = hold_out(rng, test.kept, VAL_SHARE)
    return _assembled(genes, val.kept, val.held, test.held)


def _drawn_only(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    return _stage(
        conditions, lambda name: genes[name] <= drawn, lambda name: bool(genes[name] & drawn)
    )


def _any_drawn(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    return _stage(conditions, lambda name: bool(genes[name] & drawn))


def _drawn_combinations(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    return _drawn(
        genes, rng, conditions, share, [name for name in conditions if len(genes[name]) > 1]
    )


def _drawn_singles(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    return _stage(
        conditions,
        lambda n: len(genes[n]) == 1 and genes[n] <= drawn,
        lambda n: bool(genes[n] & drawn),
    )


def _drawn(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float, among: list[str]
) -> _Stage:
    _drawn_genes(
        genes, rng, conditions, share
    )  # unused, but the published code moves its stream by this draw
    held = set(_pick(rng, among, int(share * len(among))))
    return _stage(conditions, lambda name: name in held)


def _stage(
    conditions: list[str],
    held: Callable[[str], bool],
    touched: Callable[[str], bool] = lambda name: False,
) -> _Stage:
    """Held out are the conditions that `held` names; of the others those that `touched` names are
    nowhere."""
    out = [name for name in conditions if held(name)]
    return _Stage([name for name in conditions if name not in out and not touched(name)], out)


def _drawn_genes(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> set[str]:
    singles = sum(len(genes[name]) == 1 for name in conditions)
    return set(_pick(rng, names_of(genes, conditions), int(share * singles)))


def _choose(rng: np.random.RandomState, names: Sequence[str], share: float) -> list[str]:
    return _take(rng, names, int(share * len(names)))


def _take(rng: np.random.RandomState, names: Sequence[str], n: int) -> list[str]:
    """n different names."""
    return _at(names, rng.choice(len(names), n, replace=False)) if n else []


def _pick(rng: np.random.RandomState, names: Sequence[str], n: int) -> list[str]:
    """n names, repeats allowed."""
    return _at(names, rng.choice(len(names), n, replace=True)) if n else []


def _at(names: Sequence[str], places: np.ndarray) -> list[str]:
    return [names[int(i)] for i in places]


def _assembled(
    genes: Genes,
    train: Iterable[str],
    val: Iterable[str],
    test: Iterable[str],
    groups: Mapping[str, tuple[str, ...]] = NO_GROUPS,
    val_groups: Mapping[str, tuple[str, ...]] = NO_GROUPS,
) -> PerturbationSplit:
    """Sorted lists; control is trained on, and what is in no list is dropped."""
    train = sorted({*train, *(name for name, own in genes.items() if not own)})
    val, test = sorted(val), sorted(test)
    dropped = sorted(set(genes) - {*train, *val, *test})
    groups = groups or seen_groups(genes, train, test)
    return PerturbationSplit(
        tuple(train), tuple(val), tuple(test), tuple(dropped), groups, val_groups
    )


SEEDED: Mapping[str, Callable[..., PerturbationSplit]] = {
    "simulation": simulation,
    "simulation_single": simulation_single,
    "combo_seen0": partial(held_out_combinations, seen=0),
    "combo_seen1": partial(held_out_combinations, seen=1),
    "combo_seen2": partial(held_out_combinations, seen=2),
    "single": single,
    "no_test": no_test,
}
KINDS = (*SEEDED, "no_split")
