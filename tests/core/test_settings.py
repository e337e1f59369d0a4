"""Settings: one declaration gives defaults, checks, help and the form in a config."""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from jaxpert.core import config, ranges, settings
from jaxpert.core.errors import InputError
from jaxpert.core.settings import section, setting


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = setting(4, "of the inside", at_least=1, at_most=9)
    names: tuple[str, ...] = setting(("a", "b"), "joined by commas", joined=True)


@dataclasses.dataclass(frozen=True)
class Outer:
    rate: float = setting(0.5, "between", above=0, below=1)
    kind: str = setting("x", "which", choices=("x", "y"))
    numbers: tuple[int, ...] = setting((), "joined", choices=(3, 4), joined=True)
    sizes: tuple[int, ...] = setting((8, 4), "widths", at_least=1, filled=True)
    free: float = setting(0.0, "any")
    many: int = setting(0, "any")
    text: str = setting("t", "needed", filled=True)
    signs: Mapping[str, int] | None = setting(None, "by name")
    on: bool = setting(False, "or not")
    hidden: int | None = setting(None, "for code", internal=True)
    inner: Inner = section(Inner)


def test_a_config_holds_plain_values_and_reads_back():
    plain = settings.plain(Outer())
    assert plain == {
        "rate": 0.5,
        "kind": "x",
        "numbers": "",
        "sizes": (8, 4),
        "free": 0.0,
        "many": 0,
        "text": "t",
        "signs": None,
        "on": False,
        "inner": {"width": 4, "names": "a,b"},
    }
    assert settings.read(Outer, plain) == Outer()
    given = plain | {"numbers": "4,3", "sizes": [2], "inner": {"names": " c ,d,"}}
    read = settings.read(Outer, given)
    assert read.numbers == (4, 3) and read.sizes == (2,) and read.inner.names == ("c", "d")


def test_whole_numbers_stand_for_floats():
    assert isinstance(settings.read(Inner, {}, "i").width, int)
    rate = settings.read(config.TrainKeys, {"learning_rate": 1}).learning_rate
    assert isinstance(rate, float) and rate == 1
    read = settings.read(config.TrainKeys, {"learning_rate": np.float32(0.5), "epochs": np.int8(3)})
    assert type(read.learning_rate) is float and type(read.epochs) is int


