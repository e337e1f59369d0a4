"""Cells that a spreadsheet would run are quoted, and read back as they were; sheets are read as
spreadsheets write them."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from jaxpert.core.errors import InputError
from jaxpert.core.spreadsheets import (
    decimal_sign,
    number,
    quoted,
    read_sheet,
    rows_text,
    unquoted,
    write_table,
)

RUN = ['=HYPERLINK("x")', "+A", "-KLF1", "@SUM(1)", "\tx", "\rx", "=1+1", "-1+2", "'=x", "''@x"]
KEPT = ["KLF1", "(+)-JQ1", "5'-x", "'a", "", "-5", "+0.25", "-1e-05", "nan", "-inf", "a=b", " =x"]


@pytest.mark.parametrize("text", RUN)
def test_what_would_run_is_quoted_and_comes_back(text):
    assert quoted(text) == "'" + text and unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", KEPT)
def test_everything_else_stays(text):
    assert quoted(text) == text and unquoted(text) == text


@pytest.mark.parametrize("value", [-5, -0.5, None, np.float32(-1), True])
def test_numbers_stay(value):
    assert quoted(value) is value


def starts(text):
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    return {cell[0] for cell in cells if cell} & set("=+-@\t\r")


@pytest.fixture
def table_text(tmp_path):
    """Factory: what `write_table` writes."""

    def write(frame, **options):
        write_table(tmp_path / "table.csv", frame, **options)
        return (tmp_path / "table.csv").read_text()

    return write


def test_tables_are_safe_in_cells_headers_and_names_of_rows(table_text):
    frame = pd.DataFrame(
        {
            "=a": pd.Categorical(["@x", "y"]),
            "b": ["+A", None],
            "n": [-1.5, 2],
            "t": pd.array(["=1", pd.NA], dtype="string"),
        },
        index=pd.Index(["-r", "s"], name="=name"),
    )
    text = table_text(frame, note="how")
    assert text == "# how\n'=name,'=a,b,n,t\n'-r,'@x,'+A,-1.5,'=1\ns,y,,2.0,\n"
    both = frame.set_index("b", append=True)[["n"]]
    assert table_text(both).splitlines()[1] == "'-r,'+A,-1.5"
    twice = pd.DataFrame([["=a", "=b"]], columns=["x", "x"])
    assert table_text(twice, index=False) == "x,x\n'=a,'=b\n"
    assert table_text(pd.DataFrame({"a": []}), index=False) == "a\n"
    assert frame.index[0] == "-r", "the caller's table stays as it is"
    assert rows_text(["=h", "n"], [["@c", -1], [None, -0.5]]) == "'=h,n\n'@c,-1\n,-0.5\n"
    assert not starts(rows_text(RUN, [RUN]))


@pytest.mark.parametrize("text", ["x\ry", "x\r", "x\r\ny", "x\ny"])
def test_a_bare_return_stays_within_its_cell(text, tmp_path):
    """As the csv of Python 3.11 leaves it unquoted, where it would end the row."""
    both = pd.MultiIndex.from_tuples([("i", text), ("j", "k")])
    frames = [
        pd.DataFrame({"a": [text, "b"], "n": [1, 2]}),
        pd.DataFrame({text: ["b", "c"]}),
        pd.DataFrame({"a": ["b", "c"]}, index=[text, "i"]),
        pd.DataFrame({"a": ["b", "c"]}, index=pd.Index(["i", "j"], name=text)),
        pd.DataFrame({"a": ["b", "c"]}, index=both),
    ]
    for place, frame in enumerate(frames):
        write_table(tmp_path / "table.csv", frame, index=place > 1)
        with (tmp_path / "table.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) == 3 and len({len(row) for row in rows}) == 1
        assert text in [cell for row in rows for cell in row]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_blank_lines_and_the_line_of_excel(separator):
    rows = [["a", "b"], ["'=1", 'x "y"'], ["", ""], [f"p{separator}q", "z"]]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    sheet = read_sheet(f"sep={separator}\n{text.getvalue()}\n", "x.csv")
    assert sheet.header == ["a", "b"] and sheet.separator == separator
    assert sheet.rows == [(3, ["=1", 'x "y"']), (5, [f"p{separator}q", "z"])]


def test_an_open_quote_names_its_line():
    with pytest.raises(InputError, match="line 3 of x.csv cannot be read"):
        read_sheet('a,b\n1,2\n"3,4\n', "x.csv")
    assert read_sheet("", "x.csv").header == []


def test_decimal_commas():
    assert decimal_sign(["0,5", "1"], ";") == "," and decimal_sign(["0,5"], ",") == "."
    assert decimal_sign(["0.5"], ";") == "."
    assert number("0,5", ",") == 0.5 and number("1.000,5", ",") is None
    assert number("1e-3") == 1e-3 and number("0,5") is None
    assert number("1_0") is None and number("١") is None and number("0x1") is None
