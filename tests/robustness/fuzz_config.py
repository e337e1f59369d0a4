"""Odd values for every key of every config, of the simulator and of the flags of commands.

Each comes in by the roads that a user has: a config file, the command line, a call in Python. It is
refused by an InputError that names the key, the value and the range, or it is one that
`config_rules` allow.

    PYTHONPATH=tests python -m robustness.fuzz_config SECONDS SEED
"""

import dataclasses
import functools
import importlib
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxpert.app import families, training
from jaxpert.core import config, settings
from jaxpert.core.errors import InputError
from jaxpert.simulate.settings import PRESETS, resolve
from robustness.config_rules import LARGEST, Key, allows, allows_typed, rule_of

CONFIGS = {
    "cradle_vae": "cradle_norman:test",
    "sams_vae": "cradle_baselines:sams_vae,test",
    "cpa_vae": "cradle_baselines:cpa_vae,test",
    "svae_plus": "cradle_baselines:svae_plus,test",
    "conditional_vae": "cradle_baselines:conditional_vae,test",
    "gears": "gears_norman:test",
    "cycseq": "cycseq_pretrain:test",
    "scgen": "scgen:test",
    "shrunken_additive": "baselines:test",
}
OPTIONS = (
    "cradle.clean:CleanOptions",
    "cradle.interpret_files:InterpretOptions",
    "cradle.paper.figures:FigureOptions",
    "cycseq.paper.figures:Options",
    "cycseq.paper.tables:Options",
    "gears.pairs_command:Options",
    "gears.paper.figures:Options",
    "gears.paper.leave_pairs_out:Options",
    "gears.paper.tables:Options",
)
NUMBERS = [
    *(True, False, None, "1", "", "x", "٣", "1e400", b"1", 1j, [1], (1,), [[1]], {}, {"a": 1}),
    *(math.nan, math.inf, -math.inf, -1, -0.5, 0, 0.5, 1, 1.5, 2, 10**12, 10**400, -(10**12)),
    *(1e-320, 1e308, 2**31, np.int64(3), np.float32(0.5), np.float64("nan"), np.bool_(True)),
    *(np.array([1]), np.array(1), "0x10", "١٢", "1_0", " "),
]
TEXTS = [
    *("", " ", "x" * 5_000, "x" * 100_000, "a\nb", "a\x00b", "\x1b[2J", "\ud800", "\x7f", "\x85"),
    *("é\u202e", "[1]", "a,b,,c", ",", "../../x", "~", "nan", "None", "=1", "$x$", "{}", "%s"),
    *(5, 1.5, True, None, math.nan, 10**400, ["a"], ["a", ["b"]], ["a", 5], {}, {"a": "b"}, b"a"),
    *(("a", "b\n"), ("a" * 5_000,), np.str_("a"), np.array(["a"])),
]
TRUTHS = [0, 1, 2, "True", "x", "", None, math.nan, [True], {}, np.bool_(True), "yes", True, False]
TYPED = {
    int: ["x", "", "1.5", "-1", "0", "1", "nan", "9" * 20, "[1]", "1,2", "True", " 2", "1e3", "٣"],
    float: ["x", "", "-1", "0", "nan", "inf", "1e400", "1e308", "1e-320", "[1]", "1,2", "٣", "1_0"],
    bool: ["x", "", "2", "-1", "nan", "[True]", "yes", "true", "0"],
    str: ["", " ", "nope", "[1]", "a,b,,c", ",", "x" * 5_000, "a\nb", "é\u202e", "\x7f", "{}", "~"],
    tuple: ["", "x", "1", "()", "(1,2.5)", "(0,)", "(-1,4)", "[16,8]", "('a',)", "nan", "((1,),)"],
}
"""As a person types them."""
LONGEST_MESSAGE = 700


