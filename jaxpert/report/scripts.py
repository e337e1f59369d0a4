"""What makes a page move, all of it inside the file: two libraries and a script of our own, under a
policy that lets nothing else run and nothing leave."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FILES = Path(__file__).parent / "templates"
OF_HTML = re.compile(r"<(?=!--|/?script)", re.IGNORECASE)
"""What changes how the rest of a script is read, wherever it stands in it."""


class Shell(NamedTuple):
    """What every page has around its content."""

    policy: str
    """Content security policy: the styles and scripts of the page by their hashes, pictures inside
    the file, and nothing from anywhere else."""
    style: Any
    scripts: list[Any]
    data: Any
    """What the scripts read, as JSON."""


def shell(data: Any, *, charts: bool) -> Shell:
    """The shell of a page; `charts` brings the library that draws them."""
    from markupsafe import Markup

    style = (FILES / "style.css").read_text(encoding="utf-8")
    scripts = [tables_library(), inside_script((FILES / "page.js").read_text(encoding="utf-8"))]
    if charts:
        scripts.insert(0, charts_library())
    return Shell(
        policy=policy([style], scripts),
        style=Markup(style),
        scripts=list(map(Markup, scripts)),
        data=Markup(as_json(data)),
    )


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A policy under which these alone are used."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {' '.join(map(digest, styles))}",
            f"script-src {' '.join(map(digest, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def digest(text: str) -> str:
    """As a policy names an inline style or script."""
    hashed = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(hashed).decode()}'"


def as_json(data: Any) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def inside_script(text: str) -> str:
    """A program that ends no script element: what could stands in its strings and patterns, where
    an escape is the same."""
    return OF_HTML.sub(r"\\x3c", text)


# Bundling takes more than a second, and a process may write many pages.
@functools.cache
def charts_library() -> str:
    """Vega-Lite with what it needs, from the package vl-convert, as `globalThis.vegaEmbed`."""
    import vl_convert

    return inside_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@functools.cache
def tables_library() -> str:
    """DataTables, from the package itables, as `globalThis.DataTable`."""
    # Found and not imported: the package itself asks for much more than this file.
    package = importlib.util.find_spec("itables")
    assert package is not None and package.submodule_search_locations, "it is a requirement"
    path = Path(package.submodule_search_locations[0]) / "html" / "dt_bundle.js"
    text = path.read_text(encoding="utf-8")
    # The last statement of the module names what it gives; texts before it may look alike.
    *_, exported = re.finditer(r"export\s*\{([^}]*)\}", text)
    inner = re.search(r"([\w$]+) as default", exported[1])
    assert inner is not None, f"{path} has no default"
    given = f"globalThis.DataTable={inner[1]}"
    return inside_script(text[: exported.start()] + given + text[exported.end() :])
