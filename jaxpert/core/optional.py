"""Packages that only some users need: an extra of jaxpert each, imported when first used."""

from __future__ import annotations

import importlib
from typing import Any

from jaxpert.core import caches
from jaxpert.core.types import InputError

EXTRAS = {"phate": "phate", "gseapy": "enrichment"}
"""Extra of jaxpert that installs each package."""


def package(name: str, purpose: str) -> Any:
    """The package, or an InputError that says how to install it for that purpose."""
    caches.ensure_writable()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The package is there but one that it needs is not: that message says more than ours.
        if error.name != name:
            raise
        raise InputError(
            f"the package {name} is not installed, expected it for {purpose}: run pip install "
            f"'jaxpert[{EXTRAS[name]}]'"
        ) from error