class Case(NamedTuple):
    """A value for a key, on one road."""

    road: str
    key: Key
    value: Any
    allowed: bool | None
    """Whether it may be used; None where that hangs on other keys too."""
    read: Callable[[], Any]
    """Gives the settings with the value in them, or raises."""


def main(seconds: float, seed: int) -> dict[str, Any]:
    """Try cases in random order for so many seconds; the lists are of faults.

    cases (of so many), refused, keys: numbers. tracebacks: other errors than InputError. silent:
    values that were taken though no rule allows them. differences: refused though a rule allows
    them, or without key, value or range.
    """
    every = list(cases())
    random.Random(seed).shuffle(every)
    keys = {(case.key.owner, case.key.path) for case in every}
    result: dict[str, Any] = {"cases": 0, "refused": 0, "keys": len(keys)}
    result["of"] = len(every)
    faults: dict[str, list[str]] = {"tracebacks": [], "silent": [], "differences": []}
    end = time.monotonic() + seconds
    for case in every:
        if time.monotonic() > end:
            break
        fault, text = verdict(case)
        result["cases"] += 1
        result["refused"] += text is not None
        if fault:
            value = repr(case.value) if not is_huge(case.value) else "a huge number"
            faults[fault].append(f"{case.road} {case.key.path}={value[:60]}: {text}")
    return result | faults


def verdict(case: Case) -> tuple[str, str | None]:
    """The kind of fault, if it is one, and what the error said."""
    try:
        made = case.read()
        # What is taken goes into config.json, which knows no NaN.
        json.dumps(made, allow_nan=False)
    except InputError as error:
        if case.allowed:
            return "differences", f"refused for no reason: {error}"
        return ("" if is_clear(case, str(error)) else "differences"), str(error)
    except Exception as error:
        return "tracebacks", f"{type(error).__name__}: {error}"[:300]
    return ("silent" if case.allowed is False else ""), None


def is_clear(case: Case, text: str) -> bool:
    """Whether a message names the key and the value and says what was expected, in one line."""
    if not text.isprintable() or len(text) > LONGEST_MESSAGE or "expected" not in text:
        return False
    # What makes no screen together with other settings is told as the screen that it makes.
    if case.allowed is None:
        return True
    return case.key.name in text and any(shape in text for shape in shapes_of(case.value))


def shapes_of(value: Any) -> list[str]:
    """How a message may show a value: its beginning, that of a part, or the number that it is."""
    parts = value.split(",") if isinstance(value, str) else [value]
    if isinstance(value, list | tuple | dict) or getattr(value, "ndim", 0):
        parts += list(value)
    shapes = ["digits"] if is_huge(value) else []
    for part in parts:
        if not is_huge(part):
            shapes += [repr(part).strip("'\"")[:12], str(part)[:12]]
    try:
        shapes.append(str(float(value)))
    except (TypeError, ValueError, OverflowError):
        pass
    return shapes


def is_huge(value: Any) -> bool:
    """Whether a number is one whose digits Python does not write out."""
    return isinstance(value, int) and abs(value) > 10**100


def cases() -> Iterator[Case]:
    """Every case."""
    for model, name in CONFIGS.items():
        yield from cases_of_config(model, name)
    for preset in ("tiny", "lines_tiny", "doses_tiny"):
        yield from cases_of_simulator(preset)
    for home in OPTIONS:
        module, _, name = home.partition(":")
        options = getattr(importlib.import_module(f"jaxpert.models.{module}"), name)
        yield from cases_of_flags(options)


def cases_of_config(model: str, name: str) -> Iterator[Case]:
    file, _, variant = name.partition(":")
    raw = training.load_config(training.configs()[file], variant)
    for key in keys_of(raw, model):
        for value in values_of(key):
            read = functools.partial(from_file, raw, key, value)
            yield Case("file", key, value, allows(key, value), read)
            if key.path.startswith("model.kwargs."):
                # A call converts nothing, so that lists and numbers of NumPy may be refused.
                plain = type(value) in (bool, int, float) or (not key.many and type(value) is str)
                allowed = allows(key, value) if plain else None
                yield Case("call", key, value, allowed, functools.partial(from_call, key, value))
        for text in TYPED[tuple if isinstance(key.default, list) else type(key.default)]:
            argv = [f"--config={name}", f"--config.{key.path}={text}"]
            read = functools.partial(from_command, argv, model)
            yield Case("command", key, text, allows_typed(key, text), read)


