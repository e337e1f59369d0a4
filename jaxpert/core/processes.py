"""Several processes of one run: how they find each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax

from jaxpert.core.errors import InputError

HEARTBEAT = 30
"""Seconds without a word after which one of several processes is taken for dead."""
LONGEST_EVALUATION = 86_400
"""Seconds that the other processes wait for the one that evaluates and writes."""
ADDRESS = "JAX_COORDINATOR_ADDRESS"
"""host:port of the first process, where a cluster does not tell it; JAX reads it too."""
LAUNCHERS = (
    ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("SLURM_NTASKS", "SLURM_PROCID"),
)
"""Where launchers say how many processes there are and which one this is. Both are taken of the
first that is there: what `mpirun` starts inside a Slurm job has Slurm's variables too, and all of
them the same."""


def join() -> None:
    """Join the other processes of this run, before any device is touched.

    JAX finds Slurm, Open MPI 4, Kubernetes and TPU pods by itself. Elsewhere `ADDRESS` and the two
    variables of one of `LAUNCHERS` say it. Raises InputError where nobody is found.
    """
    try:
        jax.distributed.initialize(
            **told(os.environ),
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=LONGEST_EVALUATION,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"train.multi_process is set but no other process was found ({error}), expected some: "
            "start the processes through Slurm, MPI, Kubernetes or a TPU pod, or leave it False"
        ) from error


def told(environment: Mapping[str, str]) -> dict[str, Any]:
    """Address, number of processes and number of this one where the environment has an address,
    else nothing, which leaves finding them to JAX."""
    address = environment.get(ADDRESS)
    if not address:
        return {}
    # A part that is missing is left to JAX, which knows more launchers.
    found: dict[str, Any] = {"coordinator_address": address}
    for launcher in LAUNCHERS:
        for name, variable in zip(("num_processes", "process_id"), launcher, strict=True):
            if environment.get(variable):
                found[name] = _whole(variable, environment[variable])
        if len(found) > 1:
            break
    return found


def _whole(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{variable} is {text!r}, expected a whole number: correct it")
    return int(text)
