"""Checkpoints: the whole training state and what it belongs to, safe against a kill at any
moment."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpert.core import files
from jaxpert.core.types import InputError, PyTree, TrainState

SUMS = "checksums.json"
NO_ROOM = ("No space left", "RESOURCE_EXHAUSTED", "Disk quota", "ENOSPC")
NO_ACCESS = ("Permission denied", "PERMISSION_DENIED", "Read-only file system")


def open(workdir: str | Path, keep: int = 2) -> Any:
    """Open `workdir`/checkpoints (an `orbax.checkpoint.CheckpointManager`), removing what a killed
    save left behind.

    The `keep` newest are kept. Close it, or use it in a `with` statement. Raises InputError where
    the directory cannot be written.
    """
    import orbax.checkpoint as ocp

    path = Path(workdir).absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
    with _readable_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        # Not orbax's own cleanup_tmp_directories, which goes on in the background while the next
        # save begins.
        for left in path.glob("*.orbax-checkpoint-tmp*") if jax.process_index() == 0 else ():
            shutil.rmtree(left)
        return ocp.CheckpointManager(path, options=options)


def save(manager: Any, state: TrainState, meta: dict[str, Any]) -> None:
    """Write the state and its `meta` (anything JSON holds), then drop the oldest; returns when it
    is on disk.

    Saving is synchronous: the steps that follow reuse the state's memory. A checkpoint of this step
    or a later one can only be one that could not be read back, and is replaced. Raises InputError
    when the disk is full or not writable.
    """
    import orbax.checkpoint as ocp

    arrays = jax.tree.map(
        np.array, jax.device_get(_plain(state))
    )  # np.array: a view of live memory would change
    # Seeds that are trained at once are all at the same step.
    step = int(arrays.step.flat[0])
    # The manifest lets `restore` compare types and shapes, which orbax would cast silently.
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        meta=ocp.args.JsonSave({"meta": meta, "arrays": _manifest(arrays)}),
    )
    with _readable_errors(manager.directory):
        sums = {old: entry for old, entry in _read_sums(manager).items() if old < step}
        stale = [old for old in manager.all_steps() if old >= step]
        # Sums go first: a run killed in between leaves none for what is being replaced.
        if stale:
            _write_sums(manager, sums)
        for old in stale:
            manager.delete(old)
        # force: the loop decides when to save, not an interval of orbax's own.
        if not manager.save(step, args=content, force=True):
            raise RuntimeError(f"orbax did not save step {step}")
        # Saving dropped the oldest checkpoint, whose sums go too.
        kept = set(manager.all_steps())
        # Taken only after orbax has renamed the whole checkpoint into its place.
        sums[step] = _file_sums(manager, step)
        _write_sums(manager, {old: entry for old, entry in sums.items() if old in kept})


def restore(manager: Any, like: TrainState) -> tuple[TrainState, dict[str, Any], tuple[str, ...]]:
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
    notes: list[str] = []
    # Newest first: a damaged checkpoint costs no more than the steps since the one before.
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            arrays, meta = _read(manager, step, target)
        # It does not fit the configuration, and an older checkpoint would not either.
        except InputError:
            raise
        except (
            Exception
        ) as error:  # orbax, tensorstore and json each have their own for a damaged file
            notes.append(
                f"checkpoint {step} cannot be read ({_summary(error)}) and was passed over"
            )
            continue
        return _typed(arrays, like), meta, tuple(notes)
    raise InputError(
        f"none of the checkpoints in {manager.directory} can be read "
        f"({'; '.join(notes) or 'there are none'}), expected at least one whole one: start again "
        "in a new work directory"
    )


def newest_meta(manager: Any) -> dict[str, Any] | None:
    """The `meta` of the newest checkpoint, read without its arrays; None where it cannot be read
    (`restore` then says why)."""
    import orbax.checkpoint as ocp

    try:
        arguments = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return manager.restore(manager.latest_step(), args=arguments)["meta"]["meta"]
    except Exception:  # orbax, tensorstore and json each have their own for a damaged file
        return None


def _read(manager: Any, step: int, target: TrainState) -> tuple[TrainState, dict[str, Any]]:
    import orbax.checkpoint as ocp

    expected = _read_sums(manager).get(step)
    if (
        expected is not None
    ):  # a run killed just after a save has none, but then orbax's rename vouches for it
        found = _file_sums(manager, step)
        damaged = [name for name, entry in expected.items() if found.get(name) != entry]
        if damaged:
            raise ValueError(f"{damaged[0]} is damaged or missing")
    # Shapes are compared before arrays are read, for a message that names the difference.
    text = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
    _check_fit(manager.directory / str(step), text["arrays"], _manifest(target))
    arrays = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))[
        "state"
    ]
    return arrays, text["meta"]


def _file_sums(manager: Any, step: int) -> dict[str, int]:
    """CRC-32 of every file of a checkpoint: orbax reads some damaged bytes as numbers without a
    word."""
    root = Path(manager.directory) / str(step)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): zlib.crc32(path.read_bytes()) for path in files}


def _read_sums(manager: Any) -> dict[int, dict[str, int]]:
    path = Path(manager.directory) / SUMS
    return (
        {int(step): entry for step, entry in json.loads(path.read_text()).items()}
        if path.exists()
        else {}
    )


def _write_sums(manager: Any, sums: dict[int, dict[str, int]]) -> None:
    # Processes share the folder, and two writers would race for one file.
    if jax.process_index() == 0:
        files.write_text(Path(manager.directory) / SUMS, json.dumps(sums))


def _check_fit(path: Any, found: dict[str, list], expected: dict[str, list]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        have, want = (side.get(name) for side in (found, expected))
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
    found: list[Any] = []
    # `key` may be a shape alone, so the generator is asked for while tracing.
    jax.eval_shape(lambda traced: found.append(jax.random.key_impl(traced)), key)
    return found[0]


def _summary(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__


@contextlib.contextmanager
def _readable_errors(path: Any) -> Iterator[None]:
    """Turn what the file system says, directly or through tensorstore, into one sentence."""
    orbax_log, before = logging.getLogger("absl"), set(threading.enumerate())
    was, orbax_log.disabled = (
        orbax_log.disabled,
        True,
    )  # its threads log a traceback of the error that it raises here
    try:
        yield
    except Exception as error:
        # The threads of orbax must have logged before its logger is switched on again.
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=1)
        number, text = getattr(error, "errno", None), str(error)
        # tensorstore gives no errno, only words in its message.
        if number in (errno.ENOSPC, errno.EDQUOT) or any(word in text for word in NO_ROOM):
            raise InputError(
                f"the disk of {path} is full, so the checkpoint was not written: free some space "
                "and run the same command again, which goes on from the last checkpoint"
            ) from error
        if isinstance(error, OSError) or any(word in text for word in NO_ACCESS):
            raise InputError(
                f"{path} cannot be written ({_summary(error)}), expected a directory for "
                "checkpoints: choose another work directory"
            ) from error
        raise
    finally:
        orbax_log.disabled = was
