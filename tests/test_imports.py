"""Who may import whom, who may name a family, how long a file may be; read from the source. And
what `import jaxpert` costs."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

from support.paths import ROOT

PACKAGE = ROOT / "jaxpert"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    "app",
    "study",
    "models",
    "tasks",
    "report",
    "evaluation",
    "data",
    "simulate",
    "nn",
    "core",
)
"""A part may import itself and what stands below it. Two exceptions stand in the tests: a study is
made of runs, and jaxpert/__init__.py names the homes of public functions as texts."""

FAMILIES = {"cradle", "gears", "cycseq", "scgen", "baselines", "set_gp"}
NAMES = FAMILIES - {"baselines"}
"""Families that shared files must not name; baselines are a word of all of them, since they stand
beside every model."""
NAMELESS = ("core", "nn", "data", "simulate", "evaluation", "report", "tasks", "study")
"""Parts that know of no family; app/run.py neither."""
TABLES = {"anndata", "pandas", "scanpy", "scipy.sparse"}
TABLE_USERS = {"data", "simulate", "tasks", "evaluation", "report"}
HEAVY = {"anndata", "scanpy", "matplotlib", "orbax", "umap", "scrublet", "pooch", "phate", "gseapy"}
HEAVY |= {"vl_convert", "itables", "PIL"}
LONG_FOR_A_REASON = {"jaxpert/models/gears/fused.py:_backward"}
"""A derivative by hand, in the steps of the function that it is of."""
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def part(path: pathlib.Path) -> str:
    """The layer of a file; "__init__" for the package's own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def names(nodes) -> set[str]:
    """Dotted names that import statements bring in: `from a import b` gives a.b."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(path: pathlib.Path) -> set[str]:
    return names(ast.walk(parsed(path)))


def imported_at_once(path: pathlib.Path) -> set[str]:
    """What importing the module imports: not inside functions, nor for type checkers only."""

    def statements(body):
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            yield node
            if not isinstance(node, ast.FunctionDef):
                for block in ("body", "orelse", "finalbody"):
                    yield from statements(getattr(node, block, []))

    return names(statements(parsed(path).body))


def is_one_of(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def identify(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def offenders(allowed, among=SOURCES, find=imported) -> dict[str, set[str]]:
    """Files with the imported names that `allowed(path, name)` refuses."""
    wrong = {identify(path): {n for n in find(path) if not allowed(path, n)} for path in among}
    return {path: found for path, found in wrong.items() if found}


def test_parts_import_only_what_stands_below_them():
    def allowed(path, name):
        if not name.startswith("jaxpert.") or part(path) == "__init__":
            return True
        if part(path) == "study" and name.startswith("jaxpert.app."):
            return True
        own, other = part(path), name.split(".")[1]
        return LAYERS.index(other) >= LAYERS.index(own)

    assert {part(path) for path in SOURCES} == {*LAYERS, "__init__"}
    assert not offenders(allowed)


def test_a_family_never_imports_another():
    def allowed(path, name):
        family = path.relative_to(PACKAGE / "models").parts[0]
        return not name.startswith("jaxpert.models.") or name.split(".")[2] == family

    inside = [p for p in SOURCES if part(p) == "models" and p.parent != PACKAGE / "models"]
    assert {p.relative_to(PACKAGE / "models").parts[0] for p in inside} == FAMILIES
    assert not offenders(allowed, inside)


def test_only_doors_and_studies_import_the_composition_root():
    assert not offenders(
        lambda path, name: part(path) in ("app", "study") or not name.startswith("jaxpert.app")
    )


def words_of(path: pathlib.Path) -> set[str]:
    """Words of the names and texts of a file, docstrings and comments excepted."""
    tree = parsed(path)
    docs = set()
    for node in ast.walk(tree):
        for child in (
            getattr(node, "body", []) if isinstance(getattr(node, "body", 0), list) else ()
        ):
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                docs.add(id(child.value))
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            texts.append(node.value)
        texts += [
            getattr(node, field, "") or "" for field in ("id", "attr", "name", "arg", "module")
        ]
    return {
        word
        for text in texts
        if isinstance(text, str)
        for word in re.findall("[a-z]+", text.lower())
    }


def test_no_shared_file_names_a_family():
    shared = [p for p in SOURCES if part(p) in NAMELESS] + [PACKAGE / "app/run.py"]
    named = {identify(path): words_of(path) & NAMES for path in shared}
    assert not {path: words for path, words in named.items() if words}


def test_configs_import_settings_alone():
    configs = sorted((ROOT / "configs").glob("*.py"))
    assert configs
    for path in configs:
        for name in imported(path):
            settings = name.startswith("jaxpert.models.") and name.split(".")[3:4] == ["settings"]
            assert settings or name.startswith("ml_collections"), f"{path.name} imports {name}"


def test_flags_stay_at_the_door():
    assert not offenders(
        lambda path, name: part(path) == "app" or not is_one_of(name, {"absl", "ml_collections"})
    )


def test_tables_and_sparse_matrices_stay_on_the_host_side():
    def allowed(path, name):
        beside = {"family", "translation", "paper", "ask", "saved", "python"}
        return (
            part(path) in TABLE_USERS
            or path.stem in beside
            or path.parent.name == "paper"
            or not is_one_of(name, TABLES)
        )

    assert not offenders(allowed, find=imported_at_once)


def test_heavy_packages_are_imported_when_used():
    assert not offenders(lambda _, name: not is_one_of(name, HEAVY), find=imported_at_once)


def functions_of(path: pathlib.Path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            yield f"{identify(path)}:{node.name}", node


def length_of(node: ast.FunctionDef) -> int:
    """Lines of a function, its docstring left out: what has to be understood at once."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return lines
    return lines - ((first.end_lineno or first.lineno) - first.lineno + 1)


