"""The documentation is true where it can be derived: tables of settings, and named files."""

import re
import runpy

from support.paths import ROOT


def test_tables_of_settings_are_those_of_the_settings(capsys):
    script = runpy.run_path(str(ROOT / "docs/settings_tables.py"))
    assert script["main"](["--check"]) == 0, capsys.readouterr().out + "run docs/settings_tables.py"
    pages = "".join(page.read_text() for page in (ROOT / "docs/models").glob("*.md"))
    for model in ("cradle_vae", "sams_vae", "cpa_vae", "svae_plus", "conditional_vae", "gears",
                  "cycseq", "scgen"):  # fmt: skip
        assert f"<!-- settings: {model} -->" in pages


def test_docstrings_cite_pages_and_sections_that_exist():
    """`docs/models/cycseq.md, Cycle loss` names a page, and a heading of it."""
    cited = set()
    for path in (ROOT / "jaxpert").rglob("*.py"):
        text = re.sub(r"\s+", " ", path.read_text())
        assert not re.search(r"[Ss]pec(ification)? section|\(spec \d|; spec \d", text), path
        cited |= set(re.findall(r"(docs/[\w/]+\.md)(?:, ([A-Z][\w +-]*\w))?", text))
    assert len(cited) > 20
    for page, section in cited:
        assert (ROOT / page).exists(), page
        headings = re.findall(r"^#+ (?:[\d.]+ )?(.*)$", (ROOT / page).read_text(), re.M)
        first = section.split(" and ")[0]
        assert any(heading.startswith(first[:20]) for heading in headings), (page, section)
