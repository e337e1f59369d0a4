"""`jaxpert train`: from the command line to a config and a work directory."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
import runpy
from collections.abc import Sequence
from pathlib import Path

from jaxpert.app import families
from jaxpert.core.config import Config, flatten, listed
from jaxpert.core.errors import InputError
from jaxpert.core.paths import path_of
from jaxpert.core.ranges import brief
from jaxpert.core.settings import Entry

INSTALLED = ("share", "jaxpert", "configs")
"""End of the folder that an installation puts the configs in."""
HELP = """Train, evaluate and report one model.

  jaxpert train --config=cradle_norman:demo --workdir=runs/demo

--config=NAME[:VARIANT]  a config of the project by its name, or a file of your own, and one of its
                         variants (full, demo, test; baselines: MODEL,SCREEN)
--workdir=FOLDER         where everything goes (default: runs/NAME_VARIANT); the same command goes
                         on from there
--config.KEY=VALUE       override a key
"""
LONGEST_SAID = 300
"""Characters of what the flags libraries say that are repeated."""


def train(arguments: Sequence[str]) -> int:
    """Train, evaluate and report as the flags say."""
    config, folder = parse(arguments)
    # Imported when the flags are understood: a mistyped one must not wait for JAX.
    from jaxpert.app import run

    return run.run(config, folder)


def parse(arguments: Sequence[str]) -> tuple[Config, Path]:
    """The resolved config and the work directory; InputError says what is wrong."""
    from absl import flags
    from ml_collections import config_flags

    path, variant = config_file(arguments)
    # Loaded once before the flags library does, which buries what a config file says.
    loaded = load_config(path, variant)
    chosen = f"--config={path}" + (f":{variant}" if variant else "")
    # The flags library sees a path in place of the name, and wants it before any key.
    others = [argument for argument in arguments if not argument.startswith("--config=")]
    argv = ["jaxpert", chosen, *others]
    # Values of their own, so that nothing of an earlier call is left.
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    # A variant of baselines holds a comma, which is no part of a folder's name.
    default = f"runs/{path.stem}_{variant.replace(',', '_') or 'full'}"
    workdir = flags.DEFINE_string("workdir", default, "", flag_values=values)
    try:
        rest = values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise explained(error, argv, known_keys(loaded)) from error
    # The file is the user's and may raise anything; values nested too deeply end in other errors.
    except Exception as error:
        raise InputError(
            f"{path} with these flags ends in {type(error).__name__} ({error}), expected a config "
            "and values of its keys: correct whichever is wrong"
        ) from error
    if len(rest) > 1:
        raise InputError(f"{brief(rest[1])} is not understood, expected --flag=value: see --help")
    if not hasattr(config.value, "to_dict"):
        raise InputError(
            f"{path} gives a {type(config.value).__name__}, expected a ConfigDict from its "
            "get_config: see the files in configs/"
        )
    if not str(workdir.value).strip():
        raise InputError("--workdir is empty, expected a folder: name one, or leave the flag out")
    resolved: Config = config.value.to_dict()
    _check_digits(argv, resolved)
    return resolved, path_of(str(workdir.value))


def _check_digits(argv: Sequence[str], config: Config) -> None:
    """Refuse numbers in digits that look like others: the flags library reads those of every
    script."""
    values = flatten(config)
    for argument in argv:
        flag, _, text = argument.partition("=")
        key = flag.removeprefix("--config.")
        # Python's own way to write 1_000 is as easily a slip of the hand.
        strange = not text.isascii() or "_" in text
        if strange and not isinstance(values.get(key, text), str):
            raise InputError(
                f"{key} is {brief(text)}, expected a number in the digits 0 to 9: type it anew"
            )


def help_text(arguments: Sequence[str]) -> str:
    """How to train, and the keys of the config that was named, if one was."""
    if not any(argument.startswith("--config=") for argument in arguments):
        # Without a config there are no keys to list.
        names = ", ".join(sorted(configs()))
        return f"{HELP}\nConfigs: {names}.\nWith --config=NAME --help: the keys of that config."
    path, variant = config_file(arguments)
    model = load_config(path, variant)["model"]["name"]
    lines = [HELP, f"Keys of {path.stem} ({model}), with their defaults in full:"]
    section = ""
    for key in listed(families.keys_of(model), families.entry_of(model)):
        group = key.key.rpartition(".")[0]
        if group != section:
            lines.append(f"\n{group or 'the run'}")
            section = group
        limits = f" [{key.range}]" if key.range else ""
        lines.append(f"  --config.{key.key}={key.default}\n      {key.meaning}{limits}")
    return "\n".join(lines)


def config_file(arguments: Sequence[str]) -> tuple[Path, str]:
    """The file and the variant that `--config` names."""
    given = [a.split("=", 1)[1] for a in arguments if a.startswith("--config=")]
    if not given:
        raise InputError(
            "no --config was given, expected e.g. --config=cradle_norman:demo: see --help for all"
        )
    if len(given) > 1:
        raise InputError(
            f"--config was given {len(given)} times ({', '.join(given)}), expected one: leave the "
            "others out"
        )
    name, _, variant = given[0].partition(":")
    path = path_of(name)
    if path.is_file():
        return path, variant
    known = configs()
    # A bare name, or one in the folder of configs, is one of the project's.
    if path.stem in known and path.suffix in ("", ".py") and str(path.parent) in (".", "configs"):
        return known[path.stem], variant
    close = difflib.get_close_matches(path.stem, known, n=1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(
        f"there is no config file {name!r}{meant}, expected a file or one of "
        f"{', '.join(sorted(known))}: check its path"
    )


def configs() -> dict[str, Path]:
    """The project's configs by name: those of the checkout, else those that were installed."""
    checkout = Path(__file__).resolve().parents[2] / "configs"
    # A checkout comes first, so that an edited config is the one that runs.
    if checkout.is_dir():
        return {path.stem: path for path in checkout.glob("*.py")}
    installed = importlib.metadata.files("jaxpert") or ()
    paths = [Path(str(file.locate())).resolve() for file in installed if file.suffix == ".py"]
    return {path.stem: path for path in paths if path.parent.parts[-3:] == INSTALLED}


