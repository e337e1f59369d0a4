"""A small screen of lines, read and prepared once."""

import pytest

from jaxpert.tasks.translation.lines import load_lines
from jaxpert.tasks.translation.prepare import prepare
from support import line_rows
from support.line_screens import screen


@pytest.fixture(scope="session")
def dataset():
    return load_lines(screen())


@pytest.fixture(scope="session")
def prepared(dataset):
    return prepare(dataset, **line_rows.SMALL)
