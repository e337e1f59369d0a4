"""Settings for every test: compiled programs are kept between processes and runs, since compiling is most of the
time."""

import os
import pathlib

CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache/jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