def load_config(path: Path, variant: str) -> Config:
    """What a config file gives for a variant; InputError says what it refuses."""
    try:
        get_config = runpy.run_path(str(path))["get_config"]
        return (get_config(variant) if variant else get_config()).to_dict()
    except Exception as error:  # the config file is the user's: it may raise anything
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        raise InputError(
            f"the config file says: {' '.join(said.split())} (expected a function "
            f"get_config(variant) that returns a ConfigDict: see configs/ for some)"
        ) from error


def known_keys(config: Config) -> list[Entry]:
    """Keys of a config, for finding the closest one to a mistyped one and for saying what a value
    has to be; none where its model is unknown."""
    try:
        model = config["model"]["name"]
        return listed(families.keys_of(model), families.entry_of(model))
    # Hints are a courtesy: their failure must not hide the first error.
    except (KeyError, TypeError, InputError):
        return []


def explained(error: Exception, argv: Sequence[str], known: Sequence[Entry]) -> InputError:
    """One sentence for what the flags libraries say in several."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    # A value that is none of its key's type: the library says so in Python's words.
    value = re.match(r"flag --config\.([\w.]+)=(.*?): ", text)
    of_key = [entry for entry in known if value is not None and entry.key == value[1]]
    if value is not None and of_key:
        return InputError(
            f"{value[1]} is {brief(value[2])}, expected {of_key[0].expected}: correct it"
        )
    key = re.search(r"instead of \"(\w+)\"", text) or re.fullmatch(r"['\"]*(\w+)['\"]*", text)
    if isinstance(error, (AttributeError, KeyError)) and key:
        return _unknown_key(key[1], argv, [entry.key for entry in known])
    # The library repeats a value, however long it is.
    said = text if len(text) <= LONGEST_SAID else f"{text[:LONGEST_SAID]} ..."
    return InputError(
        f"the flags are wrong ({said}), expected those of this config: see --help for all"
    )


def _unknown_key(name: str, argv: Sequence[str], known: Sequence[str]) -> InputError:
    """For a key that the config does not have, with the closest one that it has."""
    flags = [flag for flag in (a.split("=")[0] for a in argv) if name in flag]
    flag = flags[0] if flags else name
    # With a cut-off of 0 the closest key is named, however far it is.
    close = difflib.get_close_matches(flag.removeprefix("--config."), known, 1, 0)
    nearest = f"one such as --config.{close[0]}" if close else "one of its own"
    return InputError(f"{flag} is no key of this config, expected {nearest}: see --help for all")
