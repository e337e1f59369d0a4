"""What every refusal of input says: what was found, what was expected, and the usual fix, in one
sentence. Read from the source, so that a new one is held to it before anybody meets it."""

import ast
import re

import pytest

from support.error_sites import PLACE, ROOT, Site, is_error, sites

LONGEST = 400
"""Characters of the constant parts; what was found comes to them."""
SENTENCE = re.compile(r".*\bexpected\b.+: \S.*[^.?!:, ]", re.DOTALL)
"""Found, "expected" something, and after a colon what to do; no full stop, since names follow."""

PROPER = {"ComBat"}
"""Names that begin with a capital."""


def flaws(text: str) -> list[str]:
    """What is wrong with the constant parts of a message."""
    wrong: list[str] = []
    if not SENTENCE.fullmatch(text):
        wrong.append("not FOUND, expected WHAT: FIX")
    if text[:1].isupper() and text.split()[0] not in PROPER:
        wrong.append("begins with a capital")
    if re.search(r"[.!?] [A-Z]|\n", text):
        wrong.append("more than one sentence")
    if len(text) > LONGEST:
        wrong.append(f"longer than {LONGEST} characters")
    return wrong


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("{} is {}, expected one of {}: correct it", None),
        ("{} is {}, expected one of {}", "expected WHAT"),
        ("{} is {}: correct it", "expected WHAT"),
        ("{} is {}, expected one of {}: correct it.", "expected WHAT"),
        ("Wrong {}, expected one of {}: correct it", "capital"),
        ("{} is {}. Expected is one, expected {}: correct it", "one sentence"),
        ("{}, expected " + "x" * 400 + ": correct it", "longer"),
    ],
)
def test_flaws_are_seen(text, flaw):
    assert flaws(text) == [] if flaw is None else flaw in " ".join(flaws(text))


def test_every_refusal_has_its_three_parts():
    read = [site for site in sites() if site.text is not None]
    wrong = {site: flaws(site.text or "") for site in read}
    listed = [f"{s.path}:{s.first} {', '.join(f)}: {s.text}" for s, f in wrong.items() if f]
    assert not listed, "\n".join(listed)


def test_every_refusal_is_written_where_it_is_raised():
    """A text made elsewhere could not be read above."""
    assert [f"{site.path}:{site.first}" for site in sites() if site.text is None] == []


def test_sites_are_all_calls():
    """InputError is nowhere handed on as a name that would hide a call."""
    for path in sorted((ROOT / "jaxpert").rglob("*.py")):
        tree = ast.parse(path.read_text())
        calls = sum(isinstance(n, ast.Call) and is_error(n.func) for n in ast.walk(tree))
        raised = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc is not None]
        bare = [exc for exc in raised if isinstance(exc, ast.Name) and exc.id == "InputError"]
        assert not bare, f"{path} raises InputError without a text"
        assert calls == sum(site.path == str(path.relative_to(ROOT)) for site in sites())


def test_sites_hold_constant_parts():
    (site,) = [s for s in sites() if s.path.endswith("app/families.py")]
    assert isinstance(site, Site) and site.text is not None
    assert site.text.startswith(f"model.name is {PLACE}, expected one of {PLACE}")
