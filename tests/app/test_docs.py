"""The documentation is true where it can be derived: tables of settings, named files, commands."""

import functools
import pydoc
import re
import runpy
import shlex

import pytest

from benchmarks.__main__ import SECTIONS
from jaxpert.app import cli, families, run, training
from jaxpert.core.config import listed
from support.paths import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(
    r"^(?:\.venv/bin/)?(?:python (?P<script>\w+/\w+\.py)|jaxpert (?P<name>\w+))(?: |$)"
)


def test_tables_of_settings_are_those_of_the_settings(capsys):
    script = runpy.run_path(str(ROOT / "docs/settings_tables.py"))
    assert script["main"](["--check"]) == 0, capsys.readouterr().out + "run docs/settings_tables.py"
    pages = "".join(page.read_text() for page in (ROOT / "docs/models").glob("*.md"))
    for model in ("cradle_vae", "sams_vae", "cpa_vae", "svae_plus", "conditional_vae", "gears",
                  "cycseq", "scgen", "set_gp", "shrunken_additive"):  # fmt: skip
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


def cited_commands():
    """(page, command, arguments) of every command in a block of code, shell variables filled in."""
    cited = []
    for page in PAGES:
        variables = {"SEED": "0", "S": "0", "TYPE": "CD4T"}
        # A long command goes on behind a backslash, a long text until its quotation mark.
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for line in text.splitlines():
            assigned = re.match(r'^    ([A-Z]+)="(.*)"$', line)
            if assigned:
                variables[assigned[1]] = filled(assigned[2], variables)
            match = COMMAND.match(line.strip())
            if match and not line.startswith("|"):
                name = match["name"] or match["script"]
                rest = filled(line.strip()[match.end() :], variables)
                cited.append((page.name, name, shlex.split(rest, comments=True)))
    return cited


def filled(text, variables):
    text = re.sub(r"\$([A-Z]+)", lambda name: variables[name[1]], text)
    return re.sub(r"(?<==)S\b|\b(SEED|TYPE)\b", lambda name: variables[name[0]], text)


@functools.cache
def help_of(command, capture):
    """What a command, or the command that a script stands for, says of its flags."""
    if not command.endswith(".py"):
        cli.main([command, "--help"])
        return capture.readouterr().out
    text = (ROOT / command).read_text()
    door = re.search(r'script\("(\w+)"', text)
    if door:
        return help_of(door[1], capture)
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / command))["main"](["--help"])
    return capture.readouterr().out


@functools.cache
def known_keys():
    keys = set()
    for model in families.models():
        keys |= {key.key for key in listed(families.keys_of(model), families.entry_of(model))}
    return keys


def test_flags_of_cited_commands_exist(capsys):
    commands = cited_commands()
    assert len(commands) > 25
    for page, command, arguments in commands:
        known = set(re.findall(r"--\w+", help_of(command, capsys))) | {"--help"}
        for argument in arguments:
            flag = re.match(r"--\w+", argument)
            assert flag is None or flag[0] in known, (page, command, argument)


def test_keys_of_configs_that_are_cited_exist():
    cited = []
    for page in PAGES:
        for key in re.findall(r"--(?:config\.|set=)([\w.]+)", page.read_text()):
            cited.append((page.name, key))
    assert len(cited) > 100
    for page, key in cited:
        # The name of the model is a key of every config, and no setting of any.
        assert key in ("KEY", "model.name") or key in known_keys(), (page, key)


def training_commands():
    for page, command, arguments in cited_commands():
        # A help text is asked for without a work directory; NAME stands for any config.
        if command in ("train", "experiments/main.py") and "--config=NAME" not in arguments:
            yield pytest.param(arguments, id=f"{page} {arguments[0]}")


@pytest.mark.parametrize("arguments", list(training_commands()))
def test_cited_training_is_read_to_the_end(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    raw, _ = training.parse(arguments)
    checked, family = run.read(raw)
    assert checked.model.name in family.models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_that_a_page_cites_exist(page):
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", text):
        assert f"\n{target}:" in makefile, target
    for sections in re.findall(r"`python -m benchmarks ([\w ]+)`", text):
        assert set(sections.split()) <= set(SECTIONS), sections
    for path in re.findall(r"`((?:\w+/)+\w+\.(?:py|md|csv))`", text):
        # A path is the repository's, or the package's.
        assert (ROOT / path).exists() or (ROOT / "jaxpert" / path).exists(), path
    for name in re.findall(r"`(jaxpert(?:\.\w+)+)", text):
        assert pydoc.locate(name) is not None, name
