"""The command with odd folders, files, rights and values: an exit status of 2, one line on standard
error that begins with "error: ", and nothing left behind.

    python -m robustness.command_line SECONDS SEED
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustness import processes
from robustness.faults import Faults
from robustness.processes import Command
from support.paths import ROOT

NOBODY = 65534
CRADLE = f"--config={ROOT}/configs/cradle_norman.py:test"
GEARS = f"--config={ROOT}/configs/gears_norman.py:test"
FINETUNE = f"--config={ROOT}/configs/cycseq_finetune.py:test"
LONGEST = 700
"""Signs of a sentence."""
LIMIT = 180
"""Seconds after which a command hangs."""


class Case(NamedTuple):
    """A command that is refused."""

    name: str
    arguments: tuple[str, ...]
    make: Callable[[Path], object] | None = None
    """(scratch folder) -> None: what is there before."""
    work: str | None = "work"
    """The work directory, within the scratch folder; None for a command without one."""
    nobody: bool = False
    """Whether a user without rights gives the command."""
    status: int = 2


def write_screen(path: Path) -> None:
    """A small screen that can be read."""
    import anndata
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(0)
    labels = np.repeat(["ctrl", "A", "B", "A+B", "C"], [80, 40, 40, 40, 40])
    counts = sparse.csr_matrix(rng.poisson(2, (len(labels), 30)).astype(np.float32))
    obs = pd.DataFrame({"condition": labels}, index=[f"c{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"G{i}" for i in range(30)])
    anndata.AnnData(counts, obs=obs, var=var).write_h5ad(path)


def cases(base: Path) -> Iterator[Case]:
    """Every case; `base` holds screen.h5ad and the scratch folder `at`."""
    yield from _sources(base)
    yield from _configs(base)
    yield from _folders()
    yield from _rights(base)
    yield from _other_commands()


def _train(*flags: str, config: str = CRADLE) -> tuple[str, ...]:
    return ("train", config, *flags)


def _reading(path: Path | str, config: str = CRADLE) -> tuple[str, ...]:
    source = f"--config.data.source={path}"
    return _train(source, "--config.quality.doublets=none", config=config)


def _sources(base: Path) -> Iterator[Case]:
    at, whole = base / "at", (base / "screen.h5ad").read_bytes()
    yield Case("no such file", _reading("/nowhere/x.h5ad"))
    yield Case("a folder for a file", _reading(base))
    loop = at / "loop.h5ad"
    yield Case("a link to itself", _reading(loop), lambda _: loop.symlink_to(loop))
    cut = at / "cut.h5ad"
    yield Case("a file that is cut", _reading(cut), lambda _: cut.write_bytes(whole[:9000]))
    terms = at / "terms.gmt.gz"
    yield Case(
        "gene sets that are cut",
        (*_reading(base / "screen.h5ad", GEARS), f"--config.graphs.ontology={terms}"),
        lambda _: terms.write_bytes(gzip.compress(b"S\td\tA\tB\n" * 99)[:40]),
    )
    yield Case("a start from nowhere", _train("--config.train.start=/nowhere", config=FINETUNE))
    yield Case("a start from a file", _train(f"--config.train.start={cut}", config=FINETUNE))


CONFIGS = {
    "a syntax error": "def get_config(:\n",
    "an error of two lines": "def get_config(v=''):\n    raise ValueError('two\\nlines')\n",
    "a division by zero": "def get_config(v=''):\n    return 1 / 0\n",
    "a number": "def get_config(v=''):\n    return 3\n",
    "no function": "x = 1\n",
    "an empty config": (
        "from ml_collections import ConfigDict\ndef get_config(v=''):\n    return ConfigDict()\n"
    ),
}


def _configs(base: Path) -> Iterator[Case]:
    file = base / "at" / "config.py"
    for what, text in CONFIGS.items():
        write: Callable[[Path], object] = lambda _, text=text: file.write_text(text)  # noqa: E731
        yield Case(f"a config file with {what}", _train(config=f"--config={file}"), write)
    yield Case("no such config", _train(config="--config=configs/none.py"))
    yield Case("a folder for a config", _train(config=f"--config={ROOT / 'configs'}"))
    yield Case("an unknown variant", _train(config=CRADLE.replace(":test", ":huge")))
    yield Case("data for a config", _train(config=f"--config={base / 'screen.h5ad'}"))
    yield Case("a config without a name", _train(config="--config="))
    for flag in (
        "--config.train.epoch=3",
        "--config.train=3",
        "--config.train.epochs=many",
        "--config.train.epochs=99999999999999999999",
        "--config.train.learning_rate=nan",
        "--config.train.learning_rate=inf",
        "--config.train.devices=64",
        "--config.train.seeds=0",
        "--config.train.multi_process=True",
        "--config.train.epochs",
        "stray",
    ):
        yield Case(flag, _train(flag))


CONTENTS = {
    "cut": b'{"seed": ',
    "a list": b"[]",
    "null": b"null",
    "bytes": bytes(range(256)),
    "a number": b"3",
    "empty": b"",
    "deep": b"[" * 100_000,
}


def _folders() -> Iterator[Case]:
    train = _train()
    yield Case("no work directory", train, work="")
    yield Case("a file for a work directory", train, lambda at: (at / "work").write_text("x"))
    yield Case("below a file", train, lambda at: (at / "file").write_text("x"), "file/work")
    yield Case("a link to itself", train, lambda at: (at / "work").symlink_to(at / "work"))
    yield Case("a link to nowhere", train, lambda at: (at / "work").symlink_to(at / "no/where"))
    yield Case("other files", train, lambda at: ((at / "work").mkdir(), _write(at, "x", b"")))
    yield Case("300 signs", train, work="x" * 300)
    yield Case("5000 signs", train, work="/".join(["y" * 200] * 25))
    for what, content in CONTENTS.items():
        make: Callable[[Path], object] = lambda at, content=content: (  # noqa: E731
            (at / "work").mkdir(),
            _write(at, "config.json", content),
        )
        yield Case(f"a config.json that is {what}", train, make)
    yield Case(
        "a folder config.json", train, lambda at: (at / "work/config.json").mkdir(parents=True)
    )
    yield Case(
        "a config.json that links to nowhere",
        train,
        lambda at: ((at / "work").mkdir(), (at / "work/config.json").symlink_to("/nowhere")),
    )


def _write(at: Path, name: str, content: bytes) -> None:
    (at / "work" / name).write_bytes(content)


def _rights(base: Path) -> Iterator[Case]:
    train, secret = _train(), base / "at" / "secret.h5ad"

    def folder(name: str, mode: int) -> Callable[[Path], object]:
        return lambda at: ((at / name).mkdir(), (at / name).chmod(mode))

    def hide(_: Path) -> None:
        shutil.copy(base / "screen.h5ad", secret)
        secret.chmod(0)

    yield Case("below a folder of others", train, folder("others", 0o555), "others/work", True)
    yield Case("a folder of others", train, folder("work", 0o555), nobody=True)
    yield Case("a hidden folder", train, folder("work", 0o700), nobody=True)
    yield Case("below a hidden folder", train, folder("hidden", 0o700), "hidden/work", True)
    yield Case("a hidden file", _reading(secret), hide, "work", True)


def _other_commands() -> Iterator[Case]:
    study = ("study", "--family=cradle", "--variant=test")
    for arguments in (
        (*study, "--data=nope"),
        (*study, "--seeds=a"),
        (*study, "--only_tables", "--results=/nowhere"),
        (*study, "--set=x"),
        ("study",),
        ("predict", "/nowhere", "A"),
        ("predict",),
        ("evaluate", "/nowhere"),
        ("figures", "/nowhere"),
        ("tables", "/nowhere"),
        ("interpret", "/nowhere", "--output=/x"),
        ("clean", "/nowhere"),
        ("pairs", "/nowhere"),
        ("simulate", "tiny", "--settings=x"),
        ("simulate", "tiny", "--output=/dev/full/x.h5ad"),
        ("nonsense",),
    ):
        yield Case(" ".join(arguments), arguments, work=None)


def judge(case: Case, base: Path) -> tuple[str, str]:
    """Give the command and look at what it says and leaves."""
    at, log = base / "at", base / "log"
    # Others may look into it, so that only what a case hides is hidden.
    at.mkdir(mode=0o777)
    at.chmod(0o777)
    log.unlink(missing_ok=True)
    if case.make is not None:
        case.make(at)
    before = sorted(at.rglob("*"))
    arguments = case.arguments
    if case.work is not None:
        arguments = (*arguments, f"--workdir={at / case.work if case.work else ''}")
    become = (lambda: _become_nobody(at)) if case.nobody else (lambda: os.chdir(at))
    command = Command(arguments, log, base / "cache", before=become)
    status, text = processes.run(command, LIMIT), processes.said(log)
    left = sorted(set(at.rglob("*")) - set(before))
    shutil.rmtree(at)
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not line.startswith(processes.PROGRESS)
    ]
    if "Traceback" in text or status == 70:
        return "traceback", text[-1500:]
    if status != case.status:
        return "silent", f"status {status}: {text[-500:]}"
    if len(lines) != 1 or not lines[0].startswith("error: ") or len(lines[0]) > LONGEST:
        return "silent", f"{len(lines)} lines: {lines}"
    return ("silent", f"left {left}") if left else ("refused", lines[0])


def _become_nobody(at: Path) -> None:
    os.chdir(at)
    os.environ["HOME"] = str(at)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main(seconds: float, seed: int) -> Counter:
    """Try cases in a random order until all were tried or the time is over."""
    faults = Faults()
    processes.prepare()
    with tempfile.TemporaryDirectory(prefix="command") as scratch:
        base = Path(scratch)
        base.chmod(0o755)
        write_screen(base / "screen.h5ad")
        chosen = list(cases(base))
        random.Random(seed).shuffle(chosen)
        end = time.monotonic() + seconds
        for case in chosen:
            # Only root can become another user.
            if case.nobody and os.geteuid() != 0:
                continue
            if time.monotonic() > end:
                break
            faults.count(case.name, *judge(case, base))
    return faults.tally


if __name__ == "__main__":
    print(dict(main(float(sys.argv[1]), int(sys.argv[2]))))