def test_files_and_functions_stay_short():
    lines = {identify(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: count for path, count in lines.items() if count > LONGEST_FILE}
    lengths = {name: length_of(node) for path in SOURCES for name, node in functions_of(path)}
    long = {name: count for name, count in lengths.items() if count > LONGEST_FUNCTION}
    assert set(long) <= LONG_FOR_A_REASON, long


def test_the_rules_would_see_an_offence(tmp_path):
    """The searches above find what they look for in a file that breaks the rules."""
    (tmp_path / "bad.py").write_text(
        '"""Of GEARS."""\nfrom typing import TYPE_CHECKING\nfrom scipy import sparse\n'
        "if TYPE_CHECKING:\n    import scanpy\n"
        "def f():\n    import anndata.io\n    from jaxpert import run\n    return {'cycseq': 1}\n"
    )
    every = imported(tmp_path / "bad.py")
    assert {"scipy.sparse", "scanpy", "anndata.io", "jaxpert.run"} <= every
    assert imported_at_once(tmp_path / "bad.py") == {"typing.TYPE_CHECKING", "scipy.sparse"}
    assert is_one_of("anndata.io", TABLES) and not is_one_of("scipy.special.ndtri", TABLES)
    assert words_of(tmp_path / "bad.py") & NAMES == {"cycseq"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_jaxpert_is_free():
    assert modules_after("import jaxpert") - modules_after("import importlib") == {"jaxpert"}


def test_help_and_configs_need_no_jax():
    """Flags are parsed, and help is shown, before JAX or AnnData are imported."""
    code = (
        "from jaxpert.app import cli; cli.main(['--help']);cli.main(['train', "
        "'--config=gears_norman', '--help'])"
    )
    assert not modules_after(code) & {"jax", "flax", "numpyro", "anndata", "scanpy", "matplotlib"}


def test_every_public_name_resolves():
    import jaxpert

    public = dir(jaxpert)
    assert {"read", "fit", "predict", "load", "gears", "cycseq", "cradle_vae"} <= set(public)
    assert all(getattr(jaxpert, name) is not None for name in public)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = jaxpert.fitt  # pyright: ignore