def test_settings_are_changed_in_place_of_others():
    base = Outer(rate=0.25, inner=Inner(width=7))
    made = settings.changed(base, {"inner": {"names": "z"}}, "s")
    assert made == Outer(rate=0.25, inner=Inner(width=7, names=("z",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, r"^s.rate is 0.0, expected a finite number, above 0 and below 1"),
        ({"rate": 1.0}, r"s.rate is 1.0, expected a finite number, above 0 and below 1"),
        ({"rate": math.nan}, r"s.rate is nan, expected a finite number"),
        ({"rate": math.inf}, r"s.rate is inf"),
        ({"rate": True}, r"s.rate is True, expected a finite number"),
        ({"rate": "0.5"}, r"s.rate is '0.5', expected a finite number"),
        ({"kind": "z"}, r"s.kind is 'z', expected one of x, y"),
        ({"numbers": "3,5"}, r"s.numbers is \(3, 5\), expected one of 3, 4"),
        ({"numbers": "3,x"}, r"s.numbers is '3,x', expected whole numbers joined by commas"),
        ({"sizes": (0,)}, r"s.sizes is \(0,\), expected whole numbers in a tuple, at least 1"),
        ({"sizes": ()}, r"s.sizes is \(\), expected .* not empty"),
        ({"sizes": (1.5,)}, r"s.sizes is \(1.5,\), expected whole numbers in a tuple, .*empty: co"),
        ({"numbers": "٣"}, "s.numbers is '٣', expected whole numbers joined by commas"),
        ({"rate": 10**400}, "s.rate is a number of 400 digits, expected a finite number, above 0"),
        ({"free": 1e-320}, "s.free is 1e-320, expected a finite number, 0 or of a size from 1e-30"),
        ({"free": 10**400}, "s.free is a number of 400 digits, expected a finite number: correct"),
        ({"many": 2**31}, "s.many is 2147483648, expected a whole number, of a size up to 2,147,4"),
        ({"text": ""}, "s.text is '', expected a text, not empty: correct it"),
        ({"text": " "}, "s.text is ' ', expected a text, not empty"),
        ({"text": "a\nb"}, r"s.text is 'a\\nb', expected .* none that controls a terminal"),
        ({"text": "x" * 5_000}, r"x \.\.\. \(5,002 characters\), expected .*at most 4,096 charac"),
        ({"inner": {"names": "a,b\x00"}}, r"s.inner.names is 'a,b\\x00', expected names joined by"),
        ({"inner": {"names": ["a", ["b"]]}}, r"s.inner.names is \('a', \['b'\]\), expected names"),
        ({"inner": 5}, "s.inner is 5, expected a section of settings"),
        ({"signs": 5}, "s.signs is 5, expected"),
        ({"x" * 5_000: 5}, "x is no setting of this run, expected one such as"),
        ({"sizes": 3}, r"s.sizes is 3, expected whole numbers in a tuple"),
        ({"on": 1}, r"s.on is 1, expected True or False"),
        ({"inner": {"width": 2.0}}, r"s.inner.width is 2.0, expected a whole number, at least 1"),
        ({"inner": {"widht": 2}}, r"s.inner.widht is no setting .*such as s.inner.width"),
        ({"hidden": 3}, r"s.hidden is no setting"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(InputError, match=message):
        settings.read(Outer, values, "s")


def test_entries_say_everything_once():
    listed = {entry.key: entry for entry in settings.entries(Outer, "s")}
    assert list(listed) == ["s.rate", "s.kind", "s.numbers", "s.sizes", "s.free", "s.many",
                            "s.text", "s.signs", "s.on", "s.inner.width",
                            "s.inner.names"]  # fmt: skip
    assert listed["s.sizes"].expected == "whole numbers in a tuple, at least 1 and not empty"
    assert listed["s.rate"].range == "above 0 and below 1" and listed["s.rate"].meaning == "between"
    assert listed["s.inner.names"].default == "a,b"


@dataclasses.dataclass(frozen=True)
class Keys:
    seed: int = setting(0, "seed", at_least=0)
    model: config.ModelKeys = section(config.ModelKeys)
    train: config.TrainKeys = section(config.TrainKeys)


ENTRY = config.ModelEntry("nowhere", Inner, {"test": {"width": 2}, "paper": {"names": "z"}})


def test_defaults_of_a_variant():
    made = config.defaults(Keys, "m", ENTRY, "test", {"train": {"epochs": 3}})
    assert made["model"] == {"name": "m", "kwargs": {"width": 2, "names": "a,b"}}
    assert made["train"]["epochs"] == 3 and made["train"]["clip_parts"] == ""
    assert config.defaults(Keys, "m", ENTRY, "paper")["model"]["kwargs"]["names"] == "z"
    with pytest.raises(InputError, match="'tset', expected one of full, demo, test, paper"):
        config.defaults(Keys, "m", ENTRY, "tset")


def test_a_config_is_read_whole():
    made = config.defaults(Keys, "m", ENTRY, "full")
    read = config.read(Keys, ENTRY, made)
    assert read.model == config.ModelKeys("m", Inner()) and read.train == config.TrainKeys()
    del made["train"]["clip"]
    with pytest.raises(InputError, match="the config lacks train.clip"):
        config.read(Keys, ENTRY, made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": 5}, "train is 5, expected a section of keys"),
        ({"train": None}, "train is None, expected a section of keys"),
        ({"model": ["m"]}, r"model is \['m'\], expected a section of keys"),
        ({"model": {"name": "m"}}, "the config lacks model.kwargs"),
        ({"model": {"kwargs": {}}}, "the config lacks model.name"),
        ({"model": {"name": "m", "kwargs": 5}}, "model.kwargs is 5, expected a section"),
        ({"seed": {}}, "seed is {}, expected a whole number"),
        ({"extra": 1}, "extra is no setting of this run"),
    ],
)
def test_other_things_in_place_of_sections_are_named(changes, said):
    made = config.defaults(Keys, "m", ENTRY, "full") | changes
    with pytest.raises(InputError, match=said):
        config.read(Keys, ENTRY, made)


@pytest.mark.parametrize("text", ["٣", "１", "1_0", "x", "", "1.5"])
def test_numbers_are_read_as_people_write_them(text):
    with pytest.raises(ValueError):
        ranges.number(int, text)
    assert ranges.number(int, " 12") == 12 and ranges.number(float, "1e-3") == 1e-3


def test_settings_import_no_jax():
    code = "import sys, jaxpert.core.config; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
