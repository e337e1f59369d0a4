"""Settings as frozen dataclasses: every field says its default, its meaning and its range once.

Configs, `--help`, checks and the tables of the documentation are derived from them. Nothing here
imports JAX, since configs are read before it is.

Example:
    @dataclass(frozen=True)
    class Settings:
        width: int = setting(64, "width of the hidden layers", at_least=1)
        loss: str = setting("mse", "what is minimised", choices=("mse", "huber"))

    check(read(Settings, {"width": 32}, "model.kwargs"), "model.kwargs")
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxpert.core.errors import InputError

Bound = float | int | None


class Range(NamedTuple):
    """What a value may be, beside its type."""

    choices: tuple = ()
    """The only values, where there are any; of a tuple, of each of its members."""
    at_least: Bound = None
    above: Bound = None
    at_most: Bound = None
    below: Bound = None

    def text(self) -> str:
        """The range in words; empty for none."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        bounds = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        return " and ".join(f"{word} {b:g}" for word, b in bounds.items() if b is not None)

    def holds(self, value: Any) -> bool:
        """Whether a number lies within the bounds, or a text is one of the choices."""
        if self.choices:
            return value in self.choices
        # None says that the number is not given, and a text has no order.
        if isinstance(value, str) or value is None:
            return True
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


class Entry(NamedTuple):
    """One setting, as `--help` and the documentation show it."""

    key: str
    """Dotted path, such as "train.epochs"."""
    default: Any
    """As a config holds it."""
    meaning: str
    range: str


def setting(
    default: Any,
    meaning: str,
    *,
    choices: tuple = (),
    at_least: Bound = None,
    above: Bound = None,
    at_most: Bound = None,
    below: Bound = None,
    joined: bool = False,
    internal: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Args:
        default: its value where nothing is said.
        meaning: a phrase that `--help` shows.
        choices: the only values.
        at_least, above, at_most, below: bounds of a number. Numbers are finite in any case.
        joined: a config holds the tuple as one text, its members joined by commas.
        internal: for code alone; configs do not have it.
    """
    limits = Range(tuple(choices), at_least, above, at_most, below)
    metadata = {"meaning": meaning, "range": limits, "joined": joined, "internal": internal}
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """A field that is a settings dataclass itself."""
    return dataclasses.field(default_factory=cls)


@functools.cache
def types_of(cls: Any) -> dict[str, Any]:
    """The types of the fields, resolved from their texts."""
    # Postponed annotations are texts, and resolving them anew each time is slow.
    return typing.get_type_hints(cls)


def fields_of(cls: Any) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields that configs have, with their types."""
    for field in dataclasses.fields(cls):
        if not field.metadata.get("internal"):
            yield field, types_of(cls)[field.name]


def plain(settings: Any) -> dict[str, Any]:
    """Settings as a config holds them: nested dicts, with texts for joined tuples."""
    values: dict[str, Any] = {}
    for field, kind in fields_of(type(settings)):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(kind):
            value = plain(value)
        elif field.metadata.get("joined"):
            value = ",".join(map(str, value))
        values[field.name] = value
    return values


def arguments(settings: Any) -> dict[str, Any]:
    """Settings as the keyword arguments of a function that takes them one by one."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def read(cls: Any, values: Mapping[str, Any], where: str = "") -> Any:
    """The dataclass that a config's values stand for, checked.

    Args:
        cls: a settings dataclass.
        values: of a config's section; it may leave settings out.
        where: dotted path of the section, for messages.

    Raises:
        InputError: for an unknown name, a value of another type or one out of its range.
    """
    known = {field.name: (field, kind) for field, kind in fields_of(cls)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        # A misspelt name must not leave its default in place without a word.
        if name not in known:
            raise InputError(_unknown(path(where, name), [path(where, key) for key in known]))
        field, kind = known[name]
        if dataclasses.is_dataclass(kind):
            given[name] = read(kind, value, path(where, name))
        else:
            given[name] = _converted(field, kind, value, path(where, name))
    settings = cls(**given)
    # The whole instance, so that defaults are held to their ranges too.
    check(settings, where)
    return settings


def check(settings: Any, where: str = "") -> None:
    """Raise InputError for a value of another type than its field's, or out of its range."""
    for field in dataclasses.fields(settings):
        kind, value = types_of(type(settings))[field.name], getattr(settings, field.name)
        if dataclasses.is_dataclass(kind):
            check(value, path(where, field.name))
        elif field.metadata:
            _check_value(field, kind, value, path(where, field.name))


def entries(cls: Any, where: str = "") -> list[Entry]:
    """Every setting with its key, default, meaning and range, in order."""
    listed: list[Entry] = []
    defaults = plain(cls())
    for field, kind in fields_of(cls):
        key = path(where, field.name)
        if dataclasses.is_dataclass(kind):
            listed += entries(kind, key)
        elif field.metadata:
            text = field.metadata["range"].text()
            listed.append(Entry(key, defaults[field.name], field.metadata["meaning"], text))
    return listed


def names(text: str) -> tuple[str, ...]:
    """The names that a text joins by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def path(where: str, name: str) -> str:
    """The dotted path of a setting in a section."""
    return f"{where}.{name}" if where else name


def _converted(field: dataclasses.Field, kind: Any, value: Any, key: str) -> Any:
    """A config's value in the form of the field: texts and lists as tuples, whole numbers as
    floats where any number is meant."""
    if field.metadata["joined"] and isinstance(value, str):
        return _members(kind, value, key)
    # JSON has no tuples: a config that is read back holds lists.
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(value)
    # Users write 1 for 1.0; True is an int to Python but no number to us.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _members(kind: Any, text: str, key: str) -> tuple:
    """The members of a joined tuple."""
    member = typing.get_args(kind)[0]
    try:
        return tuple(member(name) for name in names(text))
    except ValueError as error:
        what = {int: "whole numbers", float: "numbers"}.get(member, "names")
        raise InputError(
            f"{key} is {text!r}, expected {what} joined by commas: correct it"
        ) from error


def _check_value(field: dataclasses.Field, kind: Any, value: Any, key: str) -> None:
    limits: Range = field.metadata["range"]
    members = value if isinstance(value, tuple) else (value,)
    # The type comes first: a text has no order to compare by.
    if not _fits(kind, value) or not all(map(limits.holds, members)):
        raise InputError(f"{key} is {value!r}, expected {_expected(kind, limits)}: correct it")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a field's type; numbers are finite, and truth values are no numbers."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(members[0], member) for member in value)
    if members and origin not in (dict, Mapping):  # X | None
        return any(_fits(member, value) for member in members)
    if kind is Any or origin is not None:
        return True
    # Before int, of which bool is a subclass.
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        allowed = int if kind is int else (int, float)
        return isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}


def _expected(kind: Any, limits: Range) -> str:
    """What a value of a field has to be, in words."""
    if limits.choices:
        return limits.text()
    if typing.get_origin(kind) is tuple:
        what = {int: "whole numbers", float: "numbers"}.get(typing.get_args(kind)[0], "names")
        what = f"{what} in a tuple"
    else:
        what = WORDS.get(kind, str(kind).replace("NoneType", "None"))
    return f"{what}, {limits.text()}" if limits.text() else what


def _unknown(key: str, known: list[str]) -> str:
    """A message for a setting that does not exist, with the closest one that does."""
    # Cutoff 0: the nearest name is a better hint than none, however far.
    close = difflib.get_close_matches(key, known, 1, 0)
    hint = f"expected one such as {close[0]}" if close else "expected none here"
    return f"{key} is no setting of this run, {hint}: see --help for all"
