"""Which cells or conditions a tool was trained on: a column of the real file, lists of conditions,
or a second file that holds the training cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpert.core.paths import path_of
from jaxpert.core.texts import read_lines
from jaxpert.core.types import SPLITS, Dataset, InputError
from jaxpert.data.files import column, shown
from jaxpert.data.labels import text_labels
from jaxpert.data.labels_asked import conditions_asked, known_names
from jaxpert.data.perturbation_splits import PARTS, read_lists
from jaxpert.tasks.screen.leaks import TOLERANCE, widest
from jaxpert.tasks.screen.matching import match_genes
from jaxpert.tasks.screen.tables import Rows

TRAIN, TEST, DROPPED = (SPLITS.index(part) for part in ("train", "test", "dropped"))
LISTS, LINES = (".json", ".pkl", ".pickle"), (".txt",)
CELLS = (".h5ad", ".zarr", ".h5mu")
FLAGS = {"true": TRAIN, "false": TEST, "1": TRAIN, "0": TEST}


class Joined(NamedTuple):
    """Rows of the real file with those of the training file that it does not hold."""

    rows: Rows
    trained: Bool[np.ndarray, "N"]
    notes: tuple[str, ...]


def is_file_of_cells(train: Any) -> bool:
    """Whether `train` is a second file of cells, or an AnnData."""
    return hasattr(train, "obs") or (
        not isinstance(train, Mapping) and path_of(train).suffix.lower() in CELLS
    )


def split_by(dataset: Dataset, train: Any) -> Dataset:
    """The data set with the split that a column, a file of lists or lists say."""
    if isinstance(train, Mapping):
        return _by_lists(dataset, train, "the lists")
    suffix = path_of(train).suffix.lower()
    if suffix in LISTS:
        return _by_lists(dataset, read_lists(train), str(train))
    if suffix in LINES:
        names = read_lines(path_of(train), "a text file with one trained condition a line")
        return _by_lists(dataset, {"train": names}, str(train))
    return split_checked(dataset, _by_column(dataset, str(train)), f"column {train!r}")


def split_checked(dataset: Dataset, split: Int[np.ndarray, "N"], source: str) -> Dataset:
    """The data set with a split that has training control cells, trained perturbations, and
    something to test."""
    perturbed = dataset.condition != dataset.control
    for what, there, fix in (
        ("training control cell", (split == TRAIN) & ~perturbed, "add control cells to it"),
        ("trained perturbation", (split == TRAIN) & perturbed, "name those that were trained on"),
        ("perturbed test cell", (split == TEST) & perturbed, "leave some out of training"),
    ):
        if not there.any():
            raise InputError(
                f"--train={source} leaves no {what}, expected one at least, which baselines and "
                f"scores need: {fix}"
            )
    return replace(dataset, split=split.astype(np.int8))


def join(real: Rows, train: Rows, perturbation: str) -> Joined:
    """Real rows, then training rows that are not among them; a cell of the same name, label and
    values is one cell."""
    from scipy import sparse

    genes = match_genes(real.genes, train.genes, train.source)
    if genes.missing:
        raise InputError(
            f"{train.source} lacks {len(genes.missing)} of the {len(real.genes)} genes of "
            f"{real.source} ({shown(genes.missing)}), expected the same genes in both: leave them "
            "out of the real file too"
        )
    values = train.values[:, genes.second].tocsr()
    values.sort_indices()
    same = _same_cells(real, train, values, perturbation)
    new = np.setdiff1d(np.arange(len(train.names)), list(same.values()))
    trained = np.zeros(len(real.names), bool)
    trained[list(same)] = True
    notes = list(genes.notes)
    if same:
        notes.append(f"{len(same)} cells of {real.source} are also in {train.source}: trained on")
    obs = _stacked_tables(real, train, new)
    rows = real._replace(
        values=sparse.vstack([real.values, values[new]], format="csr"),
        names=np.asarray(obs.index, str),
        obs=obs,
    )
    return Joined(rows, np.concatenate([trained, np.ones(len(new), bool)]), tuple(notes))


def _stacked_tables(real: Rows, train: Rows, new: Int[np.ndarray, "k"]) -> Any:
    import pandas

    # Names that both files use for other cells are told apart.
    taken, names = set(real.names), []
    for row in new:
        name = str(train.names[row])
        names.append(f"train:{name}" if name in taken else name)
    obs = train.obs.iloc[new].set_axis(pandas.Index(names), axis=0)
    return pandas.concat([real.obs, obs], axis=0, join="outer")


def _same_cells(real: Rows, train: Rows, values: Any, perturbation: str) -> dict[int, int]:
    """{row of the real file: row of the training file} of cells that are in both."""
    place = {name: row for row, name in enumerate(train.names)}
    here = [row for row, name in enumerate(real.names) if name in place]
    if not here:
        return {}
    there = [place[real.names[row]] for row in here]
    worst = widest(real.values[here] - values[there])
    labels = [
        np.asarray(column(rows.obs, perturbation, "--perturbation"), str)[of]
        for rows, of in ((real, here), (train, there))
    ]
    same = (worst <= TOLERANCE) & (labels[0] == labels[1])
    return {a: b for a, b, one in zip(here, there, same.tolist(), strict=True) if one}


def _by_column(dataset: Dataset, name: str) -> Int[np.ndarray, "N"]:
    if name not in dataset.obs.columns:
        raise InputError(
            f"--train={name} is no column of the real cells ({shown(dataset.obs.columns, 12)}) and "
            "no .h5ad, .json or .txt file, expected one that says what was trained on: name such a "
            "column or file"
        )
    fix = "write 'dropped' for cells of no part"
    text = text_labels(dataset.obs, name, "--train", fix).astype(str)
    codes = {part: SPLITS.index(part) for part in SPLITS}
    if {value.lower() for value in set(text.tolist())} <= set(FLAGS):
        codes = FLAGS
    unknown = sorted({value for value in set(text.tolist()) if value.lower() not in codes})
    if unknown:
        raise InputError(
            f"column {name!r} has the values {shown(map(repr, unknown))}, expected "
            f"{shown(SPLITS)}, or True for trained cells and False for others: rename them"
        )
    return np.array([codes[value.lower()] for value in text], np.int8)


def _by_lists(dataset: Dataset, lists: Mapping[str, Sequence[str]], source: str) -> Dataset:
    """Whole conditions by name; what no list has is tested on where there is no list of tests."""
    if not isinstance(lists, Mapping) or not {"train"} <= set(lists) <= set(PARTS):
        raise InputError(
            f"{source} holds {shown(lists)}, expected lists called train, val and test, or train "
            "alone: name the trained conditions 'train'"
        )
    rest = DROPPED if "test" in lists else TEST
    of_condition = np.full(len(dataset.conditions), rest, np.int8)
    of_condition[dataset.control] = TRAIN
    place = {name: c for c, name in enumerate(dataset.conditions)}
    known, absent = known_names(dataset), []
    for part, names in lists.items():
        for asked, name in zip(names, conditions_asked(names, known), strict=True):
            if name is None:
                absent.append(asked)
                continue
            of_condition[place[name]] = SPLITS.index(part)
    if absent and set(absent) & set(lists.get("test", ())):
        raise InputError(
            f"{source} tests {shown(absent)}, which {dataset.name!r} has no cells of, expected "
            "conditions of the real file: correct the list"
        )
    split = of_condition[dataset.condition]
    if absent:
        note = f"{len(absent)} trained conditions have no real cells: {shown(absent)}"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return split_checked(dataset, split, source)
