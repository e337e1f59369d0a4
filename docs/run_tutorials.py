"""Runs the tutorials anew and keeps their outputs, small and without what changes by itself.

python docs/run_tutorials.py [NAME ...]
"""

import io
import sys
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent / "tutorials"
COLOURS = 64
"""Of the committed pictures, whose files are a third as large so."""


def main(names):
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            run(path)


def run(path):
    notebook = nbformat.read(path, as_version=4)
    # What the notebook writes goes to a folder that is removed.
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept(output) for output in cell.outputs if is_kept(output)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)
    print(path.name, f"{path.stat().st_size / 1000:.0f} kB")


def is_kept(output):
    """Progress and notes of training stay on the screen of whoever runs it."""
    return not (output.output_type == "stream" and output.name == "stderr")


def kept(output):
    data = output.get("data", {})
    if "image/png" in data:
        picture = Image.open(io.BytesIO(b64decode(data["image/png"]))).convert("RGB")
        small = io.BytesIO()
        shape = (picture.width * 5 // 8, picture.height * 5 // 8)
        picture = picture.resize(shape, Image.Resampling.LANCZOS)
        picture.quantize(COLOURS).save(small, "png", optimize=True)
        data["image/png"] = b64encode(small.getvalue()).decode()
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
