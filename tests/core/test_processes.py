import pytest

from jaxpert.core import processes
from jaxpert.core.errors import InputError

HERE = {"JAX_COORDINATOR_ADDRESS": "first:1234"}


def test_a_launcher_says_how_many_and_which_beside_an_address():
    mine = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
    expected = {"coordinator_address": "first:1234", "num_processes": 4, "process_id": 3}
    assert processes.told(HERE | mine) == expected
    # The job in which `mpirun` was called has one number for all that it starts.
    job = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
    assert processes.told(HERE | job | mine) == expected
    assert processes.told(HERE | job) == expected | {"num_processes": 2, "process_id": 0}
    by_hand = {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    assert processes.told(HERE | mine | by_hand) == expected | {"num_processes": 2, "process_id": 0}


def test_without_an_address_jax_looks_for_itself():
    assert processes.told({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}) == {}


def test_a_number_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"JAX_PROCESS_ID is 'one', expected a whole number"):
        processes.told(HERE | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "one"})
