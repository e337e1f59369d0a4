"""Train, evaluate and report one model.

python experiments/main.py --config=configs/cradle_norman.py --workdir=runs/norman

--config=FILE[:VARIANT]  a file in configs/ and one of its variants (full, demo, test; baselines:
MODEL,SCREEN) --workdir=FOLDER         where everything goes (default: runs/CONFIG_VARIANT); the
same command goes on from there --config.KEY=VALUE       override a key:
"""

import difflib
import os
import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jaxpert.app.flags import guarded, leave
from jaxpert.core.config import MEANINGS, help_text


def main(argv: list[str]) -> int:
    """Return the exit status: 0 for done (or stopped by a signal, saved), 1 for a diverged loss, 2
    for bad input."""
    if {"--help", "-h", "--helpfull"} & set(argv):
        print((__doc__ or "") + "\n" + help_text())
        return 0
    return guarded(lambda: train(argv))


def train(argv: list[str]) -> int:
    """Train, evaluate and report as the flags say."""
    config, workdir = parse(argv)
    from jaxpert.app import run

    return run.run(config, workdir)


def parse(argv: list[str]) -> tuple[dict, Path]:
    """Return the resolved config as a plain dict and the work directory; InputError says what is
    wrong."""
    from jaxpert.core.types import InputError

    given = next((a.split("=", 1)[1] for a in argv if a.startswith("--config=")), None)
    if given is None:
        raise InputError(
            "no --config was given, expected e.g. --config=configs/cradle_norman.py:demo"
        )
    path, _, variant = given.partition(":")
    if not os.path.isfile(path):
        raise InputError(
            f"there is no config file {path!r}, expected one such as configs/cradle_norman.py"
        )
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    default = f"runs/{Path(path).stem}_{variant.replace(',', '_') or 'full'}"
    workdir = flags.DEFINE_string("workdir", default, "", flag_values=values)
    try:
        rest = values(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(explain(error, argv)) from error
    if len(rest) > 1:
        raise InputError(f"{rest[1]!r} is not understood, expected --flag=value: see --help")
    return config.value.to_dict(), Path(workdir.value)


def explain(error: Exception, argv: list[str]) -> str:
    """One sentence for what the flags libraries say in several."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    own = re.search(r"(?:ValueError|TypeError): (?!.*(?:ValueError|TypeError): )(.*)", text)
    if "Traceback" in text:  # the config file itself raised
        return f"the config file says: {own[1] if own else text.rsplit(': ', 1)[-1]}"
    key = re.search(r"instead of \"(\w+)\"", text) or re.fullmatch(r"['\"]*(\w+)['\"]*", text)
    if isinstance(error, (AttributeError, KeyError)) and key:
        flag = next((a.split("=")[0] for a in argv if key[1] in a.split("=")[0]), key[1])
        close = difflib.get_close_matches(flag.removeprefix("--config."), MEANINGS, 1, 0)
        return (
            f"{flag} is no key of this config, expected one such as --config.{close[0]}: see "
            "--help for all"
        )
    return f"{text}: see --help for the flags and keys"


if __name__ == "__main__":
    leave(main(sys.argv))
