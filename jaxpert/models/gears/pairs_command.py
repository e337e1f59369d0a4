"""`jaxpert pairs`: predicted interactions of pairs of genes as a ranked table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.spreadsheets import write_table
from jaxpert.core.texts import read_lines
from jaxpert.core.types import InputError
from jaxpert.data.labels_asked import known_names, listed
from jaxpert.evaluation.interactions.screen import RANKINGS
from jaxpert.models.gears.paper.plots_interactions import SPACE, interaction_space
from jaxpert.models.gears.screen_pairs import screen_pairs
from jaxpert.models.gears.settings import ABSENT

PAIRS = "a text file with one pair such as A+B a line, as --list"


@dataclass(frozen=True)
class Options:
    """Which pairs are predicted, and how they are ranked."""

    genes: tuple[str, ...] = setting(
        (),
        "genes whose pairs are all predicted, joined by commas; empty: those that were perturbed "
        "alone in some cells",
        joined=True,
    )
    list: str = setting("", "text file with one pair or triple such as A+B a line, instead")
    rank_by: str = setting(
        "deviation",
        "deviation (from the sum of the parts), or a kind of interaction",
        choices=RANKINGS,
    )
    absent: str = setting(
        "refuse",
        "genes in no graph: refuse them, or let an isolated node or the average stand in",
        choices=ABSENT,
    )


def write_pairs(runs: Sequence[Run], folder: Path, options: Options) -> None:
    """Write pairs.csv, the pair to measure next first, and pairs.png."""
    finished = runs[0].finished
    # Two ways to name pairs, which could contradict each other.
    if options.genes and options.list:
        raise InputError("--genes and --list were both given, expected one of them: leave one out")
    sets = read_lines(options.list, PAIRS) if options.list else None
    table = screen_pairs(
        finished.fitted,
        finished.problem.dataset,
        listed(options.genes, known_names(finished.problem.dataset)) or None,
        sets=sets,
        rank_by=options.rank_by,
        absent=options.absent,
    )
    # The note goes along as a comment, since thresholds mislead without it.
    write_table(folder / "pairs.csv", table, index=False, note=table.attrs["note"])
    scores = {name: table[name].to_numpy() for name in SPACE}
    interaction_space(scores, table["set"].tolist(), folder / "pairs.png")
