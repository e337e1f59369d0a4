"""Checkpoints: the whole training state and what it belongs to, safe against a kill at any moment
and against damaged files.

Each step has a folder of its own, which takes its name when it is whole and holds the checksums of
its files (core/sealed.py): no kill leaves a step without them, and no damage to one step reaches
another.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core import files, memory, sealed
from jaxpert.core.types import InputError, PyTree, TrainState

NO_ROOM = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota", "ENOSPC")
NO_ACCESS = ("Permission denied", "PERMISSION_DENIED", "Read-only file system")
FORMAT = 2
"""Number of the form of a checkpoint, kept in its meta. Those of form 1 have none, and their
checksums stand in one file beside the folders of all steps."""
UNSEALED = ".unsealed"
UNFINISHED = re.compile(r"[0-9]+(\.unsealed|(\.unsealed)?\.orbax-checkpoint-tmp[-0-9]*)")
"""Names of what a killed save leaves."""
LISTED = 5
"""Names of strange files that are told, at most."""


class Checkpoints(NamedTuple):
    """The checkpoints of a work directory."""

    directory: Path
    keep: int
    """How many of the newest are kept."""
    orbax: Any
    """The `orbax.checkpoint.Checkpointer` that reads and writes single steps."""

    def all_steps(self) -> list[int]:
        """Steps that have a folder, the oldest first, whether they can be read or not."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if is_step(path))

    def latest_step(self) -> int | None:
        """The newest step that has a folder."""
        return max(self.all_steps(), default=None)


@contextlib.contextmanager
def open(workdir: str | Path, keep: int = 2, *, write: bool = True) -> Iterator[Checkpoints]:
    """Open `workdir`/checkpoints, of which the `keep` newest are kept.

    With `write`, the folder is made and what a killed save left behind is removed; without, nothing
    is touched, so that a run can be read from where nothing may be written. Raises InputError where
    the folder cannot be written.
    """
    # Not its CheckpointManager, which stops at everything in the folder that is not its own.
    import orbax.checkpoint as ocp

    path = Path(workdir).absolute() / "checkpoints"
    if write:
        with _readable_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            _remove_unfinished(path)
    orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    try:
        yield Checkpoints(path, keep, orbax)
    finally:
        # Closing waits for writes, and may raise once more what a save has met.
        with _readable_errors(path):
            orbax.close()


def is_step(path: Path) -> bool:
    """Whether a path is the folder of a step.

    Links are not followed: what lies elsewhere must not be deleted as an old checkpoint. Names are
    those that a save gives: `030` or digits of other scripts would be numbers to `int` too.
    """
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", path.name) or not _is_folder(path):
        return False
    return (path / "meta").is_dir() or (path / "state").is_dir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def save(checkpoints: Checkpoints, state: TrainState, meta: dict[str, Any]) -> None:
    """Write the state and its `meta` (anything JSON holds), then drop the oldest; returns when it
    is on disk.

    Saving is synchronous: the steps that follow reuse the state's memory. A checkpoint of this step
    or a later one can only be one that could not be read back, and is replaced. Raises InputError
    when the disk is full or not writable.
    """
    import orbax.checkpoint as ocp

    # On a CPU these are views of the state itself: nothing changes it before all is on disk.
    arrays = jax.tree.map(np.asarray, jax.device_get(_plain(state)))
    # Seeds that are trained at once are all at the same step.
    step = int(arrays.step.flat[0])
    # The manifest lets `restore` compare types and shapes, which orbax would cast silently.
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        meta=ocp.args.JsonSave({"format": FORMAT, "meta": meta, "arrays": _manifest(arrays)}),
    )
    directory = checkpoints.directory
    unsealed = directory / f"{step}{UNSEALED}"
    with _readable_errors(directory):
        # Processes share the folder, and the first does for all what Orbax does not.
        first = jax.process_index() == 0
        if first:
            _make_room(directory, step)
        checkpoints.orbax.save(unsealed, args=content)
        if first:
            sealed.seal(unsealed)
            unsealed.rename(directory / str(step))
            for old in checkpoints.all_steps()[: -checkpoints.keep]:
                shutil.rmtree(directory / str(old))
    # Orbax wrote from a copy of its own.
    memory.give_back()


