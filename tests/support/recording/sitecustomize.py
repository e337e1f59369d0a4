"""Python imports this first in every process that a recorded test session starts: those processes
record too (tests/support/error_sites.py)."""

import importlib.abc
import importlib.util
import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[2]
ERRORS = "jaxpert.core.errors"


class Recorder(importlib.abc.MetaPathFinder):
    """Begins to record when the package imports its error, and imports nothing before."""

    def find_spec(self, name, path=None, target=None):
        if name != ERRORS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            sys.path.insert(0, str(TESTS))
            from support.error_sites import record

            sys.path.remove(str(TESTS))
            record(os.environ["JAXPERT_ERRORS"], module.InputError)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("JAXPERT_ERRORS"):
    sys.meta_path.insert(0, Recorder())
