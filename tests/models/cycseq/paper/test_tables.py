"""Published numbers of the tables: all of them read, one row for every method, and bad files."""

import pytest

from jaxpert.core.types import InputError
from jaxpert.models.cycseq.paper import tables
from support.paths import ROOT

PUBLISHED = ROOT / "jaxpert/models/cycseq/paper/published.csv"


def test_every_method_of_a_table_has_one_row():
    printed = tables.read_published(PUBLISHED)
    lines = tables.published_rows(printed, "1")
    # Five cell lines: both directions of the paper's model, one number of each rival.
    assert len(lines) == 5 * 2 + 5 + 5
    methods = {tuple(row[1:4]): row[4:] for row in lines}
    assert methods["n2p", "NALM6", "cycseq"] == ["0.909", "", "0.022", "0.001", "", ""]
    assert methods["-", "K562", "scgen"] == ["0.723", "", "0.158", "0.042", "", ""]
    missing = [key for key, row in methods.items() if "" in (row[0], row[2], row[3])]
    assert not missing
    assert {row[0] for row in lines} == {"CycSeq, Table 1"}
    assert len(tables.published_rows(printed, "2")) == 5


def test_directions_are_checked(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(",".join(tables.COLUMNS) + "\n1,p3n,K562,cycseq,r2,0.8,\n")
    with pytest.raises(InputError, match="the direction 'p3n', expected n2p, p2n, dose or nothing"):
        tables.read_published(path)
