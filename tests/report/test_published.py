"""Published numbers: the files that come with the package, damaged ones, and the table writer."""

import pytest

from jaxpert.core.types import InputError
from jaxpert.report.published import COLUMNS, markdown_table, read
from support.paths import ROOT

FORM = ("data", "multiplier", "metric", "mean", "sd")
HEADER = "data,multiplier,metric,mean,sd\n"


def written(folder, text):
    path = folder / "published.csv"
    path.write_text(text)
    return path


def test_text_numbers_and_what_is_missing(tmp_path):
    path = written(tmp_path, f"# made up\n\n{HEADER}\nnorman,3,mse,0.25,\nnorman,3,qcpr,1,0.5\n")
    assert read(path, FORM) == [
        {"data": "norman", "multiplier": 3, "metric": "mse", "mean": 0.25, "sd": None},
        {"data": "norman", "multiplier": 3, "metric": "qcpr", "mean": 1.0, "sd": 0.5},
    ]
    assert set(FORM) < set(COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none, expected data,multiplier"),
        ("a,b\n", "has the columns a,b, expected data,multiplier"),
        (HEADER + "norman,three,mse,1,0\n", "expected numbers for multiplier, mean, sd"),
        (HEADER + "norman,3,mse,,0\n", "expected numbers"),
        (HEADER + "norman,3,mse,nan,0\n", "'nan' is not finite"),
        (HEADER + "norman,3,mse,1\n", "a value for every column"),
        (HEADER + "norman,3,mse,1,0,0\n", "a value for every column"),
        (HEADER + 'norman,3,"mse,1,0\n', "cannot be read"),
        (HEADER + "norman,3,mse,1,0\nnorman,3,mse,2,0\n", "twice"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, text), FORM)


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "latin.csv").write_bytes(b"data\n\xe4\n")
    for name in ("absent.csv", "latin.csv"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read(tmp_path / name, ("data",))


def test_the_files_of_the_package_hold_known_columns_only():
    paths = sorted((ROOT / "jaxpert/models").glob("*/paper/published.csv"))
    assert len(paths) == 3
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        columns = lines[0].split(",")
        assert set(columns) <= set(COLUMNS)
        assert len(read(path, columns)) == len(lines) - 1


def test_a_markdown_table():
    assert markdown_table(["model", "MSE"], [["A|B", "0.1"], ["C", ""]]).splitlines() == [
        "| model | MSE |",
        "|---|---|",
        "| A\\|B | 0.1 |",
        "| C |  |",
    ]
