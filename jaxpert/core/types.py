"""Every contract between the parts of jaxpert: what a batch, a data set, a model and a training
state are.

Axis names: B cells of a batch, N all cells, G genes, T treatments (genes or drugs that can be
perturbed), C conditions (distinct sets of treatments, the control included), S strata (cell lines
or batches), Z latent width, H hidden width, P particles, R rows of a prediction request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxpert.core import readable
from jaxpert.core.base import Base as Base
from jaxpert.core.errors import InputError as InputError
from jaxpert.core.feed import Feed as Feed

SPLITS = ("train", "val", "test", "dropped")
"""Names behind `Dataset.split`: "dropped" cells belong to no split (the published combination split
makes them)."""

PyTree = Any


class Batch(NamedTuple):
    """Cells as a loss sees them; arrays only, so it passes through jit, vmap, scan and pmap.

    `extras` holds what a family needs beyond the common fields: per-cell arrays `[B, ...]` and
    whole tables that are the same for every batch of a split. CRADLE-VAE reads `failed [B]` (1 =
    artifact), `treatment_cells [T]` (cells of the split that received each treatment),
    `failed_cells []`, `reference [C, G]` and `has_reference [C]` (counterfactual reference
    profiles); sVAE+ reads `condition_cells [C]`.
    """

    x: Float[Array, "B G"]
    """Raw counts."""
    control: Float[Array, "B G"]
    """Raw counts of a random control cell of the same stratum; free when unused, since XLA drops
    it."""
    treatment: Float[Array, "B T"]
    """Multi-hot; a zero row is control."""
    condition: Int[Array, "B"]
    stratum: Int[Array, "B"]
    mask: Bool[Array, "B"]
    """False marks padding: such rows must not touch the loss."""
    slot: Int[Array, "B"]
    """Place in the whole batch over all devices; per-cell randomness is drawn by `fold_in(key,
    slot)`, so the number of devices changes nothing."""
    extras: dict[str, Array]


class Request(NamedTuple):
    """Rows to predict, as NumPy or JAX arrays: one predicted cell (or mean) per row."""

    treatment: Float[Any, "R T"]
    library: Float[Any, "R"]
    """Library size of each generated cell; ignored by models that predict means."""
    stratum: Int[Any, "R"]
    failed: Float[Any, "R"]
    """Artifact flag; 0 asks for artifact-free cells."""
    control: Float[Any, "R G"] | None = None
    """Control cells (raw counts) for models that shift a given cell; None for models that need
    none."""


@dataclass(frozen=True)
class Spec:
    """What a model must know of the data to be built; every number is computed from training cells
    only."""

    genes: tuple[str, ...]
    treatments: tuple[str, ...]
    conditions: tuple[str, ...]
    strata: tuple[str, ...]
    control: int
    """Index of the control condition in `conditions`."""
    condition_treatments: Float[np.ndarray, "C T"]
    log_mean: Float[np.ndarray, "G"]
    """Mean of ln(1 + x)."""
    log_std: Float[np.ndarray, "G"]
    """Sample standard deviation (ddof 1) of ln(1 + x), untouched: the guard against 0 is in
    transforms."""
    control_mean: Float[np.ndarray, "G"]
    """Mean over control cells of ln(1 + 1e4 x / sum x)."""
    treatment_cells: Int[np.ndarray, "T"]
    """Training cells that received each treatment."""
    condition_cells: Int[np.ndarray, "C"]
    """Training cells of each condition."""
    graphs: Mapping[str, Any] = field(default_factory=dict)
    """Those of the data set: named `graphs.NamedGraph`s."""
    scale: str = "counts"
    """That of the data set."""
    naming: str = ""
    """What would name more of the perturbed genes, for messages about those that are no gene of
    the data; empty where nothing would."""
    base: Base | None = None
    """For models that learn what is left over it; None for none."""

    def __repr__(self) -> str:
        return readable.of_spec(self)


class Latent(NamedTuple):
    """The inside of a model with a latent space, for counterfactuals and interpretation; pure
    functions.

    Latents of cells are blocks `[B, Z]` by name: `basal`, and where the model has them
    `perturbation` and `artifact`. A model over a base has a block `base [B, G]` beside them, what
    its decoder is given of it. A counterfactual replaces a block (no artifact: zeros; another
    perturbation: `treatment @ shared["effect"]`, where the perturbation block is a sum over
        treatments) and decodes again.
    """

    shared: Callable[[PyTree, PRNGKeyArray], dict[str, Array]]
    """(params, key) -> one posterior draw of what all cells share: `effect [T, Z]`, what each
    treatment adds to the perturbation block, and where the model has them `embedding [T, Z]`
    (before masking), `mask [T, Z]`, `inclusion [T, Z]` (posterior probability that the mask is 1:
    not a draw) and `artifact [Z]`."""
    cells: Callable[[PyTree, PRNGKeyArray, Batch], dict[str, Array]]
    """(params, key, batch) -> one posterior draw of every block, globals drawn anew for each
    key."""
    decode: Callable[[PyTree, dict[str, Array], Float[Array, "B"]], Float[Array, "B G"]]
    """(params, blocks, library) -> expected counts."""


LEVELS = (0.5, 0.9)
"""Shares of measurements that the intervals of `Deviation` are to cover."""


class Deviation(NamedTuple):
    """How unsure predicted effects are, gene by gene."""

    effect: Float[Any, "R G"]
    """Standard deviation of the effect."""
    measured: Float[Any, "R G"]
    """Standard deviation of a new measurement of it, by the noise that is usual in training."""
    usual: Float[Any, "R G"]
    """That part of `measured` which is the usual sampling error of cells; 0 where not known."""
    widths: Float[Any, "R Q"]
    """Factor of `measured` for each of LEVELS: effect -+ factor x quantile of the normal
    distribution x `measured` is to cover that share of measurements."""
    effect_widths: Float[Any, "R Q"]
    """The same factors of `effect`, for the share of true effects."""


class Validation(NamedTuple):
    """What chooses the best parameters of a model, from sums over all validation cells."""

    sums: Callable[[PyTree, PyTree, PRNGKeyArray, Batch], PyTree]
    """(params, state, key, batch) -> sums over the cells of the WHOLE batch (`parallel.psum`);
    batches are added up."""
    finish: Callable[[PyTree], tuple[Float[Array, ""], dict[str, Array]]]
    """sums -> (score, further scores): the lower the score, the better."""


class Model(NamedTuple):
    """A model is a few pure functions; `jaxpert.models.<name>.build(spec, **hyperparameters)` makes
    one.

    `params` is a mapping with named top-level parts (optimisers go by those names); `state` holds
    what is neither learned nor data (BatchNorm moments), `{}` where there is none. The loss is that
    of the WHOLE batch: on several devices sums over cells go through `parallel.psum`, and the loop
    averages the gradients.
    """

    init: Callable[[PRNGKeyArray, Batch], tuple[PyTree, PyTree]]
    loss: Callable[
        [PyTree, PyTree, PRNGKeyArray, Batch], tuple[Array, tuple[PyTree, dict[str, Array]]]
    ]
    """(params, state, key, batch) -> (scalar, (state, metrics)); metrics are scalars."""
    predict: Callable[[PyTree, PyTree, PRNGKeyArray, Request], Array]
    """(params, state, key, request) -> [R, G] on `scale`: one posterior predictive draw (global
    latents drawn once per key and shared by all rows) or, where `stochastic` is False, the mean.
    Vmap over keys for particles."""
    score: Callable[[PyTree, PyTree, PRNGKeyArray, Batch], Float[Array, "B"]] | None = None
    """Per-cell bound on the log-likelihood (IWELBO, nats); None for models without a likelihood."""
    embed: Callable[[PyTree, PyTree, PRNGKeyArray, Batch], dict[str, Array]] | None = None
    """Named per-cell latents `[B, Z]` (posterior means), e.g. `z_basal`."""
    check: Callable[[Dataset], tuple[str, ...]] | None = None
    """Raises InputError where a data set cannot carry the model (no artifact labels, say), and
    returns notes on what a user should know of the two together; None for no demands."""
    latent: Latent | None = None
    after_training: Callable[[PyTree, PyTree, PRNGKeyArray, Dataset], PyTree] | None = None
    """(params, state, key, dataset) -> state: what is computed once, after training, from the
    training cells (scGen's shifts); on the host, for one seed. None for nothing."""
    support: Callable[[Float[np.ndarray, "R T"]], tuple[str, ...]] | None = None
    """What stands behind each row of treatments, in a word or two ("trained", "no training cells:
    KLF1"); InputError for rows that the model cannot predict at all. On the host."""
    validate: Validation | None = None
    """None for the mean loss of the validation cells."""
    constrain: Callable[[PyTree], PyTree] | None = None
    """params -> params within their bounds, applied after each step; None for no bounds."""
    scale: str = "counts"
    """"counts", "lognorm" (ln(1 + 1e4 x / sum x)) or "log2" (log2(1 + 1e4 x / sum x))."""
    stochastic: bool = True
    needs_control: bool = False
    """Whether `predict` shifts the cells of `Request.control`, so that a mean is one over control
    cells."""
    uncertainty: Callable[[PyTree, PyTree, Request], Float[Array, "R"]] | None = None
    """(params, state, request) -> how unsure each predicted mean is, higher for less sure; None
    where not modelled."""
    deviation: Callable[[PyTree, PyTree, Request], Deviation] | None = None
    """(params, state, request) -> standard deviations of predicted effects, with widths of
    intervals that the model answers for itself; None where not modelled."""
    effect_deviation: (
        Callable[[PyTree, PyTree, PRNGKeyArray, Request], Float[Array, "R G"]] | None
    ) = None
    """(params, state, key, request) -> standard deviations of the predicted effects (minus the
    control that the model predicts, log2), for a model without `deviation`: the task adds the noise
    of a measurement and calibrates widths (`tasks.screen.intervals`). None where not modelled; a
    scale for each gene then takes its place."""
    rests_on: Callable[[PyTree, PyTree, Float[np.ndarray, "R T"]], tuple[str, ...]] | None = None
    """(params, state, treatments) -> the trained perturbations that each prediction rests on, in
    words. On the host."""
    learned: Callable[[PyTree, PyTree, Dataset], Mapping[str, Any]] | None = None
    """(params, state, dataset) -> tables for the report of what was learned, {title: {row: {column:
    number}}}. On the host."""
    tables: tuple[str, ...] = ()
    """Names of the tables that the loss or the validation reads in `Batch.extras`
    (`data.spec.TABLES`)."""
    name: str = ""
    """As configs call it (`model.name`)."""
    settings: Any = None
    """The settings dataclass that it was built with."""
    details: Any = None
    """What its functions close over, for code that knows this family."""
    base: Base | None = None
    """The predictor over which it learns what is left; None for none."""

    def __repr__(self) -> str:
        return readable.of_model(self)


class Best(NamedTuple):
    """The parameters of the lowest validation loss so far; what prediction uses."""

    params: PyTree
    state: PyTree
    loss: Float[Array, ""]
    """+inf before the first validation."""
    epoch: Int[Array, ""]


class TrainState(NamedTuple):
    """All that a run needs to go on: with the data it determines every later step bit for bit.

    Every leaf may carry a leading seed axis (vmapped seeds).
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    key: PRNGKeyArray
    """The run's root key, never advanced: step keys are `fold_in(key, step)`."""
    step: Int[Array, ""]
    best: Best


@dataclass(frozen=True)
class Quality:
    """Quality criteria per cell, the thresholds learned from them, and the resulting artifact
    label."""

    metrics: Mapping[str, np.ndarray]
    """`umi_count, n_genes, pct_mt, pct_ribo, pct_hb` [N] float and `doublet` [N] bool."""
    thresholds: Mapping[int, Mapping[str, float]]
    """{3, 4, 5: {criterion: bound}}: low bounds for umi_count and n_genes, high bounds for the
    three percentages."""
    multiplier: int
    """The MAD multiplier behind `failed`."""
    failed: Bool[np.ndarray, "N"]
    scaled: bool = False
    """Whether the MAD behind the thresholds was multiplied by 1.4826."""


class LabelRules(NamedTuple):
    """How the labels of a data set are written (docs/guide/labels.md); `data.labels` reads by them,
    `data.labels_asked` understands names by them."""

    perturbation: str = "condition"
    """Column of the cells with their labels."""
    control: tuple[str, ...] = ("ctrl",)
    """Labels of control cells; `*` and `?` stand for any text and any character."""
    separator: str = "+"
    """Between the treatments of a label; empty: no label is split."""
    treatments: tuple[str, ...] = ()
    """Names that are each one treatment, though they hold the separator or occur nowhere alone."""
    case: str = "keep"
    """"keep", or "ignore": names that differ in case alone are one treatment."""
    missing: str = "refuse"
    """Cells whose label means that it is missing: "refuse" or "drop" them, or "keep" the label as a
    treatment."""
    guide_prefix: str = ""
    """Start of the names of guide columns; empty: treatments come from the labels."""
    guide_pattern: str = ""
    """Regular expression whose one group is the gene of a guide's name; empty: none."""
    guide_threshold: int = 1
    """Fewest counts of a guide in a cell that has it."""
    no_guide: str = "auto"
    """Cells without a guide: "control", "drop", or "auto" (drop where a guide is a control)."""


@dataclass(frozen=True)
class Dataset:
    """A screen on the host: counts as CSR, labels as integers with their names beside them."""

    name: str
    counts: Any
    """`scipy.sparse.csr_matrix [N, G]` of the smallest unsigned integer type that holds every count
    exactly; what `scale` says otherwise."""
    cells: np.ndarray
    """[N] cell names."""
    genes: tuple[str, ...]
    conditions: tuple[str, ...]
    """Names as in the file, control included."""
    condition: Int[np.ndarray, "N"]
    control: int
    """Index of the control condition."""
    treatments: tuple[str, ...]
    condition_treatments: Float[np.ndarray, "C T"]
    strata: tuple[str, ...]
    stratum: Int[np.ndarray, "N"]
    obs: Any
    """The file's other cell columns (`pandas.DataFrame` of N rows), for user-given splits and
    quality columns."""
    split: Int[np.ndarray, "N"] | None = None
    """Index into SPLITS; None before a split is made."""
    quality: Quality | None = None
    notes: tuple[str, ...] = ()
    """One sentence for each thing that was left out, merged or decided, with its count; shown and
    reported."""
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Test conditions by how many of their genes training saw (`combo_seen0` ...), for splits by
    perturbation; some may be empty."""
    graphs: Mapping[str, Any] = field(default_factory=dict)
    """Named `graphs.NamedGraph`s between genes (`data.add_graphs`)."""
    terms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Annotation terms of the perturbed genes that have some (`data.add_graphs`)."""
    other_screen: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Effects of perturbed genes in another screen, all over the same genes there."""
    var: Any = None
    """The file's gene table (`pandas.DataFrame` of G rows): its own names as the index, other names
    and flags as columns; None where there is none."""
    controls: str = "within"
    """Which control cells an effect is measured against: those of the same stratum ("within"), or
    those of all strata together ("pooled")."""
    label_rules: LabelRules = LabelRules()
    """How names of conditions are written, for whoever asks for one."""
    scale: str = "counts"
    """"log2" for cells that are only measured and never trained on: `counts` then holds
    log2(1 + T x / sum x) as float64, whatever the total T was. "effects" for a table of effects:
    each row of `counts` is the effect of a condition, that of the control being zeros."""
    errors: Float[np.ndarray, "N G"] | None = None
    """Standard errors of a table of effects, 0 for the control; None where they are not known."""

    def __repr__(self) -> str:
        return readable.of_dataset(self)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of the cells in `split` ("all" for every cell)."""
        if split == "all":
            return np.arange(len(self.cells))
        if self.split is None:
            raise InputError(
                f"data set {self.name!r} has no split yet, expected one: call data.add_split first"
            )
        return np.flatnonzero(self.split == SPLITS.index(split))


def step_key(key: PRNGKeyArray, step: Int[Array, ""]) -> PRNGKeyArray:
    """The key of one training step; the only rule by which the loop derives randomness."""
    return jax.random.fold_in(key, step)
