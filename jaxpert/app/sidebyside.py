"""`jaxpert compare`: finished runs, folders of scores and files of predictions on the same
perturbations, with paired intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxpert.app import compared_page
from jaxpert.app.score import asked_of, check_output, is_run, open_real
from jaxpert.core import files, settings, workdir
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.spreadsheets import write_table
from jaxpert.report import page, plain
from jaxpert.report.words import glossary
from jaxpert.tasks.screen import entries, outside
from jaxpert.tasks.screen.entries import Compared, Entry
from jaxpert.tasks.screen.files import effects_arrays, statistics_arrays
from jaxpert.tasks.screen.score_keys import ScoreKeys

HOW = (
    "Differences are those from the first entry, in the unit of the score, with their 95 % "
    "interval over perturbations (and training seeds). Every interval is one by itself: "
    "of twenty, one may leave out 0 by chance."
)


class SideBySide(NamedTuple):
    """What `jaxpert compare` finds."""

    entries: list[Entry]
    rows: list[Compared]
    notes: list[str]

    @property
    def tables(self) -> list[plain.Plain]:
        """Values and differences of every subset, the one that counts most first."""
        made = []
        for subset in dict.fromkeys(row.subset for row in self.rows):
            here = [row for row in self.rows if row.subset == subset]
            made += [_values(subset, here), _differences(subset, here)]
        return made


def compare(
    sources: Sequence[Any], *, real: Any = None, keys: ScoreKeys | None = None
) -> SideBySide:
    """Lay runs and predictions side by side.

    Args:
        sources: folders of finished runs or of `jaxpert score`, or files of predictions; the first
            is what others are compared with.
        real: cells that files are scored against; None for those of the first run.
        keys: how files are read.

    Raises:
        InputError: for entries that were not measured on the same cells, genes and perturbations.
    """
    if len(sources) < 2:
        raise InputError(
            f"{len(sources)} entry was given, expected two at least to lay side by side: name "
            "another run or file"
        )
    keys = ScoreKeys() if keys is None else keys
    if all(_is_folder(source) for source in sources):
        _refuse_idle(real, keys)
    labels = _labels(sources)
    # Only sums per perturbation are compared, which other schools do not leave.
    asked = asked_of(keys)._replace(schools=False)
    made, notes, cells = [], [], None
    for label, source in zip(labels, sources, strict=True):
        if _is_folder(source):
            made.append(entries.of_folder(label, path_of(source).absolute()))
            continue
        if cells is None:
            cells = open_real(_real_for(sources, real), keys)._replace(fixed=True)
        scored = outside.score(cells, source, asked, seed=keys.seed)
        notes += [f"{label}: {text}" for text in scored.metrics["scored"]["to know"]]
        effects = {0: scored.effects}
        arrays = statistics_arrays({0: scored.measured}, effects)
        of_effects = effects_arrays(scored.measured.dataset, effects)
        made.append(entries.of_arrays(label, str(source), arrays, of_effects))
    subsets, more = entries.common_subsets(made)
    rows = entries.compared(made, subsets, seed=keys.seed)
    return SideBySide(made, rows, [*notes, *more])


def _refuse_idle(real: Any, keys: ScoreKeys) -> None:
    """Refuse what says how files are scored, where there are none."""
    given, default = settings.plain(keys), settings.plain(ScoreKeys())
    idle = [name for name in given if name != "seed" and given[name] != default[name]]
    if real is not None:
        idle.insert(0, "real")
    if idle:
        raise InputError(
            f"--{idle[0]} was given, and every entry is a folder, which is scored already, "
            "expected no such flag without a file of predictions: leave it out"
        )


def write(found: SideBySide, folder: Path) -> list[Path]:
    """compared.csv, compared.md and compared.html."""
    import pandas

    with workdir.readable_errors(folder, "--output"):
        folder.mkdir(parents=True, exist_ok=True)
        table = pandas.DataFrame(found.rows)
        write_table(folder / "compared.csv", table, index=False)
        listed = "\n".join(f"- {entry.label}: {entry.source}" for entry in found.entries)
        told = "".join(f"- {note}\n" for note in found.notes)
        parts = ["# Side by side", listed, HOW, *([told] if told else [])]
        parts += [table.markdown for table in found.tables]
        files.write_text(folder / "compared.md", "\n\n".join(parts))
        labels = [entry.label for entry in found.entries]
        charts = compared_page.score_charts(found.rows, labels)
        files.write_text(
            folder / "compared.html",
            page.render_runs(
                "compared.html",
                charts,
                glances=compared_page.glances(found.rows, labels),
                terms=glossary(),
                entries=found.entries,
                tables=found.tables,
                notes=found.notes,
                how=HOW,
            ),
        )
    return [folder / f"compared.{kind}" for kind in ("html", "md", "csv")]


def command_line(sources: Sequence[str], real: str | None, keys: ScoreKeys, output: str) -> int:
    """What `jaxpert compare` does once its flags are read."""
    folder = path_of(output).absolute()
    check_output(folder, "compared.csv")
    found = compare(sources, real=real, keys=keys)
    paths = write(found, folder)
    for note in found.notes:
        print(f"ATTENTION: {note}")
    for table in found.tables[:2]:
        print(f"{table.text}\n")
    print(HOW)
    for path in paths:
        print(path)
    return 0


def _values(subset: str, rows: Sequence[Compared]) -> plain.Plain:
    labels = list(dict.fromkeys(row.entry for row in rows))
    lines = []
    for score in dict.fromkeys(row.score for row in rows):
        of = {row.entry: row.value for row in rows if row.score == score}
        texts = plain.number_texts([of.get(label, math.nan) for label in labels])
        lines.append([plain.score_name(score), *texts])
    title = f"{plain.heading(subset)} ({rows[0].perturbations} perturbations)"
    return plain.Plain(title, ["score", *labels], lines)


def _differences(subset: str, rows: Sequence[Compared]) -> plain.Plain:
    first = rows[0].entry
    labels = list(dict.fromkeys(row.entry for row in rows if row.entry != first))
    lines = []
    for score in dict.fromkeys(row.score for row in rows):
        of = {row.entry: row for row in rows if row.score == score}
        lines.append([plain.score_name(score), *(_gap(of.get(label)) for label in labels)])
    title = f"{plain.heading(subset)}, minus {first}"
    return plain.Plain(title, ["score", *labels], lines)


def _gap(row: Compared | None) -> str:
    if row is None or not math.isfinite(row.difference):
        return plain.NOTHING
    text = f"{row.difference:+.3f}"
    if math.isfinite(row.low):
        text += f" ({row.low:+.3f} to {row.high:+.3f})"
    return f"{text} {row.outcome}" if row.outcome != "undecided" else text


def _is_folder(source: Any) -> bool:
    """Whether this is the folder of a run or of scores, and no file of predictions."""
    if not isinstance(source, str | Path):
        return False
    folder = path_of(source)
    if is_run(folder) and not (folder / entries.STATISTICS).exists():
        raise InputError(
            f"{folder} has no {entries.STATISTICS}, expected that of a finished run of a screen: "
            "finish it, or evaluate it again"
        )
    return (folder / entries.STATISTICS).exists()


def _real_for(sources: Sequence[Any], real: Any) -> Any:
    """Cells to score a file against."""
    if real is not None:
        return real
    for source in sources:
        if is_run(source):
            return source
    raise InputError(
        "files of predictions are given without a run, expected cells to score them against: name "
        "them with --real"
    )


def _labels(sources: Sequence[Any]) -> list[str]:
    """Short names that differ from each other and from those of baselines."""
    paths = [path_of(s).absolute() if isinstance(s, str | Path) else None for s in sources]
    names = [f"entry {n + 1}" if path is None else path.name for n, path in enumerate(paths)]
    labels = []
    for n, (path, name) in enumerate(zip(paths, names, strict=True)):
        label = name
        if names.count(name) > 1 and path is not None:
            label = f"{path.parent.name}/{name}"
        labels.append(label if label not in labels else f"{label} ({n + 1})")
    return labels
