"""Draw what perturbations do to the programs of a simulated screen: pathways, single effects,
interactions.

docs/simulator.md describes it (section Effects).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxpert.simulate.settings import Settings
from jaxpert.simulate.truth import KINDS

KIND_SHARES = (0.5, 0.1, 0.1, 0.1, 0.1, 0.1)
"""Of combinations, in the order of KINDS."""
SYNERGY, SUPPRESSION = 1.6, 0.5
"""Factors on the sum of the effects."""
# Caps of the gamma's tail: log-folds enter a softmax, where large ones would fill the cell.
MAX_STRENGTH, MAX_EFFECT = 2.0, 1.75
OWN_EFFECT_SD = 0.15


def draw_targets(rng: np.random.Generator, s: Settings, genes: np.ndarray) -> dict[str, Any]:
    """Masks, strengths and effects of single perturbations; the members of a pathway share their
    mask."""
    pathway = _draw_pathways(rng, s)
    is_target = np.char.startswith(genes, "PERT")
    masks, direction = _draw_programs_moved(rng, s, pathway)
    # Many strengths are near 0, as in real screens, where most knock-outs do next to nothing.
    strengths = np.minimum(rng.gamma(s.strength_shape, s.strength_scale, s.singles), MAX_STRENGTH)
    effects = (direction * masks * strengths[:, None]).clip(-MAX_EFFECT, MAX_EFFECT)
    # A permutation makes the number of toxic targets exact, whatever the seed.
    toxic = rng.permutation(s.singles) < round(s.toxic_share * s.singles)
    own_effect = rng.normal(s.own_effect, OWN_EFFECT_SD, s.singles)
    # Targets that are not toxic differ a little too, as conditions of real screens do.
    toxicity = np.where(toxic, rng.uniform(1, 3, s.singles), rng.normal(0, 0.2, s.singles))
    return {
        "treatments": genes[is_target],
        "own_gene": np.flatnonzero(is_target),
        "own_effect": own_effect.astype(np.float32),
        "pathway": pathway,
        "masks": masks,
        "strengths": strengths,
        "effects": effects.astype(np.float32),
        "toxicity": toxicity,
    }


def _draw_pathways(rng: np.random.Generator, s: Settings) -> Int[np.ndarray, "T"]:
    """Pathway of every target, -1 for none; pathways are of equal size, up to one target."""
    # At least two members to a pathway: a lone member has nobody to share its effects with.
    members = round(s.pathway_share * s.singles)
    pathways = max(1, min(s.pathways, members // 2))
    pathway = np.full(s.singles, -1)
    pathway[rng.permutation(s.singles)[:members]] = np.arange(members) % pathways
    return pathway


def _draw_programs_moved(
    rng: np.random.Generator, s: Settings, pathway: Int[np.ndarray, "T"]
) -> tuple[Bool[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """Which programs each target moves, and how far in units of its strength."""
    probability = np.full(s.programs, s.mask_share)
    response = s.basal_programs  # the first program that is not basal: the general response
    probability[response] = s.response_share
    n_pathways = pathway.max() + 1
    shared = rng.random((n_pathways, s.programs)) < probability
    # A pathway that moves nothing could not be seen.
    for short in np.flatnonzero(shared.sum(1) < 2):
        shared[short, rng.choice(s.programs, 2, replace=False)] = True
    masks = rng.random((s.singles, s.programs)) < probability
    direction = rng.normal(size=(s.singles, s.programs))
    # Unit size on average and never near 0: a pathway has few programs, and its members should look
    # alike in each.
    sign = rng.choice([-1.0, 1.0], (n_pathways, s.programs))
    common = sign * rng.uniform(0.7, 1.3, (n_pathways, s.programs))
    member = pathway >= 0
    # Members take the mask of their pathway, the others keep the one drawn for them.
    masks[member] = shared[pathway[member]]
    # Weights whose squares add up to 1 keep the variance; the correlation of two members is rho.
    rho = s.pathway_correlation
    shared_part = np.sqrt(rho) * common[pathway[member]]
    direction[member] = shared_part + np.sqrt(1 - rho) * direction[member]
    direction[:, response] = 1 + 0.3 * direction[:, response]  # the general response has one sign
    return masks, direction


def draw_conditions(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> dict[str, Any]:
    """The control, all singles, and combinations with their interactions."""
    # The control comes first and singles follow, which the truth's other parts rely on.
    sets: list[tuple[int, ...]] = [(), *((t,) for t in range(s.singles))]
    effects = [np.zeros(s.programs), *targets["effects"]]
    kinds = [""] * len(sets)
    for size, number in ((2, s.pairs), (3, s.triples)):
        # Pairs come before triples, so that asking for triples leaves the pairs as they were.
        chosen, related = _draw_sets(rng, size, number, s.related_pairs, targets["pathway"])
        chosen_kinds = _draw_kinds(rng, related)
        for members, kind in zip(chosen, chosen_kinds, strict=True):
            effects.append(interact(rng, kind, targets["effects"][list(members)]))
        sets += chosen
        kinds += chosen_kinds
    multi_hot = np.zeros((len(sets), s.singles), np.float32)
    names: list[str] = []
    for row, members in enumerate(sets):
        multi_hot[row, list(members)] = 1
        # Joining no names gives an empty text, which is the control.
        names.append("+".join(targets["treatments"][list(members)]) or "ctrl")
    return {
        "conditions": np.array(names),
        "condition_treatments": multi_hot,
        "condition_effects": np.array(effects, np.float32),
        "kind": np.array(kinds),
    }


def _draw_sets(
    rng: np.random.Generator, size: int, number: int, related_share: float, pathway: np.ndarray
) -> tuple[list[tuple[int, ...]], Bool[np.ndarray, "n"]]:
    """Sets of targets, and which of them lie inside one pathway."""
    # Without combinations the table of all sets is not built: it may be too large for memory.
    if not number:
        return [], np.zeros(0, bool)
    every = np.array(list(combinations(range(len(pathway)), size)))
    same = (pathway[every] == pathway[every[:, :1]]).all(1)
    # Being in no pathway at all (-1) is nothing that targets have in common.
    related = same & (pathway[every[:, 0]] >= 0)
    order = rng.permutation(len(every))
    inside, outside = order[related[order]], order[~related[order]]
    # As many inside as asked for, more where too few are outside, all where too few are inside.
    n_inside = min(max(round(related_share * number), number - len(outside)), len(inside))
    chosen = np.sort(np.concatenate([inside[:n_inside], outside[: number - n_inside]]))
    return [tuple(members) for members in every[chosen].tolist()], related[chosen]


def _draw_kinds(rng: np.random.Generator, related: Bool[np.ndarray, "n"]) -> list[str]:
    """Kinds in KIND_SHARES (largest remainders), redundancy to related targets first."""
    exact = np.array(KIND_SHARES) * len(related)
    numbers = np.floor(exact).astype(int)
    by_remainder = np.argsort(numbers - exact, kind="stable")
    # What is left after rounding down goes to the kinds that lost most by it.
    numbers[by_remainder[: len(related) - numbers.sum()]] += 1
    redundant = KINDS.index("redundancy")
    # Two targets of one pathway are the likely ones to do the same thing twice.
    order = rng.permutation(len(related))
    order = order[np.argsort(~related[order], kind="stable")]
    every = np.repeat(np.arange(len(KINDS)), numbers)
    rest = rng.permutation(every[every != redundant])
    kinds = np.empty(len(related), int)
    # The related sets stand first in the order, so they take the redundant kinds.
    kinds[order] = np.concatenate([every[every == redundant], rest])
    return [KINDS[kind] for kind in kinds]


def interact(
    rng: np.random.Generator, kind: str, effects: Float[np.ndarray, "n K"]
) -> Float[np.ndarray, "K"]:
    """Program shifts of a combination from those of its members; "redundancy" takes the larger of
    each."""
    total = effects.sum(0)
    if kind == "neomorphism":
        return _with_new_program(rng, total, effects)
    # Functions, so that only the kind that is asked for draws from the random stream.
    rules: dict[str, Callable[[], np.ndarray]] = {
        "additive": lambda: total,
        "synergy": lambda: SYNERGY * total,
        "suppression": lambda: SUPPRESSION * total,
        "epistasis": lambda: effects[rng.integers(len(effects))],
        "redundancy": lambda: np.take_along_axis(effects, np.abs(effects).argmax(0)[None], 0)[0],
    }
    return rules[kind]()


def _with_new_program(
    rng: np.random.Generator, total: Float[np.ndarray, "K"], effects: Float[np.ndarray, "n K"]
) -> Float[np.ndarray, "K"]:
    """The sum, but for one of the programs that the members move least, which moves more than any
    other does."""
    size = np.abs(effects).max(0)
    sign = rng.choice([-1.0, 1.0])
    program = rng.choice(np.flatnonzero(size == size.min()))
    shifts = total.copy()
    # At least one unit, so that it is seen beside members that move next to nothing.
    shifts[program] = sign * (1 + size.max())
    return shifts
