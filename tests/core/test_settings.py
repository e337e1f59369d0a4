"""Settings: one declaration gives defaults, checks, help and the form in a config."""

import dataclasses
import math
import subprocess
import sys

import pytest

from jaxpert.core import config, settings
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
    sizes: tuple[int, ...] = setting((8, 4), "widths", at_least=1)
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
    assert list(listed) == ["s.rate", "s.kind", "s.numbers", "s.sizes", "s.on", "s.inner.width",
                            "s.inner.names"]  # fmt: skip
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
    with pytest.raises(ValueError, match="'tset', expected one of full, demo, test, paper"):
        config.defaults(Keys, "m", ENTRY, "tset")


def test_a_config_is_read_whole():
    made = config.defaults(Keys, "m", ENTRY, "full")
    read = config.read(Keys, ENTRY, made)
    assert read.model == config.ModelKeys("m", Inner()) and read.train == config.TrainKeys()
    del made["train"]["clip"]
    with pytest.raises(InputError, match="the config lacks train.clip"):
        config.read(Keys, ENTRY, made)


def test_settings_import_no_jax():
    code = "import sys, jaxpert.core.config; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