def restore(
    checkpoints: Checkpoints, like: TrainState
) -> tuple[TrainState, dict[str, Any], tuple[str, ...]]:
    """Read the newest checkpoint that is whole; returns the state, its `meta` and a note for each
    one passed over.

    `like` gives structure, shapes and types (arrays or `jax.ShapeDtypeStruct`s). Raises InputError
    when it does not fit the checkpoint (orbax itself would cast types silently) or when no
    checkpoint can be read.
    """
    # Keys are stored as integers (`_plain`), so the target has them in that form too.
    target = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(_plain, like)
    )
    notes = list(strange(checkpoints))
    # Newest first: a damaged checkpoint costs no more than the steps since the one before.
    for step in reversed(checkpoints.all_steps()):
        try:
            arrays, meta, unsure = _read(checkpoints, step, target)
        # It does not fit the configuration, and an older checkpoint would not either.
        except InputError:
            raise
        # orbax, tensorstore and json each have their own for a damaged file
        except Exception as error:
            notes.append(
                f"checkpoint {step} cannot be read ({_summary(error)}) and was passed over"
            )
            continue
        return _typed(arrays, like), meta, (*notes, *unsure)
    raise InputError(
        f"none of the checkpoints in {checkpoints.directory} can be read "
        f"({'; '.join(notes) or 'there are none'}), expected at least one whole one: start again "
        "in a new work directory"
    )


def newest_meta(checkpoints: Checkpoints) -> dict[str, Any] | None:
    """The `meta` of the newest checkpoint that has a readable one, without its arrays; None where
    there is none (`restore` then says why)."""
    for step in reversed(checkpoints.all_steps()):
        # json and orbax each have their own for a damaged file
        with contextlib.suppress(Exception):
            return _read_text(checkpoints, step)["meta"]
    return None


def strange(checkpoints: Checkpoints) -> tuple[str, ...]:
    """A note that names what lies in the folder and is no checkpoint; it is left alone."""
    if not checkpoints.directory.is_dir():
        return ()
    names = []
    for path in sorted(checkpoints.directory.iterdir()):
        if not is_step(path) and path.name != sealed.SUMS:
            names.append(repr(path.name))
    if not names:
        return ()
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"{checkpoints.directory} holds {', '.join(names[:LISTED])}{more}, which is no checkpoint "
        "and was passed over",
    )


def _read(
    checkpoints: Checkpoints, step: int, target: TrainState
) -> tuple[TrainState, dict[str, Any], tuple[str, ...]]:
    """Arrays, meta and what could not be checked of one step."""
    import orbax.checkpoint as ocp

    path = checkpoints.directory / str(step)
    checked = sealed.check(path)
    text = _read_text(checkpoints, step)
    if not checked and "format" in text:
        raise ValueError(f"{sealed.SUMS} is missing")
    notes: tuple[str, ...] = ()
    if not checked and not sealed.check_older(path):
        notes = (
            f"checkpoint {step} is of an older version and has no readable checksums, so it was "
            "read unchecked",
        )
    # Shapes are compared before arrays are read, for a message that names the difference.
    _check_fit(path, text["arrays"], _manifest(target))
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    return checkpoints.orbax.restore(path, args=wanted)["state"], text["meta"], notes


def _read_text(checkpoints: Checkpoints, step: int) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    wanted = ocp.args.Composite(meta=ocp.args.JsonRestore())
    text = checkpoints.orbax.restore(checkpoints.directory / str(step), args=wanted)["meta"]
    if text.get("format", 1) > FORMAT:
        raise ValueError(f"it is of format {text['format']}, this version reads up to {FORMAT}")
    return text


def _remove_unfinished(directory: Path) -> None:
    """Remove what a killed save left: folders of Orbax's names and half-written files of ours."""
    if jax.process_index() != 0:
        return
    files.remove_parts(directory)
    for path in directory.iterdir():
        # A link or a file of such a name is not ours.
        if UNFINISHED.fullmatch(path.name) and _is_folder(path):
            shutil.rmtree(path)


