"""Splits by perturbation, as the GEARS paper makes them or as the user lists them: pure functions
on conditions and the genes in each.

Every random choice is drawn from NumPy's legacy stream (`RandomState`), so that published splits
come out again, list by list. Conditions are given in the order of their first cell: "combo_seen2"
and "no_test" depend on it, the others do not. Sets of three and more genes are treated by the same
rules, which the published code has for one and two only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxpert.core.paths import path_of
from jaxpert.core.texts import read_json
from jaxpert.core.types import InputError, LabelRules
from jaxpert.data.files import shown
from jaxpert.data.labels_asked import Known, conditions_asked
from jaxpert.data.ontology import read_plain_pickle
from jaxpert.data.perturbation_groups import (
    NO_GROUPS,
    Genes,
    Groups,
    PerturbationSplit,
    assembled,
    groups_of,
    names_of,
)

NO_RULES = LabelRules()
PARTS = ("train", "val", "test")
VAL_SHARE = 0.1
"""Share of what is left for training that every published split takes for validation."""


class _Stage(NamedTuple):
    """One division of conditions into those kept and those held out."""

    kept: list[str]
    held: list[str]
    groups: Groups = NO_GROUPS


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
    perturbed = _perturbed(genes)
    among = names_of(genes, perturbed)
    seen = _seen_genes(among, seed, gene_share, tuple(test_perts), only_test_set_perts)
    # Each draw takes a fresh stream of the same seed, as published.
    test = _by_seen_genes(genes, perturbed, seen, seed, combination_share)
    # The same rule on what is left, for validation (docs/models/gears.md, "Splits").
    again = _seen_genes(names_of(genes, test.kept), seed, 1 - VAL_SHARE)
    val = _by_seen_genes(genes, test.kept, again, seed, 1 - VAL_SHARE)
    return _trained_on_control(genes, val, test.held, test.groups)


def simulation_single(
    genes: Genes, seed: int = 1, *, gene_share: float = 0.75
) -> PerturbationSplit:
    """`simulation` for screens of single perturbations; an `InputError` where there are
    combinations."""
    combined = [name for name in genes if len(genes[name]) > 1]
    if combined:
        raise InputError(
            f"{len(combined)} conditions have two genes or more (first: {combined[0]!r}), expected "
            "none for split.kind=simulation_single: set split.kind=simulation"
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
    perturbed = _perturbed(genes)
    val = _drawn(genes, np.random.RandomState(seed), perturbed, share, perturbed)
    return _trained_on_control(genes, val, [])


def no_split(genes: Genes) -> PerturbationSplit:
    """Every condition, control too, is for test: a screen to evaluate a model on that was trained
    elsewhere."""
    return PerturbationSplit((), (), tuple(sorted(genes)))


def custom(
    genes: Genes,
    lists: Mapping[str, Sequence[str]] | str | Path,
    rules: LabelRules = NO_RULES,
) -> PerturbationSplit:
    """The user's own lists of conditions for train, val and test, understood as the labels of the
    file are: `A+B` and `B+A`, `A` and `A+ctrl` mean the same.

    Args:
        genes: condition -> genes.
        lists: {"train": [...], "val": [...], "test": [...]}, or the path of a .json or .pkl file
            that holds it.
        rules: how the labels of the file are written.

    Control is trained on where it is not listed; other conditions that are not listed are dropped.
    Names that are not in the data, or in two lists, are an `InputError`.
    """
    lists = _checked(lists if isinstance(lists, Mapping) else read_lists(lists))
    place = _places(genes, lists, rules)
    # Every model compares with control, so it is trained on unless it is listed.
    place.setdefault(_control(genes), "train")
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, part in place.items():
        parts[part].append(name)
    return assembled(genes, parts["train"], parts["val"], parts["test"])


def read_lists(path: str | Path) -> Any:
    """What a .json file holds, or a .pkl file of nothing but dictionaries, lists and text (no other
    is opened)."""
    path = path_of(path)
    if path.suffix in (".pkl", ".pickle"):
        return read_plain_pickle(path)
    expected = "JSON such as {'train': ['ctrl', 'A+ctrl'], 'val': [...], 'test': [...]}"
    return read_json(path, f"{expected} (split.file)")


def split_conditions(kind: str, genes: Genes, seed: int, **settings: Any) -> PerturbationSplit:
    """The split of one of KINDS; `settings` are the keyword arguments of its function."""
    wrong = []
    for name, value in settings.items():
        if name.endswith("share") and not 0 < value <= 1:
            wrong.append(f"{name} is {value}")
    if wrong:
        raise InputError(f"{', '.join(wrong)}, expected a share over 0 and up to 1: correct it")
    if kind == "no_split":
        return no_split(genes, **settings)
    return SEEDED[kind](genes, seed, **settings)


def _seen_genes(
    names: Sequence[str], seed: int, share: float, unseen: tuple[str, ...] = (), only: bool = False
) -> set[str]:
    unknown = sorted(set(unseen) - set(names))
    if unknown:
        raise InputError(
            f"genes {', '.join(unknown)} are to be held out but perturbed nowhere, expected "
            "perturbed ones: correct the names"
        )
    if only and not unseen:
        raise InputError(
            "only_test_set_perts is set without test_perts, expected genes to hold out: name them"
        )
    # Nothing is left to draw, and no stream moves on.
    if only:
        return set(names) - set(unseen)
    rng = np.random.RandomState(seed)
    seen = set(_choose(rng, names, share))
    swapped = seen & set(unseen)
    if not swapped:
        return seen
    # Sorted, since the draw goes by position in the list.
    others = sorted(set(names) - seen - set(unseen))
    # As many become seen as were taken out, so that the share stays.
    return seen - swapped | set(_take(rng, others, min(len(swapped), len(others))))


def _by_seen_genes(
    genes: Genes, conditions: Sequence[str], seen: set[str], seed: int, share: float
) -> _Stage:
    known = [name for name in conditions if genes[name] <= seen]
    # Sorted, as published: the order of the list is part of the split.
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
    test = hold_out(rng, _perturbed(genes), share)
    # The stream goes on where test left it, so the two draws cannot be swapped.
    val = hold_out(rng, test.kept, VAL_SHARE)
    return _trained_on_control(genes, val, test.held)


def _drawn_only(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    tested = [name for name in conditions if genes[name] <= drawn]
    # Mixed combinations would show the tested genes to training, so they are dropped.
    return _held(conditions, tested, _touched(genes, conditions, drawn))


def _any_drawn(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    return _held(conditions, _touched(genes, conditions, drawn))


def _drawn_combinations(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    combinations = [name for name in conditions if len(genes[name]) > 1]
    return _drawn(genes, rng, conditions, share, combinations)


def _drawn_singles(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> _Stage:
    drawn = _drawn_genes(genes, rng, conditions, share)
    touched = _touched(genes, conditions, drawn)
    return _held(conditions, [name for name in touched if len(genes[name]) == 1], touched)


def _drawn(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float, among: list[str]
) -> _Stage:
    # Not used, but the published code moves its stream on by this draw.
    _drawn_genes(genes, rng, conditions, share)
    return _held(conditions, _pick(rng, among, int(share * len(among))))


def _held(conditions: list[str], held: Iterable[str], dropped: Iterable[str] = ()) -> _Stage:
    """The held-out conditions in their order; what is held or dropped is not kept."""
    held, gone = set(held), {*held, *dropped}
    kept = [name for name in conditions if name not in gone]
    return _Stage(kept, [name for name in conditions if name in held])


def _touched(genes: Genes, conditions: list[str], drawn: set[str]) -> list[str]:
    """Conditions with any of the drawn genes."""
    return [name for name in conditions if genes[name] & drawn]


def _drawn_genes(
    genes: Genes, rng: np.random.RandomState, conditions: list[str], share: float
) -> set[str]:
    singles = sum(len(genes[name]) == 1 for name in conditions)
    # As published: a share of the singles, not of the genes, with replacement.
    return set(_pick(rng, names_of(genes, conditions), int(share * singles)))


def _choose(rng: np.random.RandomState, names: Sequence[str], share: float) -> list[str]:
    # Rounded down, as published.
    return _take(rng, names, int(share * len(names)))


def _take(rng: np.random.RandomState, names: Sequence[str], n: int) -> list[str]:
    """n different names."""
    return _at(names, rng.choice(len(names), n, replace=False)) if n else []


def _pick(rng: np.random.RandomState, names: Sequence[str], n: int) -> list[str]:
    """n names, repeats allowed."""
    return _at(names, rng.choice(len(names), n, replace=True)) if n else []


def _at(names: Sequence[str], places: np.ndarray) -> list[str]:
    return [names[int(i)] for i in places]


def _checked(lists: Any) -> Mapping[str, Sequence[str]]:
    if not isinstance(lists, Mapping):
        raise InputError(
            f"the custom split holds a {type(lists).__name__}, expected the lists {shown(PARTS)}: "
            "rename them"
        )
    if not lists or not set(lists) <= set(PARTS):
        given = shown(map(repr, lists)) or "nothing"
        raise InputError(
            f"the custom split holds {given}, expected the lists {shown(PARTS)}: rename them"
        )
    for part, names in lists.items():
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{part} of the custom split is {repr(names)[:60]}, expected a list of conditions: "
                "correct it"
            )
    return lists


def _places(genes: Genes, lists: Mapping[str, Sequence[str]], rules: LabelRules) -> dict[str, str]:
    """Condition -> its part."""
    conditions = {name: tuple(sorted(perturbed)) for name, perturbed in genes.items()}
    rules = rules._replace(control=(_control(genes), *rules.control))
    known = Known(conditions, rules)
    place: dict[str, str] = {}
    absent: list[str] = []
    for part, names in lists.items():
        # Listed names may have their genes in another order than the file.
        for given, name in zip(names, conditions_asked(names, known), strict=True):
            if name is None:
                absent.append(given)
            elif place.setdefault(name, part) != part:
                raise InputError(
                    f"condition {given!r} is in the lists {place[name]} and {part} of the custom "
                    "split, expected in one: take it out of the other"
                )
    if absent:
        raise InputError(
            f"the custom split names {len(absent)} conditions that are not in the data "
            f"({shown(absent)}), expected names such as {shown(list(genes)[:3])}: correct or "
            "remove them"
        )
    return place


def _control(genes: Genes) -> str:
    return next(name for name in genes if not genes[name])


def _perturbed(genes: Genes) -> list[str]:
    return [name for name in genes if genes[name]]


def _trained_on_control(
    genes: Genes, kept: _Stage, test: Iterable[str], groups: Groups = NO_GROUPS
) -> PerturbationSplit:
    """What the last stage keeps is trained on, with control, and what it holds out validates."""
    train = {*kept.kept, *(name for name in genes if not genes[name])}
    return assembled(genes, train, kept.held, test, groups, kept.groups)


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
