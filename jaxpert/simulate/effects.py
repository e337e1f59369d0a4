"""Draw what perturbations do to the programs of a simulated screen: pathways, single effects,
interactions."""

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
MAX_STRENGTH, MAX_EFFECT = 2.0, 1.75


def draw_targets(rng: np.random.Generator, s: Settings, genes: np.ndarray) -> dict[str, Any]:
    """Masks, strengths and effects of single perturbations; the members of a pathway share their
    mask."""
    pathway = _draw_pathways(rng, s)
    is_target = np.char.startswith(genes, "PERT")
    probability = np.full(s.programs, s.mask_share)
    response = s.basal_programs
    probability[response] = s.response_share
    n_pathways = pathway.max() + 1
    shared = rng.random((n_pathways, s.programs)) < probability
    for short in np.flatnonzero(
        shared.sum(1) < 2
    ):  # a pathway that moves nothing could not be seen
        shared[short, rng.choice(s.programs, 2, replace=False)] = True
    masks = rng.random((s.singles, s.programs)) < probability
    direction = rng.normal(size=(s.singles, s.programs))
    # Unit size on average and never near 0: a pathway has few programs, and its members should look
    # alike in each.
    common = rng.choice([-1.0, 1.0], (n_pathways, s.programs)) * rng.uniform(
        0.7, 1.3, (n_pathways, s.programs)
    )
    member = pathway >= 0
    masks[member] = shared[pathway[member]]
    rho = s.pathway_correlation
    direction[member] = (
        np.sqrt(rho) * common[pathway[member]] + np.sqrt(1 - rho) * direction[member]
    )
    direction[:, response] = 1 + 0.3 * direction[:, response]  # the general response has one sign
    strengths = np.minimum(rng.gamma(s.strength_shape, s.strength_scale, s.singles), MAX_STRENGTH)
    toxic = rng.permutation(s.singles) < round(s.toxic_share * s.singles)
    return {
        "treatments": genes[is_target],
        "own_gene": np.flatnonzero(is_target),
        "own_effect": rng.normal(s.own_effect, 0.15, s.singles).astype(np.float32),
        "pathway": pathway,
        "masks": masks,
        "strengths": strengths,
        "effects": (direction * masks * strengths[:, None])
        .clip(-MAX_EFFECT, MAX_EFFECT)
        .astype(np.float32),
        "toxicity": np.where(toxic, rng.uniform(1, 3, s.singles), rng.normal(0, 0.2, s.singles)),
    }


def _draw_pathways(rng: np.random.Generator, s: Settings) -> Int[np.ndarray, "T"]:
    members = round(s.pathway_share * s.singles)
    pathways = max(1, min(s.pathways, members // 2))
    pathway = np.full(s.singles, -1)
    pathway[rng.permutation(s.singles)[:members]] = np.arange(members) % pathways
    return pathway


def draw_conditions(
    rng: np.random.Generator, s: Settings, targets: dict[str, Any]
) -> dict[str, Any]:
    """The control, all singles, and combinations with their interactions."""
    sets: list[tuple[int, ...]] = [(), *((t,) for t in range(s.singles))]
    effects = [np.zeros(s.programs), *targets["effects"]]
    kinds = [""] * len(sets)
    for size, number in ((2, s.pairs), (3, s.triples)):
        chosen, related = _draw_sets(rng, size, number, s.related_pairs, targets["pathway"])
        chosen_kinds = _draw_kinds(rng, related)
        sets += chosen
        kinds += chosen_kinds
        effects += [
            interact(rng, k, targets["effects"][list(c)])
            for k, c in zip(chosen_kinds, chosen, strict=True)
        ]
    multi_hot = np.zeros((len(sets), s.singles), np.float32)
    for row, members in enumerate(sets):
        multi_hot[row, list(members)] = 1
    return {
        "conditions": np.array(["+".join(targets["treatments"][list(c)]) or "ctrl" for c in sets]),
        "condition_treatments": multi_hot,
        "condition_effects": np.array(effects, np.float32),
        "kind": np.array(kinds),
    }


def _draw_sets(
    rng: np.random.Generator, size: int, number: int, related_share: float, pathway: np.ndarray
) -> tuple[list[tuple[int, ...]], Bool[np.ndarray, "n"]]:
    if not number:
        return [], np.zeros(0, bool)
    every = np.array(list(combinations(range(len(pathway)), size)))
    related = (pathway[every] == pathway[every[:, :1]]).all(1) & (pathway[every[:, 0]] >= 0)
    order = rng.permutation(len(every))
    inside, outside = order[related[order]], order[~related[order]]
    n_inside = min(max(round(related_share * number), number - len(outside)), len(inside))
    chosen = np.sort(np.concatenate([inside[:n_inside], outside[: number - n_inside]]))
    return [tuple(c) for c in every[chosen].tolist()], related[chosen]


def _draw_kinds(rng: np.random.Generator, related: Bool[np.ndarray, "n"]) -> list[str]:
    """Kinds in KIND_SHARES (largest remainders), redundancy to related targets first."""
    exact = np.array(KIND_SHARES) * len(related)
    numbers = np.floor(exact).astype(int)
    numbers[np.argsort(numbers - exact, kind="stable")[: len(related) - numbers.sum()]] += 1
    redundant = KINDS.index("redundancy")
    order = rng.permutation(len(related))
    order = order[np.argsort(~related[order], kind="stable")]
    every = np.repeat(np.arange(len(KINDS)), numbers)
    kinds = np.empty(len(related), int)
    kinds[order] = np.concatenate(
        [every[every == redundant], rng.permutation(every[every != redundant])]
    )
    return [KINDS[k] for k in kinds]


def interact(
    rng: np.random.Generator, kind: str, effects: Float[np.ndarray, "n K"]
) -> Float[np.ndarray, "K"]:
    """Program shifts of a combination from those of its members; "redundancy" takes the larger of
    each."""
    total = effects.sum(0)
    if kind == "neomorphism":
        new, size = total.copy(), np.abs(effects).max(0)
        new[rng.choice(np.flatnonzero(size == size.min()))] = rng.choice([-1.0, 1.0]) * (
            1 + size.max()
        )
        return new
    rules: dict[str, Callable[[], np.ndarray]] = {
        "additive": lambda: total,
        "synergy": lambda: 1.6 * total,
        "suppression": lambda: 0.5 * total,
        "epistasis": lambda: effects[rng.integers(len(effects))],
        "redundancy": lambda: np.take_along_axis(effects, np.abs(effects).argmax(0)[None], 0)[0],
    }
    return rules[kind]()
