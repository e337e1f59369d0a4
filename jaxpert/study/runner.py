"""A study: runs done one after another, by any number of processes, with a row for each result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpert.app import run as single
from jaxpert.core import log
from jaxpert.core import workdir as folder
from jaxpert.core.train import NonFiniteLoss
from jaxpert.core.types import InputError
from jaxpert.study import ledger
from jaxpert.study.ledger import Cell
from jaxpert.study.plan import Job, cells_of, config_of, folder_of, runs_of, settings_of

Config = dict[str, Any]
ROWS = "rows.jsonl"
INTERRUPTED = "interrupted"


def run_jobs(
    jobs: Sequence[Job], results: Path, *, run: Callable[[Config, Path], int] = single.run
) -> int:
    """Do what is missing and nobody else is doing; one row per finished model, data set, multiplier
    and seed.

    Returns 0, 1 where a run diverged, 2 where one was refused (both are recorded, and the others go
    on). Any number of processes may work on the same `results`; the same call again goes on where
    it stopped.
    """
    rows = results / ROWS
    before = ledger.read(rows)
    for note in before.notes:
        log.say(f"note: {note}")
    _check_settings(jobs, before.rows, results)
    problems: list[str] = []
    elsewhere: list[str] = []
    with folder.readable_errors(results, "--results"):
        for number, job in enumerate(jobs, 1):
            names = {f"{job.name}-seed{seed}": seed for seed in job.seeds}
            with ledger.claimed(results / "claims", list(names)) as free:
                done = ledger.read(rows).rows
                missing = [
                    seed
                    for seed in job.seeds
                    if not all(_is_done(done, cell) for cell in cells_of(job, seed))
                ]
                mine = [seed for seed in missing if seed in {names[name] for name in free}]
                elsewhere += [f"{job.name} seed {seed}" for seed in missing if seed not in mine]
                mine = [seed for seed in mine if not _recovered(job, seed, results)]
                for seeds in runs_of(mine, len(job.seeds)):
                    log.say(
                        f"job {number} of {len(jobs)}: {job.name}, {job.vary} seeds "
                        f"{', '.join(map(str, seeds))}"
                    )
                    problem = _run(job._replace(seeds=seeds), results, run)
                    if problem == INTERRUPTED:
                        log.say("interrupted; the same command goes on from there")
                        return 0
                    problems += [problem] if problem else []
    return _summary(problems, elsewhere)


def _is_done(rows: Mapping[Cell, Config], cell: Cell) -> bool:
    return cell in rows and "failed" not in rows[cell]


def _summary(problems: Sequence[str], elsewhere: Sequence[str]) -> int:
    """Name what is not there, and say it by the exit status."""
    if elsewhere:
        log.say(f"running elsewhere: {', '.join(elsewhere)}")
    for problem in problems:
        log.say(f"error: {problem}")
    return max((2 if ": refused: " in problem else 1 for problem in problems), default=0)


def _check_settings(jobs: Sequence[Job], rows: Mapping[Cell, Config], results: Path) -> None:
    """Refuse rows of the same cell, or of other models on the same data, that were made with other
    settings."""
    for job in jobs:
        now = settings_of(job.config, job.vary) | {"vary": job.vary}
        for cell, row in rows.items():
            same_cell = cell in cells_of(job, cell.seed)
            if cell.data != job.data or "failed" in row:
                continue
            before = row["settings"] | {"vary": row["vary"]}
            if not same_cell:
                now_of, before = (
                    {k: v for k, v in s.items() if _of_data(k)} for s in (now, before)
                )
            else:
                now_of = now
            differing = ledger.differences(before, now_of)
            if differing:
                raise InputError(
                    f"{results} holds {cell} with other settings ({ledger.shown(differing)}): "
                    "choose another --results"
                )


def _of_data(key: str) -> bool:
    """Settings that must be the same for all models of one data set."""
    own = ("quality.multiplier", "quality.training_cells")
    return key == "vary" or key.startswith(("data.", "split.", "quality.")) and key not in own


def _run(job: Job, results: Path, run: Callable[[Config, Path], int]) -> str:
    """Run a job and append its rows; returns what went wrong, in a sentence, or nothing."""
    work, started = folder_of(job, results), time.monotonic()
    config = _settled(config_of(job), job.vary, work)
    try:
        if not (work / "metrics.json").exists():
            run(config, work)
    except (InputError, NonFiniteLoss) as error:
        kind = "refused" if isinstance(error, InputError) else "diverged"
        failed = f"{kind}: {' '.join(str(error).split())}"
        for row in _rows(job, config, work, results):
            ledger.append(results / ROWS, row | {"failed": failed})
        return f"{job.name}, seeds {', '.join(map(str, job.seeds))}: {failed}"
    if not (work / "metrics.json").exists():
        return INTERRUPTED
    _append_rows(job, config, work, results, {"seconds": round(time.monotonic() - started, 1)})
    return ""


def _append_rows(job: Job, config: Config, work: Path, results: Path, more: Config) -> None:
    """The rows of a finished run."""
    metrics = json.loads((work / "metrics.json").read_text())
    for row in _rows(job, config, work, results):
        ledger.append(results / ROWS, row | _scores(row, metrics, job) | more)


def _recovered(job: Job, seed: int, results: Path) -> bool:
    """Whether a finished run holds this seed, whose rows were lost and are appended again."""
    for work in sorted((results / "runs").glob(f"{job.name}-{job.vary}seeds*")):
        if not (work / "metrics.json").exists():
            continue
        config = json.loads((work / "config.json").read_text())
        first = config["seed"] if job.vary == "train" else config["split"]["seed"]
        same = settings_of(config, job.vary) == settings_of(job.config, job.vary)
        if same and first <= seed < first + config["train"]["seeds"]:
            _append_rows(job._replace(seeds=(seed,)), config, work, results, {"seconds": None})
            log.say(f"{work.name} is finished: rows of seed {seed} appended again")
            return True
    return False


def _settled(config: Config, vary: str, work: Path) -> Config:
    """The config with which the folder's run was begun, if the two differ in nothing that
    matters."""
    path = work / "config.json"
    if not path.exists():
        return config
    try:
        begun = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}), expected that of a run: delete {work}"
        ) from error
    differing = ledger.differences(settings_of(begun, vary), settings_of(config, vary))
    if differing:
        raise InputError(
            f"{work} was begun with other settings ({ledger.shown(differing)}): delete it, or "
            "choose another --results"
        )
    return begun


def _rows(job: Job, config: Config, work: Path, results: Path) -> list[Config]:
    """What the rows of a job have before its scores."""
    common = {
        "vary": job.vary,
        "settings": settings_of(config, job.vary),
        "run": str(work.relative_to(results)),
    }
    return [cell._asdict() | common for seed in job.seeds for cell in cells_of(job, seed)]


def _scores(row: Config, metrics: Config, job: Job) -> Config:
    """Scores of a row's seed and multiplier, and how they came about."""
    seed = row["seed"] if job.vary == "train" else job.config["seed"]
    found = [
        s for s in metrics["scores"] if (s["seed"], s["multiplier"]) == (seed, row["multiplier"])
    ]
    if not found:
        raise InputError(
            f"{row['run']}/metrics.json has no scores of {row['multiplier']} MAD, seed {seed}: "
            "delete the folder"
        )
    about = metrics["run"]
    scores = {
        name: found[0][name]
        for name in ("model", "baselines", "truth", "perturbations", "pass_rate")
    }
    more = {
        name: about[name] for name in ("date", "device", "versions", "steps", "epochs", "ended")
    }
    return {"scores": scores.pop("model"), **scores, **more}
