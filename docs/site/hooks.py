"""What the site does to its pages: cited paths become links, and formulas become MathML.

The pages are also read as plain files, where `docs/evaluation.md` in backticks says more than a
link would; on the site the same words lead there.
"""

import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[2]
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages whose text stands at the root of the repository."""
CITED = re.compile(r"(?<!\[)`docs/([\w/]+\.(?:md|ipynb))`")
FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
PAGE_LINK = re.compile(r'href="((?:\.\./)?[\w/]+)\.(?:md|ipynb)')
ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}


def on_page_markdown(markdown, page, **_):
    """Links in place of cited paths, but not inside blocks of code."""
    place = page.file.src_uri
    if place in OUTSIDE:
        markdown = (ROOT / OUTSIDE[place]).read_text()
    parts = FENCE.split(markdown)
    # Every second part is a block of code.
    parts[::2] = [CITED.sub(lambda cited: link(cited[1], place), part) for part in parts[::2]]
    return "".join(parts)


def link(target, place):
    """A cited page as a link from the page that cites it."""
    return f"[`docs/{target}`]({posixpath.relpath(target, posixpath.dirname(place) or '.')})"


def on_page_content(html, page, **_):
    """Formulas as MathML, which browsers show without a script; links of notebooks, which are not
    rewritten as those of pages are."""
    if page.file.src_uri.endswith(".ipynb"):
        html = PAGE_LINK.sub(page_link, html)
    return FORMULA.sub(formula, html)


def page_link(match):
    """A link to a page's file as one to the page; a test looks whether the file exists."""
    return f'href="{match[1].replace("README", "index")}.html'


def formula(match):
    text = match[2]
    for entity, character in ENTITIES.items():
        text = text.replace(entity, character)
    return convert(text.strip(), display="block" if match[1] == "div" else "inline")
