"""Compiled programs are kept for the next command."""

import os
import subprocess
import sys

import pytest

from jaxpert.core import kept_programs as programs
from support.paths import ROOT

SCRIPT = """
from jaxpert.core import kept_programs as programs

programs.LEAST_SECONDS = 0
programs.keep()
import jax

jax.jit(lambda x: jax.numpy.sin(x) @ x.T)(jax.numpy.ones((7, 3))).block_until_ready()
"""


@pytest.fixture
def clean(monkeypatch, tmp_path):
    for name in (programs.FOLDER, programs.BYTES, programs.SECONDS, programs.SWITCH):
        # Set first, so that what the code sets is taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_programs_are_kept_in_the_users_cache_and_bounded(clean):
    folder = programs.keep()
    assert folder is not None and folder.is_relative_to(clean / "jaxpert" / "programs")
    assert os.environ[programs.FOLDER] == str(folder)
    assert int(os.environ[programs.BYTES]) == programs.MOST_BYTES


def test_a_place_of_the_users_own_and_the_switch_are_kept(clean, monkeypatch):
    monkeypatch.setenv(programs.SWITCH, "off")
    assert programs.keep() is None and programs.FOLDER not in os.environ
    monkeypatch.delenv(programs.SWITCH)
    monkeypatch.setenv(programs.FOLDER, "elsewhere")
    assert programs.keep() is None and os.environ[programs.FOLDER] == "elsewhere"


def test_nothing_is_kept_where_nothing_can_be_written(clean, monkeypatch):
    monkeypatch.setattr(programs, "writable", lambda _: False)
    assert programs.keep() is None and programs.FOLDER not in os.environ


def test_another_version_or_kind_of_machine_has_programs_of_its_own(clean, monkeypatch):
    before = programs.keep()
    monkeypatch.delenv(programs.FOLDER)
    programs._machine.cache_clear()
    monkeypatch.setattr(programs.importlib.metadata, "version", lambda _: "0.0")
    try:
        assert programs.keep() != before
    finally:
        programs._machine.cache_clear()


def test_a_second_process_finds_the_programs_of_the_first(clean):
    def kept():
        subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, env=dict(os.environ))
        return sorted(path.name for path in clean.rglob("*-cache"))

    first = kept()
    assert first and kept() == first
