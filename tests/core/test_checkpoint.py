import errno
import logging
import os
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core import checkpoint
from jaxpert.core.errors import InputError
from support import older_checkpoints, toy
from support.training_state import state


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
    assert jax.random.key_impl(found.key) == jax.random.key_impl(expected.key)


def test_shapes_alone_are_enough_to_restore(three):
    with checkpoint.open(three, keep=3) as manager:
        found, _, _ = checkpoint.restore(manager, jax.eval_shape(state))
    assert toy.numbers(found) == toy.numbers(state(30))


def test_a_seed_axis_is_kept(tmp_path):
    many = jax.jit(jax.vmap(lambda key: state()._replace(key=key)))(
        jax.random.split(jax.random.key(7), 3)
    )
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


def whole_or_older(workdir):
    """What is restored of steps 10, 20 and 30: the numbers of the newest, or of an older one and a
    note that names the newest; never other numbers."""
    with checkpoint.open(workdir, keep=3) as manager:
        state_now, meta, notes = checkpoint.restore(manager, state())
    step = meta["at"]
    assert toy.numbers(state_now) == toy.numbers(state(step))
    assert step == 30 or any("checkpoint 30" in note for note in notes)
    return step, notes


def everything(workdir, step):
    folder = workdir / "checkpoints" / str(step)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_of_a_checkpoint_truncated_in_turn(three):
    for path in everything(three, 30):
        content = path.read_bytes()
        truncate(path)
        whole_or_older(three)
        path.write_bytes(content)
    assert whole_or_older(three) == (30, ())


def test_bits_flipped_anywhere_never_give_other_numbers(three):
    """Checksums are part of the checkpoint, so nothing beside it is needed to see the damage."""
    assert not (three / "checkpoints" / "checksums.json").exists()
    rng = np.random.default_rng(0)
    passed_over = 0
    for path in everything(three, 30):
        content = path.read_bytes()
        for place in rng.integers(0, max(1, 8 * len(content)), 3 if content else 0):
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            step, _ = whole_or_older(three)
            passed_over += step == 20
        path.write_bytes(content)
    assert passed_over > 5 and whole_or_older(three) == (30, ())


STRANGE = {
    "file of a step": ("40", lambda path: path.write_text("x")),
    "unfinished file": ("40.unsealed.orbax-checkpoint-tmp", lambda path: path.write_text("x")),
    "link to nowhere": ("40", lambda path: path.symlink_to("/nowhere/at/all")),
    "link to itself": ("40", lambda path: path.symlink_to(path)),
    "unfinished link": (
        "40.orbax-checkpoint-tmp-5",
        lambda path: path.symlink_to(path.parent.parent),
    ),
    "link to a step": ("40", lambda path: path.symlink_to(path.parent / "10")),
    "empty folder of a step": ("40", lambda path: path.mkdir()),
    "padded number": ("040", lambda path: shutil.copytree(path.parent / "10", path)),
    "number of another script": ("٤٠", lambda path: path.mkdir()),
    "number beyond all": ("9" * 40, lambda path: path.mkdir()),
    "negative number": ("-5", lambda path: path.mkdir()),
    "name": ("notes.txt", lambda path: path.write_text("x")),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_things_are_named_passed_over_and_kept(three, kind):
    name, make = STRANGE[kind]
    path = three / "checkpoints" / name
    make(path)
    with checkpoint.open(three, keep=3) as manager:
        _, meta, notes = checkpoint.restore(manager, state())
        assert meta == {"at": 30} and len(notes) == 1 and repr(name) in notes[0]
        # The step of that very name is saved beside it, and nothing is lost.
        checkpoint.save(manager, state(40), {"at": 40})
    with checkpoint.open(three, keep=3) as manager:
        state_now, meta, _ = checkpoint.restore(manager, state())
        assert meta == {"at": 40} and toy.numbers(state_now) == toy.numbers(state(40))
        assert manager.all_steps() == [20, 30, 40]
    left = [p for p in path.parent.iterdir() if p.name.endswith(name) and not checkpoint.is_step(p)]
    assert len(left) == 1


def test_checkpoints_of_the_older_form_are_read_and_gone_on_from(tmp_path):
    older_checkpoints.write(tmp_path, 20, 30)
    assert whole_or_older(tmp_path) == (30, ())
    flip(files(tmp_path, 30)[0])
    step, notes = whole_or_older(tmp_path)
    assert step == 20 and "is damaged or missing" in notes[0]
    with checkpoint.open(tmp_path) as manager:
        checkpoint.save(manager, state(25), {"at": 25})
        state_now, _, notes = checkpoint.restore(manager, state())
    assert toy.numbers(state_now) == toy.numbers(state(25)) and notes == ()


@pytest.mark.parametrize("sums", [None, "[]", "null", "3", '{"30": []}', '{"30": {"a', "[" * 99999])
def test_a_lost_file_of_checksums_takes_no_older_checkpoint_with_it(tmp_path, sums):
    older_checkpoints.write(tmp_path, 30)
    path = tmp_path / "checkpoints" / "checksums.json"
    path.unlink() if sums is None else path.write_text(sums)
    step, notes = whole_or_older(tmp_path)
    assert step == 30 and "was read unchecked" in notes[0] and len(notes) == 1


def test_reading_touches_nothing(three):
    left = three / "checkpoints" / "40.orbax-checkpoint-tmp"
    left.mkdir()
    with checkpoint.open(three, write=False) as manager:
        checkpoint.restore(manager, state())
    with checkpoint.open(three / "none", write=False) as manager:
        assert manager.latest_step() is None
    assert left.is_dir() and not (three / "none").exists()


@pytest.mark.parametrize(
    "name", ["40.orbax-checkpoint-tmp", "40.unsealed", "40.unsealed.orbax-checkpoint-tmp-123"]
)
def test_what_a_killed_save_left_is_removed(three, name):
    left = three / "checkpoints" / name
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
    with (
        pytest.raises(InputError, match="cannot be written"),
        checkpoint.open(tmp_path / "file"),
    ):
        pass


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

        monkeypatch.setattr(manager.orbax, "save", full)
        with pytest.raises(InputError, match="disk of .* is full"):
            checkpoint.save(manager, state(40), {})
        _, meta, _ = checkpoint.restore(manager, state())
    assert meta == {"at": 30} and "Traceback" not in caplog.text
