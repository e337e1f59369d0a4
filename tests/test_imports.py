"""Who may import whom, read from the source, and what `import jaxpert` costs."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

from support.paths import ROOT

SOURCES = sorted((ROOT / "jaxpert").rglob("*.py"))

LEAVES = {
    "transforms",
    "distributions",
    "sampling",
    "nets",
    "graphs",
    "svi",
    "adversarial",
    "parallel",
    "log",
}
LEAVES |= {
    "count_vae",
    "additive_vae",
    "gears_layers",
    "gears_network",
    "gears_recovery",
    "gears_losses",
}
LEAVES |= {
    "gears_setup",
    "gears_sets",
    "cycseq_layers",
    "cycseq_network",
    "cycseq_noise",
    "cycseq_losses",
}
LEAVES |= {"cycseq_setup", "cycseq_game", "cycseq_growth", "scgen_deltas", "scgen_network"}
FOUNDATION = LEAVES | {
    "optim",
    "checkpoint",
    "train",
    "data",
    "evaluation",
    "plots",
    "report",
    "models",
    "keys",
}
ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "keys": set(),
    "sampling": set(),
    "transforms": {"types"},
    "distributions": {"types", "sampling"},
    "nets": {"types", "parallel"},
    "graphs": {"types"},
    "svi": {"types", "parallel"},
    "count_vae": {"types", "svi", "distributions", "nets", "transforms"},
    "additive_vae": {"types", "svi", "distributions", "nets", "count_vae"},
    "gears_layers": {"types", "graphs", "nets"},
    "gears_recovery": {"types", "nets", "gears_layers"},
    "gears_network": {"types", "graphs", "nets", "gears_layers", "gears_recovery"},
    "gears_losses": {"types", "parallel"},
    "gears_setup": {"types", "graphs", "gears_network"},
    "scgen_deltas": {"types"},
    "scgen_network": {"types", "nets"},
    "gears_sets": {"types", "graphs", "gears_layers", "gears_setup"},
    "adversarial": {"types"},
    "cycseq_layers": {"types", "nets"},
    "cycseq_network": {"types", "nets", "cycseq_layers"},
    "cycseq_noise": {"types", "cycseq_layers", "cycseq_network"},
    "cycseq_losses": {"types", "parallel", "cycseq_layers"},
    "cycseq_setup": {"types", "adversarial", "cycseq_layers", "cycseq_network"},
    "cycseq_growth": {"types", "cycseq_setup"},
    "cycseq_game": {
        "types",
        "adversarial",
        "cycseq_layers",
        "cycseq_network",
        "cycseq_noise",
        "cycseq_losses",
        "cycseq_setup",
    },
    "parallel": {"types"},
    "log": {"types"},
    "data": {"types", "transforms", "graphs", "data"},
    "models": {"types"} | LEAVES,
    "optim": {"types"},
    "checkpoint": {"types"},
    "train": {"types", "parallel", "log"},
    "evaluation": {"types", "transforms", "evaluation"},
    "plots": {"types", "evaluation", "plots"},
    "report": {"types", "evaluation", "report"},
    "workflow": {"types"} | FOUNDATION,
    "assess": {"types", "workflow"} | FOUNDATION,
    "folder": {"types"},
    "inputs": {"types", "data"},
    "job": {"types", "workflow"},
    "cycseq_inputs": {"types", "data", "inputs"},
    "cycseq_start": {"types", "cycseq_inputs"} | FOUNDATION,
    "cycseq_baselines": {"types"} | FOUNDATION,
    "cycseq_scgen": {"types", "workflow", "cycseq_baselines"} | FOUNDATION,
    "cycseq_gears": {"types", "workflow", "inputs", "cycseq_baselines"} | FOUNDATION,
    "cycseq_assess": {"types", "cycseq_baselines"} | FOUNDATION,
    "cycseq_effects": {"types", "cycseq_baselines"} | FOUNDATION,
    "cycseq_results": {"types", "workflow", "inputs", "folder", "results", "cycseq_assess"}
    | {"cycseq_baselines", "cycseq_effects", "cycseq_scgen", "cycseq_gears"}
    | FOUNDATION,
    "cycseq_run": {"types", "workflow", "job", "cycseq_inputs", "cycseq_start", "cycseq_results"}
    | FOUNDATION,
    "gears_assess": {"types", "workflow", "assess"} | FOUNDATION,
    "figures": {"types", "workflow", "assess"} | FOUNDATION,
    "results": {"types", "workflow", "assess", "gears_assess", "figures", "folder"} | FOUNDATION,
    "run": {"types", "inputs", "workflow", "figures", "folder", "results", "job", "cycseq_run"}
    | FOUNDATION,
    "analysis": {"types", "cycseq_inputs", "cycseq_start", "cycseq_baselines", "cycseq_assess"}
    | {"run", "results", "workflow", "assess", "figures", "folder", "study", "inputs", "analysis"}
    | FOUNDATION,
    "study": {"types", "run", "folder", "study"} | FOUNDATION,
    "__init__": {"types", "workflow", "assess", "analysis"} | FOUNDATION,
}
"""Parts of jaxpert that each part may import; a new module needs a line here."""

TABLES = {"anndata", "pandas", "scanpy", "scipy.sparse"}
TABLE_USERS = {
    "data",
    "evaluation",
    "report",
    "workflow",
    "gears_assess",
    "cycseq_results",
    "analysis",
}
HEAVY = {"anndata", "scanpy", "matplotlib", "orbax", "umap", "scrublet", "pooch", "phate", "gseapy"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def part(path: pathlib.Path) -> str:
    """Name under which a file stands in ALLOWED: that of the module or package directly in
    jaxpert."""
    return path.relative_to(ROOT / "jaxpert").parts[0].removesuffix(".py")


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
    """Files with the imported names that `allowed(part, name)` refuses."""
    found = {
        identify(path): {name for name in find(path) if not allowed(part(path), name)}
        for path in among
    }
    return {path: wrong for path, wrong in found.items() if wrong}


def test_every_part_is_listed():
    assert {part(path) for path in SOURCES} <= set(ALLOWED), (
        "say in ALLOWED what a new module may import"
    )


def test_parts_import_only_what_stands_below_them():
    def allowed(own, name):
        return (
            not is_one_of(name, {"jaxpert"})
            or name.split(".")[1:2]
            and name.split(".")[1] in ALLOWED[own]
        )

    assert not offenders(allowed)


def test_the_rules_are_acyclic():
    above: dict[str, set[str]] = {name: set(below) - {name} for name, below in ALLOWED.items()}
    above["models"] -= {"models"}
    while above:
        free = {name for name, below in above.items() if not below & set(above)}
        assert free, f"these may import each other in a circle: {sorted(above)}"
        above = {name: below for name, below in above.items() if name not in free}


def test_a_model_never_imports_another():
    assert not offenders(
        lambda own, name: own != "models" or not is_one_of(name, {"jaxpert.models"})
    )


def test_run_and_workflow_have_few_users():
    assert not offenders(
        lambda own, name: own in {"study", "analysis"} or not is_one_of(name, {"jaxpert.run"})
    )
    users = {"run", "results", "assess", "gears_assess", "figures", "analysis", "__init__", "job"}
    users |= {f"cycseq_{name}" for name in ("results", "run", "scgen", "gears")}
    assert not offenders(
        lambda own, name: own in users or not is_one_of(name, {"jaxpert.workflow"})
    )


def test_configs_and_flags_stay_outside():
    assert not offenders(lambda own, name: not is_one_of(name, {"absl", "ml_collections"}))
    configs = {path.name: imported(path) for path in (ROOT / "configs").glob("*.py")}
    assert configs
    for path, found in configs.items():
        assert all(is_one_of(name, {"ml_collections", "jaxpert.keys"}) for name in found), path


def test_tables_and_sparse_matrices_stay_on_the_host_side():
    assert not offenders(lambda own, name: own in TABLE_USERS or not is_one_of(name, TABLES))


def test_heavy_packages_are_imported_when_used():
    assert not offenders(lambda own, name: not is_one_of(name, HEAVY), find=imported_at_once)


def test_files_and_functions_stay_short():
    lines = {identify(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: count for path, count in lines.items() if count > LONGEST_FILE}
    functions = {
        f"{identify(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
    }
    assert not {name: count for name, count in functions.items() if count > LONGEST_FUNCTION}


def test_the_rules_would_see_an_offence(tmp_path):
    """The searches above find what they look for in a file that breaks the rules."""
    (tmp_path / "bad.py").write_text(
        "from typing import TYPE_CHECKING\nfrom scipy import sparse\nif TYPE_CHECKING:\n    "
        "import scanpy\n"
        "def f():\n    import anndata.io\n    from jaxpert import run\n"
    )
    every = imported(tmp_path / "bad.py")
    assert {"scipy.sparse", "scanpy", "anndata.io", "jaxpert.run"} <= every
    assert imported_at_once(tmp_path / "bad.py") == {"typing.TYPE_CHECKING", "scipy.sparse"}
    assert is_one_of("anndata.io", TABLES) and not is_one_of("scipy.special.ndtri", TABLES)


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_importing_jaxpert_is_free():
    """Flags are parsed, and help is shown, before JAX or AnnData are imported."""
    extra = modules_after("import jaxpert, jaxpert.keys") - modules_after("import importlib")
    assert extra == {"jaxpert"}


def test_every_public_name_resolves():
    import jaxpert

    assert all(getattr(jaxpert, name) is not None for name in jaxpert.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = jaxpert.fitt  # pyright: ignore
