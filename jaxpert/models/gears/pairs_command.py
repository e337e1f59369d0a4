"""`jaxpert pairs`: predicted interactions of pairs of genes as a ranked table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxpert.core import files
from jaxpert.core.family import Run
from jaxpert.core.settings import setting
from jaxpert.core.types import InputError
from jaxpert.evaluation.interactions.screen import RANKINGS
from jaxpert.models.gears.paper.plots_interactions import SPACE, interaction_space
from jaxpert.models.gears.screen_pairs import screen_pairs
from jaxpert.models.gears.settings import ABSENT


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
        raise InputError("--genes and --list were both given, expected one of them")
    sets = read_list(Path(options.list)) if options.list else None
    table = screen_pairs(
        finished.fitted,
        finished.problem.dataset,
        options.genes or None,
        sets=sets,
        rank_by=options.rank_by,
        absent=options.absent,
    )
    # The note goes along as a comment, since thresholds mislead without it.
    text = f"# {table.attrs['note']}\n{table.to_csv(index=False)}"
    files.write_text(folder / "pairs.csv", text)
    scores = {name: table[name].to_numpy() for name in SPACE}
    interaction_space(scores, table["set"].tolist(), folder / "pairs.png")


def read_list(path: Path) -> Sequence[str]:
    """The lines of a text file that are not empty."""
    try:
        # Files written on Windows may begin with a byte order mark.
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--list={path} cannot be read ({error}), expected a text file with one pair such as "
            "A+B a line"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
