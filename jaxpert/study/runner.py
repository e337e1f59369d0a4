"""A study: runs done one after another, by any number of processes, with a row for each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxpert.app import reopen
from jaxpert.app import run as single
from jaxpert.core import log, workdir
from jaxpert.core.config import Config
from jaxpert.core.errors import InputError
from jaxpert.core.train import NonFiniteLoss
from jaxpert.study import ledger
from jaxpert.study.jobs import (
    Job,
    cells_of,
    config_of,
    first_seed,
    folder_of,
    runs_of,
    settings_of,
    with_later_keys,
)
from jaxpert.study.ledger import ROWS, Cell, Row

RunOne = Callable[[Config, Path], int]
"""(config, work directory): train, evaluate and report, as `app.run.run` does."""
FROM_SCORES = ("model", "baselines", "truth", "perturbations", "pass_rate")
FROM_RUN = ("date", "device", "versions", "steps", "epochs", "ended")
"""What a row takes over from metrics.json: of its scores, and of the run."""
REFUSED = ": refused: "
"""In the sentence on a run whose input could not be used."""


class Done(NamedTuple):
    """What became of a job."""

    problems: list[str]
    elsewhere: list[str]
    """Seeds that another process is busy with."""
    interrupted: bool = False


def run_jobs(
    jobs: Sequence[Job],
    results: Path,
    *,
    run: RunOne = single.run,
    flag: str = "--results",
    may_refuse: bool = False,
) -> int:
    """Do what is missing and nobody else is doing; one row per finished model, data set, multiplier
    and seed.

    Returns 0, 1 where a run diverged, 2 where one was refused unless the data need not fit all
    models (`may_refuse`); both are recorded, and the others go on. Any number of processes may work
    on the same `results`, which messages call by its `flag`; the same call again goes on where it
    stopped.
    """
    before = ledger.read(results / ROWS)
    for note in before.notes:
        log.say(f"note: {note}")
    # All jobs are checked before the first one trains for hours.
    for job in jobs:
        _check_settings(job, before.rows, results)
    problems: list[str] = []
    elsewhere: list[str] = []
    with workdir.readable_errors(results, flag):
        for number, job in enumerate(jobs, 1):
            done = _do(job, f"job {number} of {len(jobs)}", results, run)
            if done.interrupted:
                log.say("interrupted; the same command goes on from there")
                return 0
            problems += done.problems
            elsewhere += done.elsewhere
    return _summary(problems, elsewhere, may_refuse)


def _do(job: Job, heading: str, results: Path, run: RunOne) -> Done:
    """Run the seeds of a job that are missing and free."""
    claims = {f"{job.name}-seed{seed}": seed for seed in job.seeds}
    problems: list[str] = []
    with ledger.claimed(results / "claims", list(claims)) as free:
        # Read under the claim: what another process finished before letting go is in it.
        rows = ledger.read(results / ROWS).rows
        elsewhere, left = [], []
        for name, seed in claims.items():
            if _is_done(rows, job, seed):
                continue
            if name not in free:
                elsewhere.append(f"{job.name} seed {seed}")
            elif not _recovered(job, seed, results):
                left.append(seed)
        for seeds in runs_of(left, len(job.seeds)):
            listed = ", ".join(map(str, seeds))
            log.say(f"{heading}: {job.name}, {job.vary} seeds {listed}")
            finished, problem = _run(job._replace(seeds=seeds), results, run)
            if problem:
                problems.append(problem)
            elif not finished:
                return Done(problems, elsewhere, interrupted=True)
    return Done(problems, elsewhere)


def _is_done(rows: Mapping[Cell, Row], job: Job, seed: int) -> bool:
    # A failure is tried again, since what caused it may have been mended.
    cells = cells_of(job, seed)
    return all(cell in rows and "failed" not in rows[cell] for cell in cells)


def _summary(problems: Sequence[str], elsewhere: Sequence[str], may_refuse: bool) -> int:
    """Name what is not there, and say it by the exit status."""
    if elsewhere:
        log.say(f"running elsewhere: {', '.join(elsewhere)}")
    status = 0
    for problem in problems:
        refused = REFUSED in problem
        if refused and may_refuse:
            log.result(f"not trained: {problem}")
            continue
        log.result(f"error: {problem}")
        # What was refused must be mended by the user, so it outweighs a loss that diverged.
        status = 2 if refused else max(status, 1)
    return status


def _check_settings(job: Job, rows: Mapping[Cell, Row], results: Path) -> None:
    """Refuse rows of the same cell, or of other models on the same data, that were made with other
    settings."""
    now = _comparable(job.config, job.vary) | {"vary": job.vary}
    for cell, row in rows.items():
        if cell.data != job.data or "failed" in row:
            continue
        before = with_later_keys(row["settings"], row["vary"]) | {"vary": row["vary"]}
        # Models differ in their settings, and share only those of the data.
        if cell in cells_of(job, cell.seed):
            differing = ledger.differences(before, now)
        else:
            differing = ledger.differences(_of_data(before), _of_data(now))
        if differing:
            raise InputError(
                f"{results} holds {cell} with other settings ({ledger.shown(differing)}), expected "
                "the same: choose another folder"
            )


def _comparable(config: Config, vary: str) -> Config:
    """What two configs of one job must agree in, one of which may be of an older version."""
    return with_later_keys(settings_of(config, vary), vary)


def _of_data(settings: Config) -> Config:
    """Settings that must be the same for all models of one data set."""
    of_model = ("quality.multiplier", "quality.training_cells")
    shared = {"vary": settings["vary"]}
    for key, value in settings.items():
        if key.startswith(("data.", "split.", "quality.")) and key not in of_model:
            shared[key] = value
    return shared


def _run(job: Job, results: Path, run: RunOne) -> tuple[bool, str]:
    """Run a job and append its rows; whether it is finished, and what went wrong."""
    work, started = folder_of(job, results), time.monotonic()
    config = _config_begun(config_of(job), job.vary, work)
    try:
        # metrics.json is written last, so a folder with it needs no run.
        if not (work / workdir.METRICS).exists():
            run(config, work)
    except (InputError, NonFiniteLoss) as error:
        kind = "refused" if isinstance(error, InputError) else "diverged"
        failed = f"{kind}: {' '.join(str(error).split())}"
        for row in _rows(job, config, work, results):
            ledger.append(results / ROWS, row | {"failed": failed})
        return False, f"{job.name}, seeds {', '.join(map(str, job.seeds))}: {failed}"
    # A signal ends a run without an error, before its metrics are there.
    if not (work / workdir.METRICS).exists():
        return False, ""
    _append_rows(job, config, work, results, round(time.monotonic() - started, 1))
    return True, ""


def _append_rows(
    job: Job, config: Config, work: Path, results: Path, seconds: float | None
) -> None:
    """Append the rows of a finished run."""
    metrics = workdir.read_metrics(work)
    for row in _rows(job, config, work, results):
        ledger.append(results / ROWS, row | _scores(row, metrics, job) | {"seconds": seconds})


def _recovered(job: Job, seed: int, results: Path) -> bool:
    """Whether a finished run holds this seed, whose rows were lost and are appended again."""
    for work in sorted((results / "runs").glob(f"{job.name}-{job.vary}seeds*")):
        if not (work / workdir.METRICS).exists():
            continue
        config = workdir.read_config(work).config
        if _comparable(config, job.vary) != _comparable(job.config, job.vary):
            continue
        # Seeds of one run are numbered on from the first.
        first = first_seed(config, job.vary)
        if first <= seed < first + config["train"]["seeds"]:
            _append_rows(job._replace(seeds=(seed,)), config, work, results, None)
            log.say(f"{work.name} is finished: rows of seed {seed} appended again")
            return True
    return False


def _config_begun(config: Config, vary: str, work: Path) -> Config:
    """The config with which the folder's run was begun, if the two differ in nothing that
    matters."""
    if not (work / workdir.CONFIG).exists():
        return config
    begun = reopen.completed_config(workdir.read_config(work).config, work)
    differing = ledger.differences(_comparable(begun, vary), _comparable(config, vary))
    if differing:
        raise InputError(
            f"{work} was begun with other settings ({ledger.shown(differing)}), expected the same: "
            "delete it, or choose another folder for all"
        )
    return begun


def _rows(job: Job, config: Config, work: Path, results: Path) -> list[Row]:
    """What the rows of a job have before its scores."""
    common = {
        "vary": job.vary,
        "settings": settings_of(config, job.vary),
        "run": str(work.relative_to(results)),
    }
    rows = []
    for seed in job.seeds:
        for cell in cells_of(job, seed):
            rows.append(cell._asdict() | common)
    return rows


def _scores(row: Row, metrics: Config, job: Job) -> Row:
    """Scores of a row's seed and multiplier, and how they came about."""
    # Where the split varies, all runs train with the one seed of their config.
    seed = row["seed"] if job.vary == "train" else job.config["seed"]
    # Runs of a family without such scores have none.
    for scores in metrics.get("scores", ()):
        if (scores["seed"], scores["multiplier"]) == (seed, row["multiplier"]):
            taken = {name: scores[name] for name in FROM_SCORES}
            # Rows call the scores of the run's own model just `scores`.
            of_run = {name: metrics["run"][name] for name in FROM_RUN}
            return {"scores": taken.pop("model")} | taken | of_run
    raise InputError(
        f"{row['run']}/metrics.json has no scores of {row['multiplier']} MAD, seed {seed}, "
        "expected those of the study: delete the folder"
    )
