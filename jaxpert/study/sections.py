"""Scores and differences as tables of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxpert.evaluation.metrics import METRICS
from jaxpert.report.layout import QCPR, QCPR_RESAMPLED, Study
from jaxpert.study.advantage import AGAINST_TRUTH, GENERATED, Advantage
from jaxpert.study.scores import BASELINES, TRUTH, Score, label_of, layouts_of

WHERE = {
    "test": "perturbations never trained",
    "all": "all perturbations, training and test cells",
    "held_out": "test cells",
    AGAINST_TRUTH: "all perturbations against the planted truth",
    GENERATED: "generated cells",
}
"""Subsets in words."""


class Section(NamedTuple):
    """A table as text."""

    title: str
    notes: list[str]
    columns: list[str]
    rows: list[list[str]]


def score_sections(scores: Sequence[Score], study: Study) -> list[Section]:
    """One text table for each table of the paper, data set and subset."""
    # A dict keeps the order in which tables first appear.
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.table, score.data, score.subset), []).append(score)
    return [_score_section(group, study) for group in groups.values()]


def _score_section(scores: Sequence[Score], study: Study) -> Section:
    """The text table of one table, data set and subset."""
    # Both as dicts, which keep the order of the scores and each key once.
    heads: dict[tuple[int, str], str] = {}
    by_model: dict[str, dict[tuple[int, str], Score]] = {}
    for score in scores:
        column = score.multiplier, score.metric
        heads[column] = f"{heading(score.metric)}, {score.multiplier} MAD"
        by_model.setdefault(score.model, {})[column] = score
    printed = any(score.published_mean is not None for score in scores)
    rows = []
    for model, cells in by_model.items():
        ours, theirs = [label_of(study, model)], [f"{label_of(study, model)}, published"]
        for column in heads:
            ours.append(_ours(cells.get(column)))
            theirs.append(_published(cells.get(column)))
        rows.append(ours)
        # Papers print no numbers of our baselines.
        if printed and model not in BASELINES:
            rows.append(theirs)
    missing = [] if printed else _not_entered(scores[0], study)
    return Section(_title(scores[0], study), missing, ["model", *heads.values()], rows)


def _title(score: Score, study: Study) -> str:
    titles = {layout.table: layout.title for layout in layouts_of(study)}
    # The table against the truth is none of the paper's, so it has no number.
    number_of_table = "" if score.table == TRUTH else f"Table {score.table}. "
    return f"{number_of_table}{titles[score.table]}: {score.data}, {WHERE[score.subset]}"


def _not_entered(score: Score, study: Study) -> list[str]:
    """The note on a table that the paper has, but the file of published numbers has not."""
    # A paper prints nothing of other data, of planted truth, or of test cells alone.
    if score.data not in study.data or score.table == TRUTH or score.subset == "held_out":
        return []
    return [f"published: not entered ({study.paper}, Table {score.table})"]


def _ours(score: Score | None) -> str:
    if score is None:
        return ""
    return number(score.mean, score.sd, score.status)


def _published(score: Score | None) -> str:
    if score is None:
        return ""
    if score.published_mean is None:
        return "not entered"
    return number(score.published_mean, score.published_sd)


def number(mean: float | None, sd: float | None, status: str = "") -> str:
    """ "0.812 ± 0.010 (3 of 5 seeds)", or the reason for no number."""
    if mean is None:
        return status
    text = f"{round(mean, 3) + 0.0:.3f}"  # + 0.0 turns -0 into 0
    if sd is not None:
        text += f" ± {sd:.3f}"
    if status:
        text += f" ({status})"
    # A true minus sign is as wide as the digits of the column.
    return text.replace("-", "−")


def heading(metric: str) -> str:
    """A score's name as a column's head."""
    if metric in METRICS:
        arrow = "↑" if METRICS[metric].higher_is_better else "↓"
        return f"{METRICS[metric].label} {arrow}"
    return {QCPR: "QCPR ↑", QCPR_RESAMPLED: "QCPR, real library sizes ↑"}[metric]


def advantage_sections(compared: Sequence[Advantage], study: Study) -> list[Section]:
    """The study's subject minus each rival, one text table per data set, threshold and subset."""
    groups: dict[tuple[str, int, str], list[Advantage]] = {}
    for difference in compared:
        place = difference.data, difference.multiplier, difference.subset
        groups.setdefault(place, []).append(difference)
    return [_advantage_section(group, study) for group in groups.values()]


def _advantage_section(group: Sequence[Advantage], study: Study) -> Section:
    """The text table of one data set, threshold and subset."""
    data, multiplier, subset = group[0][:3]
    # Dicts keep the order of the differences: rivals down, scores across.
    heads: dict[str, str] = {}
    by_rival: dict[str, dict[str, Advantage]] = {}
    for difference in group:
        heads[difference.metric] = heading(difference.metric)
        by_rival.setdefault(difference.rival, {})[difference.metric] = difference
    rows = []
    for rival, differences in by_rival.items():
        texts = [_difference(differences.get(metric)) for metric in heads]
        rows.append([label_of(study, rival), *texts])
    # Generated cells are counted over all perturbations, which nothing resamples.
    interval = "the 95 % interval over perturbations and seeds, and "
    if list(heads) == [QCPR]:
        interval = ""
    note = (
        f"Differences, mean over {_seeds(group)}, with {interval}the standard deviation over seeds."
    )
    subject = label_of(study, study.subject)
    title = f"{subject} minus each other: {data}, {multiplier} MAD, {WHERE[subset]}"
    return Section(title, [note], ["rival", *heads.values()], rows)


def _seeds(group: Sequence[Advantage]) -> str:
    """ "5 paired seeds", or "3 or 5 paired seeds" where rivals have not the same."""
    counts = sorted({difference.seeds for difference in group})
    ending = "" if counts == [1] else "s"
    return f"{' or '.join(map(str, counts))} paired seed{ending}"


def _difference(advantage: Advantage | None) -> str:
    """ "+0.012 [-0.003, +0.030], sd 0.004: undecided"."""
    if advantage is None or not math.isfinite(advantage.difference):
        return "undefined"
    # Without an interval nothing is decided, so no outcome is named.
    text, outcome = f"{advantage.difference:+.3f}", ""
    if math.isfinite(advantage.low):
        text += f" [{advantage.low:+.3f}, {advantage.high:+.3f}]"
        outcome = f": {advantage.outcome}"
    if math.isfinite(advantage.sd):
        text += f", sd {advantage.sd:.3f}"
    return text.replace("-", "−") + outcome
