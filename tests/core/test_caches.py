"""Libraries cache in a temporary folder where their own cannot be written."""

import os
import pathlib
import subprocess
import sys

import pytest

from support.paths import ROOT

SCRIPT = """
import os, pathlib, tempfile
from jaxpert.core import caches

real = caches.writable
# The environment of the test can be written, so it is taken for read-only.
caches.writable = lambda folder: "site-packages" not in str(folder) and real(folder)
caches.ensure_writable()
print(os.environ.get("NUMBA_CACHE_DIR", "unset"), os.environ.get("MPLCONFIGDIR", "unset"))
"""


def folders(**environment: str) -> list[str]:
    """What a process with such an environment sets; it ends, and its folders with it."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NUMBA", "MPL", "XDG"))
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout.split()


def test_a_home_that_cannot_be_written(tmp_path):
    numba, matplotlib = folders(HOME="/proc/nohome", TMPDIR=str(tmp_path))
    assert numba == matplotlib and pathlib.Path(numba).parent == tmp_path
    assert not list(tmp_path.iterdir()), "the folder goes with its process"


def test_a_home_that_can_be_written_and_words_of_the_user(tmp_path):
    assert folders(HOME=str(tmp_path)) == ["unset", "unset"]
    given = {"NUMBA_CACHE_DIR": str(tmp_path / "mine"), "MPLCONFIGDIR": str(tmp_path / "too")}
    assert folders(HOME="/proc/nohome", **given) == list(given.values())


def test_words_of_the_user_that_name_no_folder_to_write_in(tmp_path):
    given = {"NUMBA_CACHE_DIR": "/proc/mine", "MPLCONFIGDIR": "/proc/too"}
    numba, matplotlib = folders(HOME=str(tmp_path), TMPDIR=str(tmp_path), **given)
    assert numba == matplotlib and pathlib.Path(numba).parent == tmp_path


FAILING = """
import sys
from jaxpert.app import door
from jaxpert.core import caches

caches.writable = lambda folder: False
if sys.argv[1] == "without":
    caches.tempfile.mkdtemp = lambda **_: (_ for _ in ()).throw(FileNotFoundError("no folder"))

def work():
    from jaxpert.core.errors import InputError

    try:
        caches.ensure_writable()
    except InputError as error:
        print(error)
    return 2

door.enter(work)
"""


@pytest.mark.parametrize("temporary", ["with", "without"])
def test_a_command_that_fails_leaves_no_folder(temporary, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FAILING, temporary],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2 and not done.stderr and not list(tmp_path.iterdir())
    # Numba and matplotlib cannot do without one.
    assert ("set TMPDIR to one" in done.stdout) == (temporary == "without")


UMAP = """
from numba.core import caching
from jaxpert.core import caches

def refuse(self):
    raise OSError("read-only file system")

# Beside the sources and in the home folder nothing can be written.
for name in ("InTreeCacheLocator", "UserWideCacheLocator"):
    # Older versions of Numba call them with an underscore.
    locator = getattr(caching, name, None) or getattr(caching, "_" + name)
    locator.ensure_cache_path = refuse
caches.writable = lambda folder: False
if not {ensure}:
    caches.ensure_writable = lambda: None
import importlib.util, pathlib, sys, types
import numpy as np
from jaxpert.report import plots

class UMAP:
    def __init__(self, **options):
        pass

    def fit_transform(self, latent):
        from numba import config
        from umap import layouts

        # The first function that UMAP caches.
        assert layouts.rdist(latent[0], latent[1]) > 0
        assert list(pathlib.Path(config.CACHE_DIR).rglob("*rdist*.nbc"))
        return latent[:, :2]

# The package without its first file, which compiles the whole for half a minute.
package = types.ModuleType("umap")
package.__path__ = importlib.util.find_spec("umap").submodule_search_locations
package.UMAP = UMAP
sys.modules["umap"] = package
latent = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
print(plots.umap_embedding(latent, 0).shape)
"""


@pytest.mark.parametrize("ensure", [True, False])
def test_umap_with_nothing_to_write_but_the_temporary_folder(ensure):
    environment = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
    done = subprocess.run(
        [sys.executable, "-c", UMAP.format(ensure=ensure)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ("(60, 2)" in done.stdout) == ensure, done.stderr[-1000:]
    assert ("cannot cache function 'rdist'" in done.stderr) != ensure