def cases_of_simulator(preset: str) -> Iterator[Case]:
    for field, kind in settings.fields_of(type(PRESETS[preset])):
        key = Key(f"simulation.{field.name}", "Settings", field, kind, field.default)
        for value in values_of(key):
            # A number within its range may still make no screen beside the others.
            allowed = None if allows(key, value) else False
            read = functools.partial(from_simulator, preset, {key.name: value})
            yield Case("simulator", key, value, allowed, read)


def cases_of_flags(options: type) -> Iterator[Case]:
    for field, kind in settings.fields_of(options):
        key = Key(f"--{field.name}", options.__name__, field, kind, field.default)
        for value in values_of(key):
            read = functools.partial(from_flags, options, {key.name: value})
            yield Case("flags", key, value, allows(key, value), read)


def keys_of(raw: config.Config, model: str) -> Iterator[Key]:
    """Every key of a config."""
    flat = config.flatten(raw)
    for where, cls in (("", families.keys_of(model)), ("model.kwargs", settings_of(model))):
        yield from _keys_below(flat, model, where, cls)


def _keys_below(flat: dict[str, Any], model: str, where: str, cls: type) -> Iterator[Key]:
    for field, kind in settings.fields_of(cls):
        path = settings.path(where, field.name)
        if dataclasses.is_dataclass(kind):
            yield from _keys_below(flat, model, path, kind)
        elif field.metadata and path in flat and path != "model.name":
            yield Key(path, model, field, kind, flat[path])


def settings_of(model: str) -> type:
    return families.entry_of(model).settings


def values_of(key: Key) -> list[Any]:
    """Odd values; of numbers also those at the ends of what is allowed, and just beyond."""
    if key.kind is bool:
        return TRUTHS
    if key.is_text:
        return TEXTS
    if key.choices:
        return NUMBERS
    rule = rule_of(key)
    beside: list[Any] = []
    for end in (rule.low, min(rule.high, LARGEST)):
        beside += [end, end - 1, end + 1, int(end), end * (1 + 1e-6), end * (1 - 1e-6)]
    return [*NUMBERS, *beside]


def from_file(raw: config.Config, key: Key, value: Any) -> Any:
    """A config with a value in it, read as a run reads it."""
    changed = json.loads(json.dumps(raw))
    *sections, name = key.path.split(".")
    place = changed
    for section in sections:
        place = place[section]
    place[name] = value
    return _plain(changed, key.owner)


def from_command(argv: list[str], model: str) -> Any:
    """The same from a command line."""
    raw, _ = training.parse(argv)
    return _plain(raw, model)


def _plain(raw: config.Config, model: str) -> Any:
    checked = config.read(families.keys_of(model), families.entry_of(model), raw)
    kwargs = settings.plain(checked.model.kwargs)
    return [settings.plain(dataclasses.replace(checked, model=config.ModelKeys())), kwargs]


def from_call(key: Key, value: Any) -> Any:
    """As `build(spec, **settings)` checks them."""
    made = settings_of(key.owner)()
    # Past the constructor, whose types are checked in tests but not where users call it.
    object.__setattr__(made, key.name, value)
    settings.check(made, "model.kwargs")
    return settings.plain(made)


def from_simulator(preset: str, changes: dict[str, Any]) -> Any:
    return dataclasses.asdict(resolve(preset, changes))


def from_flags(options: type, changes: dict[str, Any]) -> Any:
    return settings.plain(settings.read(options, changes, settings.FLAGS))


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2])), indent=1))
