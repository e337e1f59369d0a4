"""What a run tells its user: progress, metrics.jsonl, and a clean end on Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from jaxpert.core import files, verbosity
from jaxpert.core.errors import InputError

Row = dict[str, Any]


def say(text: str) -> None:
    """Tell what is done, on standard error; not with `--quiet`."""
    if not verbosity.quiet():
        result(text)


def result(text: str) -> None:
    """Print one line to standard error, above a running progress bar if there is one."""
    # Where nobody has imported tqdm no bar can be running, so it is not imported here.
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(
    total: int, *, start: int = 0, unit: str = "step", every: float = 10.0
) -> Iterator[Callable[..., None]]:
    """Show progress from `start` to `total`; yields `show(done, text="")`.

    A bar with the time left on a terminal and in notebooks; elsewhere a plain line at most every
    `every` seconds.
    """
    if verbosity.quiet():
        yield lambda done, text="": None
    elif sys.stderr.isatty() or in_notebook():
        yield from _bar(total, start, unit)
    else:
        yield from _lines(total, start, unit, every)


def in_notebook() -> bool:
    """Whether a Jupyter kernel takes what is printed."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


def _bar(total: int, start: int, unit: str) -> Iterator[Callable[..., None]]:
    # The bar of widgets needs a package that not every notebook has; a line of text works in all.
    if in_notebook() and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm

    with tqdm(total=total, initial=start, unit=unit, dynamic_ncols=True, file=sys.stderr) as bar:

        def show(done: int, text: str = "") -> None:
            # The update redraws the bar, so the text need not.
            bar.set_postfix_str(text, refresh=False)
            bar.update(done - bar.n)

        yield show


def _lines(total: int, start: int, unit: str, every: float) -> Iterator[Callable[..., None]]:
    began = printed = time.monotonic()
    last = ""

    def show(done: int, text: str = "") -> None:
        nonlocal printed, last
        now = time.monotonic()
        # Only the steps of this call have a known speed, not those before `start`.
        left = (
            f", {duration((now - began) * (total - done) / (done - start))} left"
            if start < done < total
            else ""
        )
        last = f"{unit} {done}/{total}{', ' if text else ''}{text}{left}"
        # A log file is read by people: a line for every step would bury the rest.
        if now - printed >= every:
            print(last, file=sys.stderr, flush=True)
            printed, last = now, ""

    yield show
    # The end is told even where the line before it was printed a moment ago.
    if last:
        print(last, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextlib.contextmanager
def metrics_writer(path: str | Path, *, step: int = 0) -> Iterator[Callable[[Row], None]]:
    """Open metrics.jsonl for a run that goes on from `step`; yields `append(row)`.

    Rows after `step`, which the continued run writes again, and a half-written last line are
    dropped first. Every row is flushed at once; NaN and infinities are written as null. Raises
    InputError where the file cannot be written.
    """
    path = Path(path)
    # The checkpoint decides: later rows come again from the same steps.
    kept = [row for row in read_metrics(path) if row.get("step", 0) <= step] if step else []
    with _one_sentence(path):
        # A run killed here leaves the old file or the new one, never half of either.
        files.write_text(path, "".join(map(_line, kept)))
        # A kill while appending cuts off the last line only, which `read_metrics` leaves out.
        file = open(path, "a")

    def append(row: Row) -> None:
        with _one_sentence(path):
            file.write(_line(row))
            # A run that is killed leaves every row that it reported.
            file.flush()

    try:
        yield append
    finally:
        with contextlib.suppress(OSError):  # what a full disk did not take was reported by then
            file.close()


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}), expected a work directory with room: "
            "free some space or choose another one"
        ) from error


def read_metrics(path: str | Path) -> list[Row]:
    """Rows of a metrics.jsonl; a last line cut off by a crash is left out, no file means no
    rows."""
    path = Path(path)
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    # What stands behind the last line break is cut off or empty.
    whole = enumerate(lines[:-1], 1)
    return [_row(line, number, path) for number, line in whole if line]


def _row(line: bytes, number: int, path: Path) -> Row:
    """A line of a metrics.jsonl, checked as far as a run needs it."""
    try:
        row = json.loads(line)
        step = row.get("step", 0)
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(number, path) from error
    if type(step) is not int:
        raise _damaged(number, path)
    return row


def _damaged(number: int, path: Path) -> InputError:
    return InputError(
        f"line {number} of {path} is damaged, expected a mapping with a step, as a run writes it: "
        "delete that line and run the same command again"
    )


def _line(row: Row) -> str:
    return json.dumps({name: _finite(value) for name, value in row.items()}, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    # JSON knows neither NaN nor infinity; null is what every reader takes.
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def catch_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGTERM or SIGINT into a request to stop; yields `should_stop()`.

    A second signal does what it always does, so a run that hangs can still be ended. Outside the
    main thread, where Python allows no handlers, nothing is caught.
    """
    caught: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        # Popped one by one, so that a second call has nothing left to restore.
        while before:
            signal.signal(*before.popitem())

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        restore()
        text = (
            f"\n{signal.Signals(number).name}: stopping after this stretch of steps; once more to "
            "stop at once\n"
        )
        # Not by print or the bar, which cannot be entered again where a signal interrupted them.
        os.write(2, text.encode())

    if threading.current_thread() is threading.main_thread():
        before.update(
            {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        )
    try:
        # A question between stretches: a handler that raised could break a save half-way.
        yield lambda: bool(caught)
    finally:
        restore()
