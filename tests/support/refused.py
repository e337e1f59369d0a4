"""What a call that is refused says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jaxpert.core.types import InputError


def told(call: Callable[[], object]) -> str:
    """The whole text of the InputError that a call ends in."""
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)
