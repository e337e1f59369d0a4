import errno
import logging
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpert.core import checkpoint
from jaxpert.core.errors import InputError
from jaxpert.core.types import Best, TrainState
from support import toy

KEY = jax.random.key(7)


def state(step=0, dtype=np.float32, width=300):
    """A training state with arrays of every kind; nothing is computed on the device."""
    kernel = (np.arange(width * 4).reshape(width, 4) + step).astype(dtype)
    params = {"net": {"kernel": kernel}}
    moments = jax.eval_shape(optax.adam(1e-3).init, params)
    opt_state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
    best = Best(params, {}, np.float32(1.5), np.int32(2))
    arrays = TrainState(
        params, {"counts": np.arange(3, dtype=np.uint16)}, opt_state, KEY, np.int32(step), best
    )
    return jax.device_put(arrays)


def files(workdir, step):
    """The files that hold arrays of a checkpoint, largest first."""
    found = [
        path
        for path in (workdir / "checkpoints" / str(step) / "state").rglob("*")
        if path.is_file()
    ]
    return sorted(found, key=lambda path: -path.stat().st_size)


@pytest.fixture
def three(tmp_path):
    """Checkpoints of steps 10, 20 and 30."""
    with checkpoint.open(tmp_path, keep=3) as manager:
        for step in (10, 20, 30):
            checkpoint.save(manager, state(step), {"at": step})
    return tmp_path


def test_everything_comes_back_as_it_was(tmp_path):
    meta = {"genes": ["a", "b"], "config": {"lr": 1e-3, "nested": {"none": None}}}
    with checkpoint.open(tmp_path) as manager:
        checkpoint.save(manager, state(5), meta)
    with checkpoint.open(tmp_path) as manager:
        found, meta_found, notes = checkpoint.restore(manager, state())
    expected = state(5)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert toy.numbers(found) == toy.numbers(expected) and (meta_found, notes) == (meta, ())
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
    assert jax.random.key_impl(found.key) == jax.random.key_impl(KEY)


def test_shapes_alone_are_enough_to_restore(three):
    with checkpoint.open(three, keep=3) as manager:
        found, _, _ = checkpoint.restore(manager, jax.eval_shape(state))
    assert toy.numbers(found) == toy.numbers(state(30))


def test_a_seed_axis_is_kept(tmp_path):
    many = jax.jit(jax.vmap(lambda key: state()._replace(key=key)))(jax.random.split(KEY, 3))
    with checkpoint.open(tmp_path) as manager:
        checkpoint.save(manager, many, {})
        found, _, _ = checkpoint.restore(manager, many)
    assert toy.numbers(found) == toy.numbers(many)


def test_only_the_newest_are_kept(tmp_path):
    with checkpoint.open(tmp_path, keep=2) as manager:
        for step in (1, 2, 3):
            checkpoint.save(manager, state(step), {})
        assert sorted(manager.all_steps()) == [2, 3]


def test_a_saved_state_does_not_change_with_the_memory_it_came_from(tmp_path):
    first = state(1)
    expected = toy.numbers(first)
    bump = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    with checkpoint.open(tmp_path) as manager:
        checkpoint.save(manager, first, {})
        bump(first.params)
        found, _, _ = checkpoint.restore(manager, state())
    assert toy.numbers(found) == expected


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [truncate, flip, lambda path: path.write_bytes(b""), lambda path: path.unlink()]
)
def test_a_damaged_newest_checkpoint_is_passed_over_and_said_so(three, damage):
    damage(files(three, 30)[0])
    with checkpoint.open(three, keep=3) as manager:
        found, meta, notes = checkpoint.restore(manager, state())
        assert toy.numbers(found) == toy.numbers(state(20)) and meta == {"at": 20}
        assert len(notes) == 1 and notes[0].startswith("checkpoint 30 cannot be read (")
        checkpoint.save(
            manager, state(25), {"at": 25}
        )  # orbax would silently keep the damaged later one
    with checkpoint.open(three, keep=3) as manager:
        found, meta, notes = checkpoint.restore(manager, state())
    assert toy.numbers(found) == toy.numbers(state(25)) and (meta, notes) == ({"at": 25}, ())


