"""How the published GEARS' weights, graphs and batches enter ours: everything by our names."""

import jax.numpy as jnp
import numpy as np

from jaxpert.core.types import Batch, Spec
from jaxpert.models.gears import model as gears
from jaxpert.nn import graphs

PARTS = {
    "gene_emb": "gene_embedding",
    "emb_pos": "position_embedding",
    "pert_emb": "perturbation_embedding",
    "bn_emb": "gene_norm",
    "bn_pert_base": "base_norm",
    "emb_trans_v2": "gene_mlp",
    "pert_fuse": "fusion_mlp",
    "recovery_w": "recovery_mlp",
    "cross_gene_state": "cross_gene_mlp",
    "uncertainty_w": "uncertainty_mlp",
    "layers_emb_pos": "gene_conv",
    "sim_layers": "perturbation_conv_ontology",
}
DECODER = {
    "indv_w1": "first_kernel",
    "indv_b1": "first_bias",
    "indv_w2": "second_kernel",
    "indv_b2": "second_bias",
}
NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
UNUSED = ("pert_w", "bn_pert_base_trans")


def translated(arrays, prefix="", dtype="float64", layers=1):
    """(params, state) of the arrays under a prefix, which may be weights, gradients or buffers."""
    params, state = {}, {}
    for key, value in arrays.items():
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and value.dtype.kind == "f" and name.split(".")[0] not in UNUSED:
            path, value = ours(name.split("."), value)
            if path[0].endswith(("conv", "ontology")) and int(path[1][5:]) >= layers:
                continue
            tree = state if path[-1] in ("mean", "variance") else params
            for part in path[:-1]:
                tree = tree.setdefault(part, {})
            tree[path[-1]] = jnp.asarray(value, dtype)
    return params, state


def ours(parts, value):
    """Path in our tree of one published name, and the value in our form."""
    part, *rest = parts
    if part in DECODER:
        value = value[0] if part.endswith("2") else value[..., 0]
        return ["decoder", DECODER[part]], value
    if part.endswith("emb") and part in ("gene_emb", "pert_emb") or part == "emb_pos":
        return [PARTS[part]], value
    if rest[0] == "network":
        number = int(rest[1])
        return [
            PARTS[part],
            *(norm(number // 3, rest[2]) if number % 3 else linear(number // 3, rest[2])),
        ], turned(value, number % 3)
    if len(rest) == 1:
        return [PARTS[part], NORM[rest[0]]], value
    return [PARTS[part], f"layer{rest[0]}", {"weight": "kernel", "bias": "bias"}[rest[2]]], turned(
        value, 0
    )


def linear(number, kind):
    return [f"linear{number}", {"weight": "kernel", "bias": "bias"}[kind]]


def norm(number, kind):
    return [f"norm{number}", NORM[kind]]


def turned(value, is_norm):
    """Published kernels are (out, in)."""
    return value if is_norm or value.ndim == 1 else value.T


def graph(names, arrays, prefix):
    senders, receivers = arrays[f"{prefix}_edge_index"]
    return graphs.named_graph(names, senders, receivers, arrays[f"{prefix}_edge_weight"])


def make_spec(
    genes, treatments, named, conditions=("ctrl",), table=None, control_mean=None
) -> Spec:
    count = len(conditions)
    return Spec(
        genes=tuple(genes),
        treatments=tuple(treatments),
        conditions=tuple(conditions),
        strata=("all",),
        control=conditions.index("ctrl"),
        condition_treatments=np.zeros((count, len(treatments))) if table is None else table,
        log_mean=np.zeros(len(genes)),
        log_std=np.ones(len(genes)),
        control_mean=np.zeros(len(genes)) if control_mean is None else control_mean,
        treatment_cells=np.ones(len(treatments), int),
        condition_cells=np.ones(count, int),
        graphs=named,
    )


def toy(inputs, networks, condition, treatment, *, spare=0, **settings) -> gears.Gears:
    """The small network of the fixtures; `spare` conditions without cells make ours compute a row
    per cell."""
    names = sorted(set(condition.tolist()))
    table = np.array([treatment[condition == name][0] for name in names])
    names += [f"spare{i}" for i in range(spare)]
    table = np.concatenate([table, np.zeros((spare, table.shape[1]))])
    genes = tuple(f"g{i}" for i in range(inputs["x"].shape[1]))
    treatments = tuple(inputs["pert_names"].tolist())
    named = {
        "coexpression": graph(genes, networks, "coexp"),
        "ontology": graph(treatments, networks, "go"),
    }
    spec = make_spec(genes, treatments, named, tuple(names), table, inputs["ctrl_mean"])
    return gears.make(spec, hidden_dim=8, **settings)


def multi_hot(members, width):
    table = np.zeros((len(members), width))
    for row, chosen in zip(table, members, strict=True):
        row[[m for m in chosen if m >= 0]] = 1
    return table


def make_batch(net: gears.Gears, inputs, condition, treatment, cells, dtype, real=None) -> Batch:
    """Cells of the fixture in that order, the first `real` of them no padding; counts play no
    part."""
    spec, index = net.spec, np.asarray(cells)
    kept = np.ones((len(spec.conditions), len(spec.genes)), bool)
    for number, name in enumerate(spec.conditions):
        if f"retain/{name}" in inputs:
            kept[number] = np.isin(np.arange(len(spec.genes)), inputs[f"retain/{name}"])
    unused = jnp.ones((len(index), len(spec.genes)), dtype)
    slot = jnp.arange(len(index))
    return Batch(
        x=unused,
        control=unused,
        treatment=jnp.asarray(treatment[index], dtype),
        condition=jnp.asarray([spec.conditions.index(name) for name in condition[index]]),
        stratum=slot * 0,
        mask=slot < (len(index) if real is None else real),
        slot=slot,
        extras={"expressed": jnp.asarray(kept)},
    )