def _make_room(directory: Path, step: int) -> None:
    """Clear the way for a step: checkpoints that could not be read go, anything else is renamed."""
    for path in list(directory.iterdir()):
        if is_step(path) and int(path.name) >= step:
            shutil.rmtree(path)
        elif path.name == str(step) or path.name.startswith(f"{step}{UNSEALED}"):
            path.rename(_free_name(path))


def _free_name(path: Path) -> Path:
    """A name beside a path that nothing has."""
    number = 1
    while (aside := path.with_name(f"aside{number}-{path.name}")).is_symlink() or aside.exists():
        number += 1
    return aside


def _check_fit(path: Path, before: dict[str, list], expected: dict[str, list]) -> None:
    for name in sorted(before.keys() | expected.keys()):
        have, want = (side.get(name) for side in (before, expected))
        if have != want:
            raise InputError(
                f"checkpoint {path} holds {_describe(name, have)}, expected "
                f"{_describe(name, want)}: use the configuration that wrote it, or a new work "
                "directory"
            )


def _describe(name: str, entry: list | None) -> str:
    return f"{name} {entry[0]}{entry[1]}" if entry else f"no {name}"


def _manifest(tree: PyTree) -> dict[str, list]:
    """{path: [type, shape]}, since orbax casts to the asked type without a word."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): [str(leaf.dtype), list(leaf.shape)]
        for path, leaf in leaves
    }


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(state: PyTree) -> PyTree:
    """Typed keys as their integers."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _typed(arrays: TrainState, like: TrainState) -> TrainState:
    def back(leaf: np.ndarray, model: Any) -> jax.Array:
        # A copy, since steps donate the state and would reuse memory that NumPy owns.
        array = jnp.array(leaf)
        return jax.random.wrap_key_data(array, impl=_key_impl(model)) if _is_key(model) else array

    return jax.tree.map(back, arrays, like)


def _key_impl(key: Any) -> Any:
    """Return the generator behind a typed key, or behind the shape of one."""
    generators: list[Any] = []
    # `key` may be a shape alone, so the generator is asked for while tracing.
    jax.eval_shape(lambda traced: generators.append(jax.random.key_impl(traced)), key)
    return generators[0]


def _summary(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__


@contextlib.contextmanager
def _readable_errors(path: Any) -> Iterator[None]:
    """Turn what the file system says, directly or through tensorstore, into one sentence."""
    before = set(threading.enumerate())
    with _quiet():
        try:
            yield
        except Exception as error:
            _let_orbax_end(before)
            number, text = getattr(error, "errno", None), str(error)
            # tensorstore gives no errno, only words in its message.
            if number in (errno.ENOSPC, errno.EDQUOT) or any(word in text for word in NO_ROOM):
                raise InputError(
                    f"the disk of {path} is full, expected room for a checkpoint, which was not "
                    "written: free some space and run the same command again, which goes on from "
                    "the last checkpoint"
                ) from error
            if isinstance(error, OSError) or any(word in text for word in NO_ACCESS):
                raise InputError(
                    f"{path} cannot be written ({_summary(error)}), expected a directory for "
                    "checkpoints: choose another work directory"
                ) from error
            raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks that Orbax's threads log of the error that it raises here, and those
    of writes that end when nobody waits for them any more."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    were, hook = [logger.disabled for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.disabled = True
    sys.unraisablehook = lambda unraisable: (
        None if "Event loop is closed" in str(unraisable.exc_value) else hook(unraisable)
    )
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for logger, was in zip(loggers, were, strict=True):
            logger.disabled = was


def _let_orbax_end(before: set[threading.Thread]) -> None:
    """Wait for what Orbax still does after an error, as long as its complaints go unheard."""
    for thread in set(threading.enumerate()) - before:
        # A thread that is only about to start cannot be waited for, and Orbax's raise their own
        # errors once more in whoever waits.
        with contextlib.suppress(Exception):
            thread.join(timeout=1)
    # Writes end in threads of tensorstore, which Python does not know; tasks complain when freed.
    time.sleep(0.2)
    gc.collect()
