"""GMT files, and the choice of pathways for perturbed genes."""

import gzip

import pytest

from jaxpert.core.types import InputError
from jaxpert.data.genesets import pathways_of, read_gmt

TEXT = "BIG\thttp://x\tA\tB\tC\n\nSMALL\t\tA\tB\t\nBIG\t\tD\n"


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())])
def test_plain_and_gzipped(tmp_path, pack):
    path = tmp_path / "sets.gmt"
    path.write_bytes(pack(TEXT))
    assert read_gmt(path) == {"BIG": frozenset("ABCD"), "SMALL": frozenset("AB")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SET\tdescription\tA\nA,B,C\n", "line 2"),
        (b"SET\tdescription\n", "line 1"),
        (b"SET,description,A,B\n", "line 1 .*its commas .* save the file again with tabs"),
        (b"SET\td\n", "line 1 .*give a GMT file"),
        (b"SET\td\tA,1.0\tB,0.5\n", "line 1 .*leave out the weights behind its genes"),
        (b"\td\tA\n", "line 1"),
        (b"\n", "no gene set"),
        (b"\xff\xfe\x00", "cannot be read"),
        (gzip.compress(TEXT.encode())[:20], "cannot be read"),
        (b"\x1f\x8bno", "cannot be read"),
    ],
    ids=[
        "comma",
        "nogene",
        "commas",
        "nogenes",
        "weights",
        "noname",
        "empty",
        "binary",
        "truncated",
        "nogzip",
    ],
)
def test_files_that_are_no_gmt(tmp_path, content, message):
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_gmt(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfPATH_A\tna\tKLF1\tFAR2\t\t\r\nPATH_B\tna\tSPI1\tCEBPA\t\t\r\n",
        b"PATH_A;na;KLF1;FAR2\r\nPATH_B;;SPI1;CEBPA\r\n",
        b"PATH_A\tna\tKLF1\tFAR2\rPATH_B\t\tSPI1\tCEBPA\r",
        b'"PATH_A"\t"a, b"\t"KLF1" \t FAR2\n\t\t\nPATH_B\tna\tSPI1\tCEBPA\n',
    ],
    ids=["mark", "semicolons", "returns", "quotes"],
)
def test_files_that_spreadsheets_write(tmp_path, content, capsys):
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    assert read_gmt(path) == {"PATH_A": {"KLF1", "FAR2"}, "PATH_B": {"SPI1", "CEBPA"}}
    assert not capsys.readouterr().err


def test_files_without_descriptions_are_said(tmp_path, capsys):
    path = tmp_path / "sets.gmt"
    path.write_text("ONE\tA\tB\tC\nTWO\tB\tA\tD\nTHREE\tC\tB\n")
    assert read_gmt(path)["ONE"] == {"B", "C"}
    assert "second field of 3 of 3 sets" in capsys.readouterr().err
    # One that is a gene's name by chance is none.
    path.write_text("ONE\tA\tB\tC\nTWO\tna\tA\tD\n")
    read_gmt(path)
    assert not capsys.readouterr().err


def test_absent_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_gmt(tmp_path / "nowhere.gmt")


def test_richest_set_first_then_the_most_specific():
    sets = {
        "three": frozenset({"A", "B", "C", "X"}),
        "pair, general": frozenset({"D", "E", "X", "Y"}),
        "pair, specific": frozenset({"D", "E"}),
        "single": frozenset({"F"}),
        "everything": frozenset({*"ABCDEF", *(f"G{i}" for i in range(600))}),
    }
    pathways = pathways_of("ABCDEFG", sets)
    assert pathways == dict.fromkeys("ABC", "three") | dict.fromkeys("DE", "pair, specific")
    assert pathways_of("ABCDEFG", sets, most=1) == dict.fromkeys("ABC", "three")
    assert pathways_of("ABC", {"everything": sets["everything"]}) == dict.fromkeys(
        "ABC", "everything"
    )


@pytest.mark.parametrize(
    ("genes", "message"), [("PQ", "none of the 2 perturbed genes"), ("FP", "no gene set holds 2")]
)
def test_sets_without_the_screens_genes(genes, message):
    with pytest.raises(InputError, match=message):
        pathways_of(genes, {"one": frozenset("FAB"), "two": frozenset("AB")})
