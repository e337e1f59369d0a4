"""Standings as one table: a page, Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxpert.core import files
from jaxpert.core.spreadsheets import rows_text
from jaxpert.evaluation.claims import HEADLINE
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import page, plain
from jaxpert.report.charts import Chart
from jaxpert.report.glance import Glance
from jaxpert.report.numbers import digits_for, finite, fixed, label
from jaxpert.report.published import markdown_table
from jaxpert.report.words import glossary
from jaxpert.study import board_page
from jaxpert.study.standing import ORDER, Against, Place, Standing

NAME = "leaderboard"
MARKS = {"better": "▲", "worse": "▼", "undecided": ""}
CEILING = "a perfect model"
AUTO = "auto"
"""The split whose kind depends on the data."""
WORDS = len(HEADLINE) + 1
"""Column of the verdict."""
COLUMNS = (
    "split",
    "subset",
    "perturbations",
    "row",
    "kind",
    "score",
    "mean",
    "sd",
    "seeds",
    "seconds",
    "rival",
    "difference",
    "low",
    "high",
    "claim",
    "counted",
    "note",
)
HOW = (
    f"Rows are ordered by {METRICS[ORDER].label}, which was fixed before anything was trained; no "
    "model, epoch or setting was chosen by these scores. Numbers are means ± standard deviations "
    "over training seeds.",
    "▲ better than every baseline, ▼ worse than some baseline: the chance of any false claim over "
    "the headline scores of one model is 5 %, the spread over perturbations and over seeds "
    "included. It holds for each model by itself: of many models one may win by chance.",
)


class Board(NamedTuple):
    """The leaderboard of one split, ready to be written."""

    split: str
    standing: Standing | None
    """None where nothing is trained."""
    absent: dict[str, str]
    """{model: why it is not in it}."""


class Line(NamedTuple):
    """A row of the table as text."""

    kind: str
    """model, baseline, ceiling or absent."""
    cells: list[str]


class Section(NamedTuple):
    """A split as text."""

    title: str
    notes: list[str]
    header: list[str]
    lines: list[Line]
    against_header: list[str]
    against: list[list[str]]
    """Each model minus the baseline that is hardest to beat, with interval and claim, by score."""
    glance: Glance | None = None
    charts: Sequence[Chart] = ()
    """Of the page alone."""

    def kind_of(self, column: int, text: str) -> str:
        """How a cell of the page looks."""
        if column == WORDS:
            return "words"
        for outcome, mark in MARKS.items():
            if mark and text.endswith(mark):
                return outcome
        return ""


def write(title: str, notes: Sequence[str], boards: Sequence[Board], folder: Path) -> list[Path]:
    """leaderboard.html, .md and .csv; the same boards give the same files."""
    sections = [section_of(board) for board in boards]
    texts = {
        "html": html(title, notes, boards),
        "md": markdown(title, notes, sections),
        "csv": rows_text(COLUMNS, csv_rows(boards)),
    }
    # Whole or not at all, since other processes may write the same files at the same time.
    for kind, text in texts.items():
        files.write_text(folder / f"{NAME}.{kind}", text)
    return [folder / f"{NAME}.{kind}" for kind in texts]


def html(title: str, notes: Sequence[str], boards: Sequence[Board]) -> str:
    """One page that needs nothing else."""
    sections, charts = [], []
    for number, board in enumerate(boards):
        section = section_of(board)
        if board.standing is not None:
            drawn = board_page.score_charts(board.standing, number)
            section = section._replace(glance=board_page.glance(board.standing), charts=drawn)
            charts += drawn
        sections.append(section)
    return page.render_runs(
        "leaderboard.html",
        charts,
        title=title,
        notes=notes,
        how=HOW,
        sections=sections,
        csv=f"{NAME}.csv",
        terms=glossary(),
    )


def section_of(board: Board) -> Section:
    """A board as text."""
    of = board.standing
    header = ["", *map(_head, HEADLINE), "against the baselines", "seeds", "seconds"]
    absent = []
    for model, reason in board.absent.items():
        cells = [plain.NOTHING] * len(HEADLINE)
        absent.append(Line("absent", [model, *cells, _why(reason), "0", plain.NOTHING]))
    if of is None:
        return Section(f"Split {board.split}", ["Nothing is trained yet."], header, absent, [], [])
    digits = {name: _digits(of, name) for name in HEADLINE}
    limit = [_text(of.ceiling[name], digits[name]) for name in HEADLINE]
    lines = [Line("ceiling", [CEILING, *limit, "", "", ""])]
    for place in of.places:
        lines.append(_line(place, of, digits))
    counted = [name for name in HEADLINE if name not in of.uncounted]
    against = []
    for place in of.places:
        if place.seeds:
            cells = [_against(place.against.get(name), digits[name]) for name in counted]
            against.append([place.name, *cells])
    heads = ["model minus baseline (95 % interval)", *map(_head, counted)]
    return Section(_title(board), _notes(of), header, [*lines, *absent], heads, against)


def _title(board: Board) -> str:
    assert board.standing is not None
    of = board.standing
    # What the data decide themselves is told by the words of the subset.
    split = "The data's own split" if board.split == AUTO else f"Split {board.split}"
    return f"{split}: {of.perturbations} perturbations ({of.words})"


def _notes(of: Standing) -> list[str]:
    notes = list(of.notes)
    if of.perturbations < FEWEST_FOR_INTERVAL:
        notes.append(
            f"Too few to say: with fewer than {FEWEST_FOR_INTERVAL} perturbations no interval can "
            "be given, and nothing is claimed."
        )
    if of.uncounted:
        named = ", ".join(METRICS[name].label for name in of.uncounted)
        notes.append(
            f"Not counted, since it cannot tell a perfect model from the mean baseline on these "
            f"data: {named}."
        )
    if of.unmade:
        reasons = "; ".join(f"{label(name)} ({why})" for name, why in of.unmade.items())
        notes.append(f"Baselines that cannot be made of these data: {reasons}.")
    return notes


def _line(place: Place, of: Standing, digits: Mapping[str, int]) -> Line:
    cells = []
    for name in HEADLINE:
        value, against = place.scores[name], place.against.get(name)
        text = _text(value.mean, digits[name])
        if finite(value.mean) and finite(value.sd):
            text += f" ± {fixed(value.sd, digits[name])}"
        mark = MARKS[against.claim.outcome] if against is not None else ""
        cells.append(f"{text} {mark}".rstrip())
    if not place.seeds:
        return Line("baseline", [label(place.name), *cells, "baseline", "", ""])
    row = [place.name, *cells, verdict(place, of), str(place.seeds), f"{place.seconds:.0f}"]
    return Line("model", row)


def verdict(place: Place, of: Standing) -> str:
    """What may be claimed of a model over the headline scores that count, in a few words."""
    if of.perturbations < FEWEST_FOR_INTERVAL:
        return "too few to say"
    counts = dict.fromkeys(MARKS, 0)
    for against in place.against.values():
        if against.claim.counted:
            counts[against.claim.outcome] += 1
    total = sum(counts.values())
    if not total:
        return "no score counts"
    parts = []
    for outcome, words in (
        ("better", "better than all on"),
        ("worse", "worse than one on"),
        ("undecided", "undecided on"),
    ):
        if counts[outcome]:
            parts.append(f"{words} {counts[outcome]}")
    return f"{', '.join(parts)} of {total}"


def _against(against: Against | None, digits: int) -> str:
    """A model minus the baseline that is hardest to beat on a score."""
    if against is None:
        return plain.NOTHING
    gap = against.difference
    text = fixed(gap.difference, digits, "+") if finite(gap.difference) else plain.NOTHING
    if finite(gap.low):
        text += f" ({fixed(gap.low, digits, '+')} to {fixed(gap.high, digits, '+')})"
    return f"{text} {label(against.rival)} {MARKS[against.claim.outcome]}".rstrip()


def _head(name: str) -> str:
    return plain.score_name(name)


def _digits(of: Standing, name: str) -> int:
    values = [place.scores[name].mean for place in of.places]
    return digits_for([value for value in values if finite(value)])


def _text(value: float, digits: int) -> str:
    # Rounded before, so that what is nearly 0 has no sign.
    return fixed(round(value, digits) + 0.0, digits) if finite(value) else plain.NOTHING


def _why(reason: str) -> str:
    """A failure of the ledger, or another reason, in words."""
    kind, _, sentence = reason.partition(": ")
    if kind == "refused":
        return f"not trained: {sentence}"
    return reason if kind in ("diverged", "not run yet") else f"not trained: {reason}"


def markdown(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """Pipe tables."""
    lines = [f"# {title}", "", *(f"{note}\n" for note in (*notes, *HOW))]
    for section in sections:
        lines += [f"## {section.title}", "", *(f"{note}\n" for note in section.notes)]
        lines += [markdown_table(section.header, [line.cells for line in section.lines]), ""]
        if section.against:
            lines += ["Against the baseline that is hardest to beat:", ""]
            lines += [markdown_table(section.against_header, section.against), ""]
    return "\n".join(lines)


def csv_rows(boards: Sequence[Board]) -> list[list[object]]:
    """A line for every score of every row, and one for each model that is absent."""
    rows: list[list[object]] = []
    for board in boards:
        of = board.standing
        head: list[object] = [board.split, "", ""]
        if of is not None:
            head = [board.split, of.subset, of.perturbations]
            for name in HEADLINE:
                rest = ["ceiling", name, _cell(of.ceiling[name])]
                rows.append(_padded([*head, CEILING, *rest], _counted(of, name)))
            for place in of.places:
                for name in HEADLINE:
                    rows.append(_score_row(head, place, name, of))
            for name, why in of.unmade.items():
                rows.append(_padded([*head, name, "absent"], "", why))
        for model, reason in board.absent.items():
            rows.append(_padded([*head, model, "absent"], "", _why(reason)))
    return rows


def _score_row(head: Sequence[object], place: Place, name: str, of: Standing) -> list[object]:
    value, against = place.scores[name], place.against.get(name)
    row = [*head, place.name, "model" if place.seeds else "baseline", name]
    row += [_cell(value.mean), _cell(value.sd), place.seeds or "", _cell(place.seconds)]
    if against is not None:
        gap = against.difference
        row += [against.rival, *map(_cell, (gap.difference, gap.low, gap.high))]
        row.append(against.claim.outcome)
    return _padded(row, _counted(of, name))


def _padded(row: Sequence[object], counted: str, note: str = "") -> list[object]:
    """With its two last columns, and empty ones before them."""
    return [*row, *[""] * (len(COLUMNS) - 2 - len(row)), counted, note]


def _counted(of: Standing, name: str) -> str:
    return "no" if name in of.uncounted else "yes"


def _cell(value: float) -> object:
    return value if math.isfinite(value) else ""
