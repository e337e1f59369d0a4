"""Lists as one text: commas, quotes, backslashes, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpert.core import settings


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ()),
        ("A", ("A",)),
        (" A, B ,,C,", ("A", "B", "C")),
        (r"2\,3-DCPE,B", ("2,3-DCPE", "B")),
        ('"2,3-DCPE", B', ("2,3-DCPE", "B")),
        ("'2,3-DCPE',B", ("2,3-DCPE", "B")),
        ("5-aza-2'-deoxycytidine,B", ("5-aza-2'-deoxycytidine", "B")),
        ("'5-aza,B", ("'5-aza", "B")),
        ('"a ""b""",c', ('a "b"', "c")),
        (r"a\b,c", (r"a\b", "c")),
    ],
)
def test_names(text, expected):
    assert settings.names(text) == expected


@given(st.lists(st.text("ab,\"'\\ 1", min_size=1).filter(str.strip), max_size=5))
def test_a_joined_list_is_read_back(values):
    assert settings.names(settings.joined(values)) == tuple(values)


def test_plain_names_are_joined_as_ever():
    assert settings.joined(("A", "B+C", "2'-x", 3)) == "A,B+C,2'-x,3"


def test_names_parted_by_their_own_comma():
    known = {"2,3-DCPE", "a, b", "B"}.__contains__
    assert settings.rejoined(("2", "3-DCPE"), known) == ("2,3-DCPE",)
    assert settings.rejoined(("B", "2", "3-DCPE", "a", "b", "x"), known) == (
        *("B", "2,3-DCPE", "a, b", "x"),
    )
    assert settings.rejoined((), known) == ()
