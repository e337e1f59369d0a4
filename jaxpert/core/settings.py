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
import numbers
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxpert.core.errors import InputError
from jaxpert.core.paths import is_there
from jaxpert.core.ranges import (
    LONGEST,
    LONGEST_LIST,
    MEMBERS,
    SHOWN,
    Bound,
    Range,
    brief,
    expected,
    fits,
    implied,
    is_finite,
    is_plain,
    number,
)

FLAGS = "--"
"""Stands for the section of settings that are flags of a command."""
MEMBER = re.compile(
    r"""\s*"((?:[^"]|"")*)"\s*(?=,|\Z)|\s*'((?:[^']|'')*)'\s*(?=,|\Z)|((?:\\,|[^,])*)""", re.DOTALL
)
"""A member of a joined list: in double quotes, in single ones, or bare up to the next comma."""


class Entry(NamedTuple):
    """One setting, as `--help` and the documentation show it."""

    key: str
    """Dotted path, such as "train.epochs"."""
    default: Any
    """As a config holds it."""
    meaning: str
    range: str
    expected: str
    """Its type and range, in words."""


def setting(
    default: Any,
    meaning: str,
    *,
    choices: tuple = (),
    at_least: Bound = None,
    above: Bound = None,
    at_most: Bound = None,
    below: Bound = None,
    filled: bool = False,
    longest: int = LONGEST,
    joined: bool = False,
    internal: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Args:
        default: its value where nothing is said.
        meaning: a phrase that `--help` shows.
        choices: the only values.
        at_least, above, at_most, below: bounds of a number; in any case numbers are finite in
            float32, and whole ones hold 32 bits.
        filled: a text may not be empty, nor blank; a tuple has members.
        longest: characters of a text; in any case none of them controls a terminal.
        joined: a config holds the tuple as one text, its members joined by commas.
        internal: for code alone; configs do not have it.
    """
    limits = Range(tuple(choices), at_least, above, at_most, below, filled, longest)
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
            value = joined(value)
        values[field.name] = value
    return values


def arguments(settings: Any) -> dict[str, Any]:
    """Settings as the keyword arguments of a function that takes them one by one."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def read(cls: Any, values: Any, where: str = "") -> Any:
    """The dataclass that a config's values stand for, checked.

    Args:
        cls: a settings dataclass.
        values: of a config's section; it may leave settings out.
        where: dotted path of the section, for messages.

    Raises:
        InputError: for an unknown name, a value of another type or one out of its range.
    """
    return changed(cls(), values, where)


def changed(settings: Any, values: Any, where: str = "") -> Any:
    """Settings with a config's values in place of some of them, checked as in `read`."""
    if not isinstance(values, Mapping):
        raise InputError(
            f"{where or 'the config'} is {brief(values)}, expected a section of settings: see "
            "--help for all"
        )
    known = {field.name: (field, kind) for field, kind in fields_of(type(settings))}
    given: dict[str, Any] = {}
    for name, value in values.items():
        key = path(where, name)
        # A misspelt name must not leave its default in place without a word.
        if name not in known:
            nearest = _nearest(key, [path(where, other) for other in known])
            raise InputError(
                f"{key[:SHOWN]} is no setting of this run, expected {nearest}: see --help for all"
            )
        field, kind = known[name]
        if dataclasses.is_dataclass(kind):
            given[name] = changed(getattr(settings, name), value, key)
        else:
            given[name] = _converted(field, kind, value, key)
            # Before they are taken over, so that no settings with wrong values ever exist.
            _check_value(field, kind, given[name], key)
    return dataclasses.replace(settings, **given)


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
            limits: Range = field.metadata["range"]
            default, meaning = defaults[field.name], field.metadata["meaning"]
            listed.append(Entry(key, default, meaning, limits.text(), expected(kind, limits)))
    return listed


def names(text: str) -> tuple[str, ...]:
    """The names that a text joins by commas, as `members` reads them, without empty ones."""
    return tuple(filter(None, members(text)))


def members(text: str) -> tuple[str, ...]:
    """What stands between the commas of a text.

    A comma that is part of a name is written `\\,`, or the name stands in quotes (`"2,3-DCPE"`, a
    quote within them twice). Quotes within a name, as in `2'-deoxy`, mean themselves.
    """
    parts: list[str] = []
    at = 0
    while at <= len(text):
        member = MEMBER.match(text, at)
        assert member is not None  # the expression matches the empty text too
        double, single, bare = member.groups()
        if double is not None:
            parts.append(double.replace('""', '"'))
        elif single is not None:
            parts.append(single.replace("''", "'"))
        else:
            parts.append(bare.replace("\\,", ",").strip())
        # Behind the comma, or behind the end.
        at = member.end() + 1
    return tuple(parts)


def joined(values: Iterable[Any]) -> str:
    """The text that `names` reads as these values."""
    return ",".join(_quoted(str(value)) for value in values)


def rejoined(parts: Sequence[str], known: Callable[[str], bool]) -> tuple[str, ...]:
    """Names of a list, with those put together again that a comma of their own parted.

    `known` says which texts are names. The whole text is tried first, then ever shorter stretches,
    so that `2,3-DCPE` needs no quotes where there is something of that name.
    """
    whole: list[str] = []
    at = 0
    while at < len(parts):
        name, at = _longest(parts, at, known)
        whole.append(name)
    return tuple(whole)


def paths_of(parts: Sequence[str], text: str = "") -> tuple[str, ...]:
    """Paths of a joined list, those with a comma of their own put together again.

    `text` is the list as it was before: one path, where there is such a file.
    """
    # As it stands, since blanks around commas are lost when it is divided.
    return (text,) if text and _is_path(text) else rejoined(parts, _is_path)


def _is_path(text: str) -> bool:
    """Whether there is such a file, or one behind the name in `name=file`."""
    named = text.partition("=")[2]
    return is_there(text) or (bool(named) and is_there(named))


def _longest(parts: Sequence[str], at: int, known: Callable[[str], bool]) -> tuple[str, int]:
    """The longest name that begins with a part, and the place behind it; the part alone where no
    stretch is known."""
    for end in range(len(parts), at + 1, -1):
        # Blanks behind the commas were stripped, so both ways to write them are tried.
        for comma in (",", ", "):
            if known(comma.join(parts[at:end])):
                return comma.join(parts[at:end]), end
    return parts[at], at + 1


def _quoted(name: str) -> str:
    """A name as a member of a list; in quotes where it would be read as something else."""
    # With a comma behind it, before which a backslash at its end would mean something else. A
    # quote in front may find its end in a later member.
    if members(f"{name},") == (name, "") and not name.startswith(('"', "'")):
        return name
    return '"' + name.replace('"', '""') + '"'


def path(where: str, name: str) -> str:
    """The dotted path of a setting in a section, or the flag of that name."""
    if where in ("", FLAGS):
        return where + name
    return f"{where}.{name}"


def _converted(field: dataclasses.Field, kind: Any, value: Any, key: str) -> Any:
    """A config's value in the form of the field: texts and lists as tuples, whole numbers as
    floats where any number is meant."""
    if field.metadata["joined"] and isinstance(value, str):
        return _members(kind, value, key)
    # JSON has no tuples: a config that is read back holds lists.
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(value)
    # Users write 1 for 1.0, and numbers of NumPy; True is an int to Python but no number to us.
    if isinstance(value, bool):
        return value
    if kind is int and isinstance(value, numbers.Integral):
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and is_finite(value):
        return float(value)
    return value


def _members(kind: Any, text: str, key: str) -> tuple:
    """The members of a joined tuple."""
    member = typing.get_args(kind)[0]
    try:
        # A list may be longer than each of its members.
        if not is_plain(text, LONGEST_LIST):
            raise ValueError(text)
        return tuple(name if member is str else number(member, name) for name in names(text))
    except ValueError as error:
        raise InputError(
            f"{key} is {brief(text)}, expected {MEMBERS.get(member, 'names')} joined by commas: "
            "correct it"
        ) from error


def _check_value(field: dataclasses.Field, kind: Any, value: Any, key: str) -> None:
    limits: Range = field.metadata["range"]
    members = value if isinstance(value, tuple) else (value,)
    # The type comes first: a text has no order to compare by.
    if fits(kind, value) and all(map(limits.holds, members)) and (members or not limits.filled):
        return
    words = expected(kind, limits)
    # Of a tuple the type of its members, of `X | None` the first one.
    scalar = (*typing.get_args(kind), kind)[0]
    for member in members:
        words += implied(scalar, member, limits)
    raise InputError(f"{key} is {brief(value)}, expected {words}: correct it")


def _nearest(key: str, known: list[str]) -> str:
    """Words for the settings that somebody may have meant."""
    # Cutoff 0: the nearest name is a better hint than none, however far.
    close = difflib.get_close_matches(key[:SHOWN], known, 1, 0)
    return f"one such as {close[0]}" if close else "none here"