def test_every_file_of_a_checkpoint_truncated_in_turn(tmp_path):
    for number in range(20):
        workdir = tmp_path / str(number)
        with checkpoint.open(workdir) as manager:
            checkpoint.save(manager, state(1), {"at": 1})
            checkpoint.save(manager, state(2), {"at": 2})
        everything = sorted(
            path for path in (workdir / "checkpoints" / "2").rglob("*") if path.is_file()
        )
        if number >= len(everything):
            break
        truncate(everything[number])
        with checkpoint.open(workdir) as manager:
            found, meta, notes = checkpoint.restore(manager, state())
        assert meta == {"at": 1} and toy.numbers(found) == toy.numbers(state(1)), everything[number]
        assert everything[number].relative_to(workdir / "checkpoints" / "2").as_posix() in notes[0]
    assert number > 5


def test_without_checksums_orbax_alone_decides(three):
    """As after a kill between a save and the writing of its checksums."""
    (three / "checkpoints" / "checksums.json").unlink()
    with checkpoint.open(three, keep=3) as manager:
        found, meta, notes = checkpoint.restore(manager, state())
    assert toy.numbers(found) == toy.numbers(state(30)) and (meta, notes) == ({"at": 30}, ())


def test_a_plain_directory_is_passed_over(three):
    (three / "checkpoints" / "77").mkdir()
    with checkpoint.open(three, keep=3) as manager:
        _, meta, notes = checkpoint.restore(manager, state())
    assert meta == {"at": 30} and len(notes) == 1 and "checkpoint 77" in notes[0]


def test_what_a_killed_save_left_is_removed(three):
    left = three / "checkpoints" / "40.orbax-checkpoint-tmp"
    os.rename(three / "checkpoints" / "30", left)
    with checkpoint.open(three, keep=3) as manager:
        _, meta, notes = checkpoint.restore(manager, state())
    assert (meta, notes) == ({"at": 20}, ()) and not left.exists()


def test_nothing_readable_is_one_sentence(three):
    for step in (10, 20, 30):
        truncate(files(three, step)[0])
    with (
        checkpoint.open(three, keep=3) as manager,
        pytest.raises(InputError, match="none of the checkpoints"),
    ):
        checkpoint.restore(manager, state())


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            lambda: state(width=200),
            r"params/net/kernel float32\[300, 4\], expected .* float32\[200, 4\]",
        ),
        (lambda: state(dtype=jnp.bfloat16), r"float32\[300, 4\], expected .* bfloat16\[300, 4\]"),
        (lambda: state()._replace(state={}), r"state/counts uint16\[3\], expected no state/counts"),
        (lambda: state()._replace(state={**state().state, "more": np.zeros(2)}), "no state/more"),
    ],
)
def test_another_model_is_refused_rather_than_cast(three, other, expected):
    with checkpoint.open(three, keep=3) as manager, pytest.raises(InputError, match=expected):
        checkpoint.restore(manager, other())


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        checkpoint.open(tmp_path / "file")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing: No space left"),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(
    three, monkeypatch, caplog, error
):
    with checkpoint.open(three, keep=3) as manager:

        def full(*_, **__):
            thread = threading.Thread(
                target=lambda: logging.getLogger("absl").error("Traceback")
            )  # as orbax's do
            thread.start()
            thread.join()
            raise error

        monkeypatch.setattr(manager, "save", full)
        with pytest.raises(InputError, match="disk of .* is full"):
            checkpoint.save(manager, state(40), {})
        _, meta, _ = checkpoint.restore(manager, state())
    assert meta == {"at": 30} and "Traceback" not in caplog.text
