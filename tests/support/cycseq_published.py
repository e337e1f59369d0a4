"""How the published CycSeq's weights, noise and rows enter ours, with a record of which arrays were
used."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np

from jaxpert.core.types import Spec
from jaxpert.models.cycseq import model as cycseq
from jaxpert.models.cycseq.layers import Condition, Picked
from jaxpert.models.cycseq.network import GeneratorNoise

GENES, EMBEDDING, LATENT, HIDDEN = 32, 3, 4, (16, 12, 8)
SIZES = {"hidden": HIDDEN, "embedding_dim": EMBEDDING, "latent_dim": LATENT, "placeholders": 0}
HEADS = ("mu_exp", "mu_ko", "mu_noise", "logvar_exp", "logvar_ko", "logvar_noise")
LATENTS = ("exp", "ko", "noise")
NORM = {"scale": "scale", "shift": "bias", "mean": "mean", "var": "variance"}
CONDITIONS = {"emb_p": "target", "emb_b": "stratum"}
OUTPUTS = {"out_x": "expression", "out_p": "target", "out_b": "stratum"}


class Arrays:
    """The arrays of one fixture in one precision; `left` names those that nobody has asked for."""

    def __init__(self, arrays: dict[str, np.ndarray], precision: str = "float64"):
        self.arrays, self.precision, self.used = arrays, precision, set()

    def __getitem__(self, key: str):
        self.used.add(key)
        return jnp.asarray(self.arrays[key], self.precision)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def under(self, prefix: str) -> dict:
        """Arrays whose name begins so, by the rest of the name."""
        return {
            key.removeprefix(prefix): self[key] for key in self.arrays if key.startswith(prefix)
        }

    def left(self) -> set[str]:
        return set(self.arrays) - self.used


def put(tree: dict, path: list[str], value) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def generator(arrays: dict, batch_norm: bool = False) -> tuple[dict, dict, dict]:
    """(params, state, arrays that ours has no place for) from published names without prefix."""
    params, state, unused, heads = {}, {}, {}, {}
    for name, value in arrays.items():
        side, *parts, leaf = name.split(".")
        side = {"enc": "encoder", "dec": "decoder"}[side]
        if parts[0] in HEADS:
            heads[parts[0], leaf] = value
        elif (
            parts[0] == "att"
            and parts[1:] in (["q"], ["k"])
            or re.match(r"bn\d", parts[0])
            and not (batch_norm and side == "encoder")
        ):
            unused[name] = value
        elif parts == ["fc1"]:
            first_layer(params.setdefault(side, {}).setdefault("first", {}), side, leaf, value)
        else:
            path, value = place(parts, leaf, value)
            if (
                parts[0] in CONDITIONS and f"{name[:-1]}b" not in arrays
            ):  # a table to look up: as it is
                value = value.T
            put(state if path[-1] in ("mean", "variance") else params, [side, *path], value)
    for leaf in ("W", "b"):
        rows = [heads[head, leaf] for head in HEADS if (head, leaf) in heads]
        if rows:
            joined = jnp.concatenate(rows)
            put(params, ["encoder", "heads", "kernel" if leaf == "W" else "bias"], joined.T)
    return params, state, unused


def first_layer(layer: dict, side: str, leaf: str, value) -> None:
    if leaf == "b":
        layer["bias"] = value
        return
    before = "expression" if side == "encoder" else "latent"
    width = value.shape[1] - 2 * EMBEDDING
    blocks = jnp.split(value.T, [width, width + EMBEDDING])
    layer |= dict(zip((before, "target", "stratum"), blocks, strict=True))


def place(parts: list[str], leaf: str, value) -> tuple[list[str], jnp.ndarray]:
    """Path within encoder or decoder of one published name, and the value in our form."""
    part, *rest = parts
    if part in CONDITIONS:
        return ["conditions", CONDITIONS[part], *linear(leaf)], value.T
    if part in OUTPUTS:
        return [OUTPUTS[part], *linear(leaf)], value.T
    if part == "att":
        return (
            (["trunk", "attention", "gamma"], value[0])
            if leaf == "gamma"
            else (["trunk", "attention", "value", *linear(leaf)], value.T)
        )
    if part.startswith("res"):
        path, value = place(rest, leaf, value)
        return ["trunk", f"block{part[3:]}", *path[1:]], value
    number = part[-1]
    if part.startswith("bn"):
        return ["trunk", f"norm{number}", NORM[leaf]], value
    if part.startswith("prelu"):
        return ["trunk", f"prelu{number}", "slope"], value[0]
    return ["trunk", f"linear{number}", *linear(leaf)], value.T


def linear(leaf: str) -> list[str]:
    return ["kernel" if leaf == "W" else "bias"]


def critic(arrays: dict, columns: int) -> dict:
    """Params from published names without prefix; `columns` of perturbations follow the genes."""
    params: dict = {}
    for name, value in arrays.items():
        part, leaf = name.split(".")
        number = part[-1]
        if part.startswith("prelu"):
            put(params, [f"prelu{number}", "slope"], value[0])
        elif part != "fc1":
            put(params, ["last" if number == "4" else f"linear{number}", *linear(leaf)], value.T)
        elif leaf == "b":
            put(params, ["first", "bias"], value)
        else:
            blocks = jnp.split(value.T, [GENES, GENES + columns])
            params.setdefault("first", {}).update(
                zip(("expression", "target", "stratum"), blocks, strict=True)
            )
    return params


def make_net(columns: int, strata: int = 3, **settings) -> cycseq.CycSeq:
    """The network of the fixtures: `columns` perturbations, the whole table of genes where there
    are as many."""
    genes = tuple(f"g{i}" for i in range(GENES))
    treatments = genes if columns == GENES else tuple(f"t{i}" for i in range(columns))
    zeros = np.zeros(GENES)
    spec = Spec(
        genes=genes,
        treatments=treatments,
        conditions=("control", *treatments),
        strata=tuple(f"s{i}" for i in range(strata)),
        control=0,
        condition_treatments=np.concatenate([np.zeros((1, columns)), np.eye(columns)]),
        log_mean=zeros,
        log_std=zeros,
        control_mean=zeros,
        treatment_cells=np.ones(columns, int),
        condition_cells=np.ones(columns + 1, int),
    )
    which = "genes" if columns == GENES else "perturbed"
    return cycseq.make(spec, **({"profile": "reference", "columns": which} | SIZES | settings))


def condition(p, b) -> Condition:
    """Of one-hot rows."""
    return Condition(
        *(Picked(hot.argmax(1)[:, None], jnp.ones((len(hot), 1), hot.dtype)) for hot in (p, b)),
        None,
    )


def masks(arrays: Arrays, prefix: str) -> dict:
    """Kept units under a prefix, by our sites."""
    masks = {}
    for name, kept in arrays.under(prefix).items():
        site = name.replace("dropout", "drop")
        masks[site.replace("res", "block") if "res" in site else site] = kept != 0
    return masks


def generator_noise(arrays: Arrays, masks_at: str, normal_at: str) -> GeneratorNoise:
    """Recorded noise of one pass."""
    normal = jnp.stack([arrays[f"{normal_at}eps_{latent}"] for latent in LATENTS], 1)
    return GeneratorNoise(
        masks(arrays, f"{masks_at}enc."), masks(arrays, f"{masks_at}dec."), normal
    )
