import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpert.core import log, optim, train
from jaxpert.core.errors import InputError
from jaxpert.core.streams import Stream
from support import toy
from support.paths import ROOT

SGD = optim.sgd(0.05)


def start(optimizer=toy.ADAM, key=None, **options):
    train_feed, valid_feed = toy.feeds()
    key = jax.random.key(3) if key is None else key
    return train.init(toy.model(), optimizer, train_feed, key, **options), train_feed, valid_feed


def go(state, feeds, epochs=4, optimizer=toy.ADAM, *, save=train.NO_HOOKS.save, **options):
    rows = []
    schedule = train.Schedule(epochs, **{"log_every": 3} | options)
    hooks = train.Hooks(save=save, report=rows.append)
    state, outcome = train.fit(toy.model(), optimizer, state, tuple(feeds), schedule, hooks)
    return state, outcome, rows


def process(workdir):
    """The toy's run as a process of its own, which says how it ended."""
    return subprocess.Popen(
        [sys.executable, toy.__file__, str(workdir)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(workdir):
    """Wait until the run has logged something; it trains in earnest then."""
    path = workdir / "metrics.jsonl"
    for _ in range(6000):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.01)
    raise TimeoutError("the run logged nothing")


def rows_of(workdir):
    """Rows of metrics.jsonl without the times."""
    clock = ("seconds", "cells_per_second")
    return [
        {k: v for k, v in row.items() if k not in clock}
        for row in log.read_metrics(workdir / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of 20 epochs."""
    workdir = tmp_path_factory.mktemp("whole")
    state, outcome, _ = toy.run(workdir)
    return toy.numbers(state), outcome, rows_of(workdir)


def test_loss_falls_and_rows_say_what_happened():
    state, *feeds = start()
    final, outcome, rows = go(state, feeds)
    assert outcome == ("finished", 4, 20)
    training = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in training] == [3, 5, 8, 10, 13, 15, 18, 20]
    assert [row["epoch"] for row in training] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert set(training[0]) == {
        "step",
        "epoch",
        "train/loss",
        "train/nll",
        "train/ridge",
        "train/grad_norm",
        "cells_per_second",
        "seconds",
    }
    validation = [row for row in rows if "val/loss" in row]
    assert [row["step"] for row in validation] == [5, 10, 15, 20]
    assert training[-1]["train/loss"] < training[0]["train/loss"]
    assert float(final.best.loss) == pytest.approx(min(row["val/loss"] for row in validation))
    assert float(final.state["seen"]) == 4 * feeds[0].cells


def test_each_step_is_one_step_of_gradient_descent_on_its_batch():
    state, feed, _ = start(SGD)
    final, _, rows = go(state, (feed, None), epochs=2, optimizer=SGD)

    @jax.jit
    def descend(params, step):
        key = jax.random.fold_in(state.key, step)
        order_key = jax.random.fold_in(state.key, Stream.ORDER)
        order = feed.order(feed.data, order_key, step // feed.steps)
        batch = feed.batch(feed.data, key, order, step % feed.steps)
        value = jax.value_and_grad(toy.model().loss, has_aux=True)
        (loss, _), grads = value(params, state.state, key, batch)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), loss

    params, losses = state.params, []
    for step in range(2 * feed.steps):
        params, loss = descend(params, np.int32(step))
        losses.append(float(loss))
    means = [np.mean(losses[begin:end]) for begin, end in ((0, 3), (3, 5), (5, 8), (8, 10))]
    assert [row["train/loss"] for row in rows] == pytest.approx(means, rel=1e-5)
    jax.tree.map(close, final.params, params)


def test_validation_is_the_mean_over_all_cells_without_padding():
    state, _, valid = start()
    final, _, rows = go(state, toy.feeds(), epochs=1)

    @jax.jit
    def batch_loss(index):
        key = jax.random.fold_in(jax.random.fold_in(final.key, Stream.VALIDATION), final.step)
        order = valid.order(valid.data, key, jnp.int32(0))
        key_batch = jax.random.fold_in(key, index)
        batch = valid.batch(valid.data, key_batch, order, index)
        return toy.model().loss(final.params, final.state, key_batch, batch)[0], batch.mask.sum()

    total, counted = 0.0, 0
    for index in range(valid.steps):
        loss, cells = batch_loss(np.int32(index))
        total += int(cells) * float(loss)
        counted += int(cells)
    assert counted == valid.cells and counted % 32
    assert rows[-1]["val/loss"] == pytest.approx(total / counted, rel=1e-5)


def test_the_given_state_and_the_best_survive_donation():
    state, *feeds = start()
    before = toy.numbers(state)
    kept = []
    final, *_ = go(
        state, feeds, epochs=3, save=lambda state, _: kept.append(int(state.step)), save_seconds=0.0
    )
    assert toy.numbers(state) == before
    assert kept == [3, 5, 8, 10, 13, 15]
    unbeatable = final._replace(best=final.best._replace(loss=jnp.float32(-1e9)))
    again, *_ = go(unbeatable, feeds, epochs=6)
    assert toy.numbers(again.best) == toy.numbers(unbeatable.best)
    assert toy.numbers(again.params) != toy.numbers(final.params)


def test_a_state_that_is_not_kept_gives_its_memory_and_the_same_numbers():
    state, *feeds = start()
    kept, _, _ = go(state, feeds, epochs=1)
    schedule = train.Schedule(1, log_every=3)
    moved, _ = train.fit(toy.model(), toy.ADAM, state, tuple(feeds), schedule, keep=False)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    jax.tree.map(np.testing.assert_array_equal, toy.numbers(moved), toy.numbers(kept))


def test_without_validation_the_best_is_the_latest():
    state, feed, _ = start()
    final, _, rows = go(state, (feed, None), epochs=2)
    assert (
        toy.numbers(final.best.params) == toy.numbers(final.params) and int(final.best.epoch) == 2
    )
    assert not any("val/loss" in row for row in rows)
    with pytest.raises(InputError, match=r"train\.patience"):
        go(state, (feed, None), patience=2)


@pytest.mark.parametrize(("stretches", "stop"), [(1, 3), (2, 5), (7, 18), (40, 100)])
def test_a_run_resumed_at_any_stretch_is_bit_identical(tmp_path, whole, stretches, stop):
    _, outcome, _ = toy.run(tmp_path, stretches=stretches)
    assert outcome == ("interrupted", stop // 5, stop)
    state, outcome, notes = toy.run(tmp_path)
    assert outcome.reason == "finished" and notes == ()
    assert (toy.numbers(state), rows_of(tmp_path)) == (whole[0], whole[2])


def test_a_run_killed_at_a_random_moment_goes_on_bit_identically(tmp_path, whole):
    running = process(tmp_path)
    wait = random.uniform(0, 0.6)
    wait_for_rows(tmp_path)
    time.sleep(wait)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL, "finished before it could be killed"
    left = log.read_metrics(tmp_path / "metrics.jsonl")
    assert 0 < left[-1]["step"] < 100, wait
    state, _, _ = toy.run(tmp_path)
    assert toy.numbers(state) == whole[0], wait
    assert rows_of(tmp_path) == whole[2], wait


def test_sigterm_saves_and_ends_cleanly_and_the_rest_is_bit_identical(tmp_path, whole):
    running = process(tmp_path)
    wait_for_rows(tmp_path)
    running.terminate()
    out, err = running.communicate()
    assert running.returncode == 0, err
    reason, _, step = json.loads(out.splitlines()[-1])
    assert reason == "interrupted" and 0 < step < 100
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    state, _, _ = toy.run(tmp_path)
    assert toy.numbers(state) == whole[0]


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_eight_devices_give_the_losses_and_parameters_of_one_and_one_goes_on(tmp_path):
    eight, of_one = tmp_path / "eight", tmp_path / "one"
    many, _, _ = toy.run(eight, epochs=4, devices=8, optimizer=SGD)
    single, _, _ = toy.run(of_one, epochs=4, optimizer=SGD)
    assert len(rows_of(of_one)) == len(rows_of(eight)) == 12
    for left, right in zip(rows_of(of_one), rows_of(eight), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    jax.tree.map(close, (many.params, many.best.params), (single.params, single.best.params))
    longer, outcome, notes = toy.run(eight, epochs=6, optimizer=SGD)
    expected, _, _ = toy.run(of_one, epochs=6, optimizer=SGD)
    assert outcome == ("finished", 6, 30) and notes == ()
    jax.tree.map(close, longer.params, expected.params)


def test_vmapped_seeds_equal_single_runs():
    key, options = jax.random.key(9), {"epochs": 20, "patience": 2}
    seeds, *feeds = start(key=key, seeds=3)
    together, outcome, rows = go(seeds, feeds, **options)
    assert len(rows[0]["train/loss"]) == 3
    singles = [go(start(key=k)[0], feeds, **options) for k in jax.random.split(key, 3)]
    assert len({single[1].epochs for single in singles}) > 1, (
        "the seeds should stop at different epochs"
    )
    assert outcome.epochs == max(single[1].epochs for single in singles)
    for i, (single, _, alone) in enumerate(singles):
        for mine, theirs in zip(rows, alone, strict=False):
            name = "train/loss" if "train/loss" in mine else "val/loss"
            assert mine[name][i] == pytest.approx(theirs[name], rel=1e-5)
        best = jax.tree.map(lambda leaf, i=i: leaf[i], together.best)
        assert int(best.epoch) == int(single.best.epoch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            (best.params, best.loss),
            (single.best.params, single.best.loss),
        )


def test_an_array_of_keys_makes_seeds_too():
    keys = jax.random.split(jax.random.key(9), 3)
    assert toy.numbers(start(key=keys)[0]) == toy.numbers(start(key=jax.random.key(9), seeds=3)[0])


def test_early_stopping_keeps_the_best_and_a_stopped_run_stays_stopped():
    state, *feeds = start()
    final, outcome, rows = go(state, feeds, epochs=100, patience=2)
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert outcome.reason == "patience" and outcome.epochs == len(losses) < 100
    assert int(final.best.epoch) == int(np.argmin(losses)) + 1 == outcome.epochs - 2
    same, outcome_again, rows = go(final, feeds, epochs=100, patience=2)
    assert outcome_again == outcome and rows == [] and toy.numbers(same) == toy.numbers(final)


def test_validation_every_second_epoch_and_a_step_limit_amid_an_epoch():
    state, *feeds = start()
    _, outcome, rows = go(state, feeds, epochs=9, validate_every=2, max_steps=23)
    assert outcome == ("finished", 4, 23)
    assert [row["step"] for row in rows if "val/loss" in row] == [10, 20, 23]


def poisoned(steps):
    """A state whose loss becomes NaN after this many steps; an epoch is 4 batches of 32 cells and
    one of 8."""
    state, *feeds = start()
    cells = 136 * (steps // 5) + 32 * (steps % 5)
    return state._replace(state={"seen": jnp.float32(toy.POISON - cells)}), feeds


def test_a_loss_that_is_not_finite_stops_the_run_unsaved():
    state, feeds = poisoned(11)
    saved = []
    with pytest.raises(train.NonFiniteLoss) as caught:
        go(
            state,
            feeds,
            epochs=9,
            save=lambda _, extra: saved.append(extra["step"]),
            save_seconds=0.0,
        )
    assert (
        caught.value.step == 12
        and np.isnan(caught.value.terms["nll"])
        and caught.value.terms["ridge"] > 0
    )
    assert "step 12" in str(caught.value) and "last good checkpoint is of step 10" in str(
        caught.value
    )
    assert saved == [3, 5, 8, 10]


def test_a_run_that_fails_at_once_says_that_nothing_was_saved():
    state, feeds = poisoned(0)
    with pytest.raises(
        train.NonFiniteLoss, match="training loss is not finite at step 1 .*no checkpoint was saved"
    ):
        go(state, feeds)


def test_a_validation_loss_that_is_not_finite_stops_the_run_too():
    state, feeds = poisoned(5)
    with pytest.raises(train.NonFiniteLoss, match="validation loss is not finite at step 5 "):
        go(state, feeds)


def test_each_program_is_compiled_once():
    state, *feeds = start()
    toy.TRACES.clear()
    go(state, feeds, epochs=6)
    # Stretches of 3 and of 2 steps, and the validation, whose sums are asked for their shapes
    # first.
    assert len(toy.TRACES) == 4


def test_the_device_is_asked_once_per_stretch(monkeypatch):
    state, feed, _ = start()
    asked = []
    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: asked.append(1) or fetch(tree))
    go(state, (feed, None), epochs=2)
    # Four stretches; and at the two ends of epochs, for the patience, the epoch of the best.
    assert len(asked) == 6
