"""The tutorials run, at small sizes, and what is committed with them is theirs and small."""

import ast
import base64
import json
import re
from functools import partial

import pytest

import jaxpert
from support.minibatch import few_layers
from support.paths import ROOT

FOLDER = ROOT / "docs/tutorials"
SMALL = {
    "first_screen": "CELLS, GENES, SINGLES, PAIRS = 900, 100, 14, 14",
    "never_measured": "CELLS, GENES, SINGLES, PAIRS = 900, 100, 14, 14\nHIDDEN, EPOCHS = 8, 1",
    "artifacts": "CELLS, GENES, SINGLES, PAIRS = 900, 100, 5, 2\nLATENT, HIDDEN, EPOCHS = 4, 8, 2",
    "lines_and_doses": "CELLS, GENES, SINGLES = 900, 100, 8\n"
    "EPOCHS, SCGEN_EPOCHS, DOSE_EPOCHS = 1, 1, 1",
    "score_another_tool": "CELLS, GENES, SINGLES, PAIRS = 900, 100, 10, 16",
}
"""Put in place of the sizes that a reader runs."""
LARGEST_PICTURE = 60_000


def cells_of(name):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source_of(cell):
    return "".join(cell["source"])


def run(source, scope):
    """What a notebook would show of a cell: the value of its last expression, drawn or written."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), scope)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), scope)
        return shown._repr_png_() if hasattr(shown, "_repr_png_") else repr(shown)
    return None


def test_every_tutorial_is_tested():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_tutorials_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Tests see eight devices, for which programs would be compiled.
    monkeypatch.setattr(jaxpert, "fit", partial(jaxpert.fit, devices=1), raising=False)
    few_layers(monkeypatch)
    scope = {"__name__": "tutorial"}
    sized = 0
    for cell in cells_of(name):
        source = source_of(cell)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert re.findall(r"[A-Z_]{4,}", source) == re.findall(r"[A-Z_]{4,}", SMALL[name])
            source, sized = SMALL[name], sized + 1
        source = source.replace('"train.epochs"', '"train.devices": 1, "train.epochs"')
        shown = run(source, scope)
        assert shown is None or len(shown)
    assert sized == 1


@pytest.mark.parametrize("name", SMALL)
def test_committed_outputs_are_whole_and_small(name):
    for cell in cells_of(name):
        last = ast.parse(source_of(cell)).body[-1]
        # A call may return nothing; any other expression is there to be shown.
        if isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call):
            assert cell["outputs"], source_of(cell)
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr"
            picture = output.get("data", {}).get("image/png", "")
            assert len(base64.b64decode(picture)) < LARGEST_PICTURE
            text = json.dumps({**output, "data": {**output.get("data", {}), "image/png": ""}})
            assert not re.search(r"Warning|(?<![\w.])/(?:home|tmp|work|root|Users)/", text)


@pytest.mark.parametrize("name", SMALL)
def test_links_lead_to_pages(name):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    text = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link
