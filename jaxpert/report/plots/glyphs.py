"""Texts of a figure that its fonts can show: names come from users, in any script."""

from __future__ import annotations

import unicodedata
from typing import Any

FALLBACK = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "MS Gothic",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
    "Unifont",
)
"""Fonts of many scripts, taken where matplotlib's own has no glyph and the machine has them."""
INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of control, format (right-to-left marks), surrogate, private, unassigned and
separating characters."""


def families() -> list[str]:
    """Families of fonts in the order in which glyphs are looked for."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    # Only those that are there, since matplotlib warns of every other one.
    return ["DejaVu Sans", *(name for name in FALLBACK if name in there)]


def make_showable(figure: Any) -> None:
    """Write the characters of all texts of a figure that no font has, and those that cannot be
    seen, as escapes such as \\u5e72."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(showable(text.get_text(), text.get_fontproperties()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _make_ticks_showable(axis)


def _make_ticks_showable(axis: Any) -> None:
    """The same for names of ticks, which are written anew whenever a figure is drawn."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    write = axis.get_major_formatter()
    # The others write numbers, and offsets beside them.
    if not isinstance(write, FixedFormatter | FuncFormatter | StrCategoryFormatter):
        return
    axis.set_major_formatter(FuncFormatter(lambda at, place: showable(write(at, place))))


def showable(text: str, font: Any = None) -> str:
    """A text with escapes for what cannot be seen or has no glyph in `font`
    (`FontProperties`)."""
    # Nearly every text is of plain letters, which every font has.
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    glyphs = _glyphs(font)
    return "".join(_showable(letter, glyphs) for letter in text)


def _showable(letter: str, glyphs: set[int]) -> str:
    # Figures break lines themselves.
    if letter == "\n":
        return letter
    if unicodedata.category(letter) in INVISIBLE or ord(letter) not in glyphs:
        return letter.encode("unicode_escape", "surrogatepass").decode()
    return letter


def _glyphs(font: Any) -> set[int]:
    """Characters that some font of the families has, in the weight and slant of `font`."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    chosen = FontProperties() if font is None else font.copy()
    characters: set[int] = set()
    for family in families():
        # Bold and slanted fonts have glyphs of their own.
        chosen.set_family(family)
        characters |= set(get_font(findfont(chosen)).get_charmap())
    return characters
