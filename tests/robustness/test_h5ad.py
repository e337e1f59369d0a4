"""A sample of the campaign of damaged files: none ends in a traceback, none is read as other
counts."""

import importlib
import random
import warnings

import numpy as np
import pytest

from robustness.fuzz_h5ad import differs, judge
from robustness.h5ad_base import Case, csr, screen
from robustness.h5ad_cases import named_cases
from robustness.h5ad_damage import damaged_cases
from robustness.h5ad_plain import Unreadable, plain_reading


@pytest.fixture(autouse=True)
def quiet():
    """Libraries warn while damaged files are written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def faults(cases, folder):
    """Names and verdicts of the cases that are neither refused nor read exactly."""
    wrong = {}
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        verdict = judge(case, place)
        if verdict.kind not in ("refused", "read"):
            wrong[case.name] = verdict
    return wrong


def test_named_cases_are_refused_or_read_exactly(tmp_path):
    # Every second sound file and every sixth damaged one: all of them take a minute.
    cases = named_cases()
    assert len(cases) > 300 and sum(case.good for case in cases) > 60
    sound = [case for case in cases if case.good]
    damaged = [case for case in cases if not case.good]
    chosen = sound[::2] + damaged[::6]
    assert not faults(chosen, tmp_path)


def test_random_damage_is_refused_or_read_exactly(tmp_path):
    damaged = damaged_cases(random.Random(11))
    assert not faults([next(damaged) for _ in range(20)], tmp_path)


def test_random_damage_is_the_same_again():
    first, second = damaged_cases(random.Random(3)), damaged_cases(random.Random(3))
    assert [next(first).name for _ in range(20)] == [next(second).name for _ in range(20)]


def test_the_judge_sees_faults(tmp_path, monkeypatch):
    """A reader that fails, takes other counts, or refuses what is sound is found out."""
    # By name, since jaxpert.data has a function that is called like the module.
    read = importlib.import_module("jaxpert.data.read")
    sound = Case("sound", lambda path: screen().write_h5ad(path), good=True)
    faithful = read.read

    def fail(*_args, **_options):
        raise KeyError("data")

    def change(*args, **options):
        dataset = faithful(*args, **options)
        dataset.counts.data[0] += 1
        return dataset

    for number, (reader, kind) in enumerate(
        ((faithful, "read"), (fail, "traceback"), (change, "silent"))
    ):
        monkeypatch.setattr(read, "read", reader)
        place = tmp_path / str(number)
        place.mkdir()
        assert judge(sound, place).kind == kind


def test_the_plain_reading_is_strict(tmp_path):
    import h5py

    path = tmp_path / "screen.h5ad"
    screen().write_h5ad(path)
    assert plain_reading(path).counts == csr().toarray().astype(int).tolist()
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 9
    with pytest.raises(Unreadable, match="column 9"):
        plain_reading(path)


def test_differences_are_named(tmp_path):
    from jaxpert.data.read import read

    screen().write_h5ad(tmp_path / "screen.h5ad")
    dataset, expected = read(tmp_path / "screen.h5ad"), plain_reading(tmp_path / "screen.h5ad")
    assert differs(dataset, expected) == ""
    dataset.counts.data[5] = np.uint8(99)
    assert differs(dataset, expected) == "counts"
    assert differs(dataset, expected._replace(labels=["ctrl"] * 24)) == "counts, labels"
