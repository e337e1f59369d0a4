"""Rows that many processes write into one file: half-written ones, repeated ones, and locks that
end with a process."""

import json
import os
import signal
import subprocess
import sys

import filelock
import pytest

from jaxpert.core import locks
from jaxpert.core.types import InputError
from jaxpert.study import ledger
from jaxpert.study.ledger import Cell


def row(seed=0, value=0.5, **changes):
    return {
        "data": "simulated",
        "model": "sams_vae",
        "multiplier": 5,
        "seed": seed,
        "scores": {"mse": value},
    } | changes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.jsonl"


def test_rows_come_back_by_cell(path):
    assert ledger.read(path) == ledger.Ledger({}, ())
    ledger.append(path, row(0))
    ledger.append(path, row(1, 0.7))
    found = ledger.read(path)
    assert found.notes == ()
    assert found.rows[Cell("simulated", "sams_vae", 5, 1)]["scores"] == {"mse": 0.7}
    assert len(found.rows) == 2


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_half_written_row_is_named_and_the_next_starts_on_a_new_line(path, cut):
    ledger.append(path, row(0))
    ledger.append(path, row(1))
    path.write_bytes(path.read_bytes()[:-cut])
    found = ledger.read(path)
    assert set(found.rows) == {Cell("simulated", "sams_vae", 5, 0)}
    assert (
        len(found.notes) == 1 and "line 2 of" in found.notes[0] and "half-written" in found.notes[0]
    )
    ledger.append(path, row(1))
    ledger.append(path, row(2))
    again = ledger.read(path)
    assert [cell.seed for cell in again.rows] == [0, 1, 2]
    # A row that lacks nothing but its newline becomes whole, and is then repeated.
    assert len(again.notes) == 1 and ("line 3" if cut == 1 else "line 2") in again.notes[0]


@pytest.mark.parametrize(
    "junk",
    [
        "null",
        "[]",
        "7",
        '{"data": "x"}',
        "{",
        "\x00\x00",
        "[" * 100_000,
        '{"data": [], "model": {}, "multiplier": 5, "seed": 0}',
    ],
)
def test_lines_that_are_no_rows_are_left_out(path, junk):
    path.write_text(junk + "\n" + json.dumps(row(3)) + "\n")
    found = ledger.read(path)
    assert [cell.seed for cell in found.rows] == [3]
    assert "line 1 of" in found.notes[0]


def test_the_same_result_twice_is_kept_once_and_said(path):
    ledger.append(path, row(0, seconds=3, date="today"))
    ledger.append(path, row(0, seconds=4, date="tomorrow"))
    found = ledger.read(path)
    assert len(found.rows) == 1 and found.rows[Cell("simulated", "sams_vae", 5, 0)]["seconds"] == 3
    assert (
        "line 2" in found.notes[0]
        and "repeats sams_vae on simulated at 5 MAD, seed 0" in found.notes[0]
    )


def test_two_different_results_of_one_cell_are_refused(path):
    ledger.append(path, row(0, 0.5))
    ledger.append(path, row(0, 0.6))
    with pytest.raises(
        InputError, match=r"two different results of sams_vae.*scores.mse was 0.5 and is now 0.6"
    ):
        ledger.read(path)


def test_a_result_takes_the_place_of_a_failure_whatever_their_order(path):
    failure = row(0, failed="diverged")
    for rows in ([failure, failure, row(0)], [row(0), failure], [failure, row(0), failure]):
        path.unlink(missing_ok=True)
        for one in rows:
            ledger.append(path, one)
        assert ledger.read(path) == ledger.Ledger({Cell("simulated", "sams_vae", 5, 0): row(0)}, ())


def test_numbers_that_json_lacks_are_never_written(path):
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.append(path, row(0, float("nan")))
    assert not path.exists()


APPEND = """
import sys; from pathlib import Path; from jaxpert.study import ledger
for i in range(200):
    row = {"data": "d", "model": sys.argv[2], "multiplier": 5, "seed": i, "fill": "x" * 5000}
    ledger.append(Path(sys.argv[1]), row)
"""


def test_rows_of_two_processes_never_mix(path):
    both = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(path), name]) for name in ("a", "b")
    ]
    assert [process.wait() for process in both] == [0, 0]
    found = ledger.read(path)
    assert found.notes == () and len(found.rows) == 400


HOLD = """
import sys; from pathlib import Path; from jaxpert.study import ledger
with ledger.claimed(Path(sys.argv[1]), ["b", "c"]) as free:
    print(*free, flush=True); sys.stdin.read()
"""


def test_a_claim_ends_with_its_process(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None and other.stdout.readline().split() == ["b", "c"]
        with ledger.claimed(tmp_path, ["a", "b", "c", "d"]) as free:
            assert free == ["a", "d"]
        other.send_signal(signal.SIGKILL)
    with ledger.claimed(tmp_path, ["a", "b", "c", "d"]) as free:
        assert free == ["a", "b", "c", "d"]


def test_without_locks_work_goes_on(path, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(locks.NO_LOCKS[0], os.strerror(locks.NO_LOCKS[0]))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    ledger.append(path, row(0))
    with ledger.claimed(tmp_path / "claims", ["a"]) as free:
        assert free == ["a"]
    assert len(ledger.read(path).rows) == 1
