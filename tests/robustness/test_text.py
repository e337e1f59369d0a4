"""A sample of the campaign against readers of text files."""

from robustness.fuzz_text import main


def test_text_files_are_read_as_what_they_say_or_refused(capsys):
    counts = main(2, seed=0)
    assert (counts["tracebacks"], counts["silent"]) == (0, 0), capsys.readouterr().out
    assert counts["cases"] > 400 and counts["refused"] > 250
