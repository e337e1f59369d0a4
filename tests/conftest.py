"""Settings for every test, inherited by the processes that tests start: compiling is most of the time, so compiled
programs are kept between processes and runs, and the compiler does not try hard: the older of XLA's two emitters of
fused loops takes half the time of the other.

Bits are only ever compared between programs compiled alike. A module whose programs run for long may set
`jax_disable_most_optimizations` to False for itself.
"""

import os
import pathlib

CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache/jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
FLAGS = os.environ.get("XLA_FLAGS", "")
if "xla_cpu_use_fusion_emitters" not in FLAGS:
    os.environ["XLA_FLAGS"] = f"{FLAGS} --xla_cpu_use_fusion_emitters=false".strip()
