"""The figures of a run as a page holds them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from jaxpert.report.numbers import label
from jaxpert.report.words import CAPTIONS

MOST_BYTES = 800_000
"""Of all pictures together, so that a page can be sent by mail: beyond it they are kept in fewer
colours, and where that is not enough the largest are named and not shown."""
COLOURS = 256


class Picture(NamedTuple):
    """A figure ready for the page."""

    name: str
    title: str
    caption: str
    data: str
    """Base64 of the PNG; empty where it is too large to be shown."""


def pictures_of(folder: Path) -> list[Picture]:
    """The PNG files of a folder, those with a caption first and in the captions' order."""
    paths = sorted(folder.glob("*.png"), key=lambda path: path.stem)
    files = {path: path.read_bytes() for path in paths}
    if sum(map(len, files.values())) > MOST_BYTES:
        files = {path: fewer_colours(content) for path, content in files.items()}
    by_place: dict[int, list[Picture]] = {}
    room = MOST_BYTES
    # Small ones first, so that one large picture does not cost several others.
    shown = set()
    for path in sorted(files, key=lambda path: len(files[path])):
        room -= len(files[path])
        if room >= 0:
            shown.add(path)
    for path, content in files.items():
        place, title, caption = _words(path.stem)
        data = base64.b64encode(content).decode() if path in shown else ""
        by_place.setdefault(place, []).append(Picture(path.stem, title, caption, data))
    pictures: list[Picture] = []
    for place in sorted(by_place):
        pictures += by_place[place]
    return pictures


def fewer_colours(content: bytes) -> bytes:
    """The same picture from a palette, where that is smaller; what is no picture stays as it is."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            small = io.BytesIO()
            plain = picture.convert("RGB")
            # The other methods take a second for a picture.
            method, dither = Image.Quantize.FASTOCTREE, Image.Dither.NONE
            plain.quantize(COLOURS, method=method, dither=dither).save(small, "PNG")
    except OSError:
        return content
    return min(small.getvalue(), content, key=len)


def _words(stem: str) -> tuple[int, str, str]:
    """Place on the page, title and caption."""
    for place, (name, (title, caption)) in enumerate(CAPTIONS.items()):
        # A file whose name begins with a known one shares its caption.
        if stem.startswith(name):
            return place, title, caption
    return len(CAPTIONS), label(stem), ""
