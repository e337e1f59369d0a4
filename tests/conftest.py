"""Settings for every test, inherited by the processes that tests start: compiling is most of the
time, so compiled programs are kept between processes and runs, and the compiler does not try hard.

Bits are only ever compared between programs compiled alike. A module whose programs run for long
may set `jax_disable_most_optimizations` to False for itself. Eight devices, of which most tests use
one, let programs for several run without a process of their own.

Traced programs stay alive in JAX's caches: millions of objects that every collection of garbage
would walk through, for a seventh of all time. So garbage is collected more rarely.
"""

import gc
import os

import numpy as np
import pytest

from support import error_sites, thorough
from support.compiler import quick_flags
from support.paths import ROOT, SHARED

CACHE = ROOT / ".cache/jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# Threads of OpenMP spin while they wait: two workers on two cores took 13 s for a t-SNE, not 0.7.
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(50_000, 20, 50)
for flag in (*quick_flags(), "--xla_force_host_platform_device_count=8"):
    if flag.split("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

if os.environ.get(error_sites.FOLDER):
    # Not above: what is imported before the session is configured has no checks of its shapes.
    from jaxpert.core.errors import InputError

    error_sites.record(os.environ[error_sites.FOLDER], InputError)
    # Processes that tests start import `sitecustomize` from there.
    recording = str(ROOT / "tests/support/recording")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [recording, os.environ.get("PYTHONPATH", "")])
    )


def pytest_collection_modifyitems(config, items):
    """Mark what `make test` leaves out."""
    names = [item.nodeid.removeprefix("tests/") for item in items]
    for name, item in zip(names, items, strict=True):
        if thorough.is_thorough(name):
            item.add_marker(pytest.mark.thorough)
    whole = config.args == config.getini("testpaths")
    if whole and (missing := thorough.unmatched(names)):
        raise pytest.UsageError(
            f"no test is named by {', '.join(missing)}: see support/thorough.py"
        )


@pytest.fixture
def screen():
    """Factory: labels (with repeats) -> AnnData with Poisson counts in X (float32 CSR)."""
    import anndata
    import pandas as pd
    from scipy import sparse

    def make(labels, genes=12, seed=0, **columns):
        rng = np.random.default_rng(seed)
        counts = sparse.csr_matrix(rng.poisson(1.5, (len(labels), genes)).astype(np.float32))
        obs = pd.DataFrame(
            {"condition": labels, **columns}, index=[f"cell{i}" for i in range(len(labels))]
        )
        var = pd.DataFrame(index=[f"G{j}" for j in range(genes)])
        return anndata.AnnData(counts, obs=obs, var=var)

    return make


@pytest.fixture
def unchecked_shapes():
    """No checks of shapes during the test, for what calls small functions by the ten thousand:
    there they take two thirds of the time, and find nothing that the first calls do not show."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def labels():
    """40 cells: control, two singles and their pair in both orders."""
    return ["ctrl"] * 12 + ["A+ctrl"] * 10 + ["ctrl+B"] * 8 + ["A+B"] * 7 + ["B+A"] * 3


@pytest.fixture(scope="session")
def real():
    """Name -> path of a real data file, or skip."""

    def find(name):
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"{path} is absent")
        return path

    return find


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """`run_of("cradle_norman:test", *flags)` -> a finished work directory, made once per session;
    copy it before you change it."""
    from support.runs import Runs

    base = tmp_path_factory.getbasetemp()
    # Workers of one session have folders beside each other.
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    return Runs(shared / "runs")
