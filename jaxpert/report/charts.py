"""Charts of a page, as Vega-Lite: drawn by the browser where scripts run, and as a still picture
where they do not."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxpert.report.plots.style import BLUE, GREY, ORANGE, SKY, VERMILLION

Spec = dict[str, Any]
Values = Sequence[Mapping[str, Any]]


class Chart(NamedTuple):
    """A chart ready for the page."""

    name: str
    """Unique on the page; letters and digits."""
    title: str
    caption: str
    spec: Spec
    still: str
    """Address of the picture, which holds it: an SVG, or a PNG where there are many points."""


def _colours(model: str, mark: str, soft: str, ink: str, line: str) -> dict[str, Any]:
    """The looks of a theme. Kinds differ in shape as well, so that no colour is needed to read."""
    return {
        "background": "transparent",
        "font": "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif",
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 190,
            # Numbers that touch read as one; every second one goes then.
            "labelOverlap": True,
            "labelSeparation": 6,
        },
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "symbolSize": 80},
        "range": {"category": [model, mark]},
        "style": {
            "model": {"fill": model, "stroke": model, "color": model},
            "other": {"fill": soft, "stroke": soft, "color": soft},
            "limit": {"fill": mark, "stroke": mark, "color": mark},
            "guide": {"stroke": soft, "color": soft},
        },
    }


LIGHT = _colours(BLUE, VERMILLION, GREY, "#1d2329", "#d5dbe0")
DARK = _colours(SKY, ORANGE, "#9aa6b0", "#e3e8ec", "#333c44")


THEMES = {"light": LIGHT, "dark": DARK}
STILL_PADDING = {"left": 24, "right": 12, "top": 5, "bottom": 5}
"""Room for letters that are wider where a picture is looked at than where it was made."""

LARGEST_SVG = 100_000
"""Bytes of a picture of lines; one of points takes fewer then."""


def chart(name: str, title: str, caption: str, spec: Spec, *, width: int = 600) -> Chart:
    """A chart with its still picture, `width` points wide."""
    import vl_convert

    # The browser gives the width of the place; a still picture needs one of its own.
    alone = {**spec, "width": width, "config": LIGHT, "padding": STILL_PADDING}
    kind, picture = "svg+xml", vl_convert.vegalite_to_svg(alone).encode()
    if len(picture) > LARGEST_SVG:
        kind, picture = "png", vl_convert.vegalite_to_png(alone, scale=1.5)
    still = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return Chart(name, title, caption, spec, still)


def _axes(x: str, y: str) -> tuple[Spec, Spec]:
    return (
        {"field": "x", "type": "quantitative", "title": x, "scale": {"zero": False}},
        {"field": "y", "type": "quantitative", "title": y, "scale": {"zero": False}},
    )


def tooltip(fields: Mapping[str, str]) -> list[Spec]:
    """What is told of a point: {field: title}; numbers with three decimals."""
    told = []
    for field, title in fields.items():
        told.append({"field": field, "title": title} | _format(field))
    return told


def _format(field: str) -> Spec:
    # Texts stand in fields whose names end in "name" or are counted in whole numbers.
    if field in ("name", "split", "cells", "gene", "said"):
        return {"type": "nominal"}
    return {"type": "quantitative", "format": ".3f"}


def pairs(points: Values, x: str, y: str, told: Mapping[str, str], *, equal: bool = True) -> Spec:
    """Points (`x`, `y`, `held`) with the line where both are equal; held-out ones are filled.
    Without `equal`, of two quantities that cannot be compared, there is no line."""
    ends = [value for point in points for value in (point["x"], point["y"])] or [0, 1]
    low, high = min(ends), max(ends)
    pad = 0.05 * (high - low) or 0.1
    scale = {"domain": [low - pad, high + pad], "nice": False}
    across, up = _axes(x, y)
    if equal:
        across["scale"] = up["scale"] = scale
    line = [{"x": low - pad, "y": low - pad}, {"x": high + pad, "y": high + pad}]
    layers: list[Spec] = [
        {
            "data": {"values": line if equal else []},
            "mark": {"type": "line", "style": "guide", "strokeDash": [5, 4]},
            "encoding": {"x": across, "y": up},
        }
    ]
    for held, size in ((False, 45), (True, 75)):
        mark = {"type": "point", "style": "model" if held else "other", "filled": held}
        mark |= {"size": size, "opacity": 0.85}
        layers.append(
            {
                "data": {"values": [dict(p) for p in points if p["held"] is held]},
                "mark": mark,
                "encoding": {"x": across, "y": up, "tooltip": tooltip(told)},
            }
        )
    return {"height": 340, "layer": layers}


def genes(x: str, y: str) -> Spec:
    """Predicted against measured effects of genes (`x`, `y`, `gene`), without any yet: the page
    fills in those of the perturbation that is opened."""
    spec = pairs([], x, y, {"gene": "gene", "x": "measured", "y": "predicted"})
    across, up = _axes(x, y)
    line = {"mark": {"type": "line", "style": "guide", "strokeDash": [5, 4]}}
    line |= {"data": {"name": "line"}, "encoding": {"x": across, "y": up}}
    points = spec["layer"][2] | {"data": {"name": "genes"}}
    points["encoding"] = points["encoding"] | {"x": across, "y": up}
    # Genes are many and lie on each other.
    points["mark"] = points["mark"] | {"size": 40, "opacity": 0.5}
    return {"height": 300, "layer": [line, points]}


MOST_TICKS = 8
MARKS = {
    "baseline": {"style": "other", "shape": "circle", "size": 60, "filled": True},
    "entry": {"style": "model", "shape": "diamond", "size": 110, "filled": False},
    "model": {"style": "model", "shape": "diamond", "size": 130, "filled": True},
}
"""How each kind of method looks."""


def dots(rows: Values, limit: Mapping[str, Any] | None, x: str) -> Spec:
    """A score of many methods, the best on top (`name`, `value`, `kind`, and `low`, `high` where
    there is an interval), and what a perfect model would score (`value`, `low`, `high`).

    A `kind` is "model", which all others are held against, "entry" or "baseline".
    """
    order = [row["name"] for row in rows]
    across = {"field": "value", "type": "quantitative", "title": x, "scale": {"zero": False}}
    up = {"field": "name", "type": "nominal", "sort": order, "title": None}
    layers: list[Spec] = []
    if limit is not None:
        layers += _limit(limit)
    line = [{"value": row["value"]} for row in rows if row["kind"] == "model"]
    if line:
        mark = {"type": "rule", "style": "model", "opacity": 0.45}
        layers.append({"data": {"values": line}, "mark": mark, "encoding": {"x": across}})
    told = tooltip({"name": "method", "value": "score", "low": "from", "high": "to"})
    ends = {"x": {**across, "field": "low"}, "x2": {"field": "high"}, "y": up, "tooltip": told}
    spans = [dict(row) for row in rows if row.get("low") is not None]
    if spans:
        mark = {"type": "rule", "style": "other", "strokeWidth": 2, "opacity": 0.6}
        layers.append({"data": {"values": spans}, "mark": mark, "encoding": ends})
    for kind, mark in MARKS.items():
        values = [dict(row) for row in rows if row["kind"] == kind]
        if values:
            dot = {"type": "point", "opacity": 1, **mark}
            encoding = {"x": across, "y": up, "tooltip": told}
            layers.append({"data": {"values": values}, "mark": dot, "encoding": encoding})
    return {"height": 21 * len(rows) + 10, "layer": layers}


def _limit(limit: Mapping[str, Any]) -> list[Spec]:
    """The dashed line of a perfect model, and the band of its scores."""
    data = {"values": [dict(limit)]}
    rule = {"type": "rule", "style": "limit", "strokeDash": [5, 3], "strokeWidth": 2}
    told = tooltip({"name": "", "value": "score", "low": "from", "high": "to"})
    value = {"field": "value", "type": "quantitative"}
    layers: list[Spec] = []
    if limit.get("low") is not None:
        band = {"type": "rect", "style": "limit", "opacity": 0.13}
        ends = {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}}
        layers.append({"data": data, "mark": band, "encoding": {**ends, "tooltip": told}})
    layers.append({"data": data, "mark": rule, "encoding": {"x": value, "tooltip": told}})
    return layers


def curves(rows: Values, best: Any, x: str, y: str) -> Spec:
    """Lines over the course of training (`x`, `y`, `name`), and where the best epoch is."""
    across, up = _axes(x, y)
    across["axis"] = {"values": _whole([row["x"] for row in rows]), "format": "d"}
    names = list(dict.fromkeys(row["name"] for row in rows))
    layers: list[Spec] = []
    if best is not None:
        layers.append(
            {
                "data": {"values": [{"x": best}]},
                "mark": {"type": "rule", "style": "guide", "strokeDash": [4, 3]},
                "encoding": {"x": across},
            }
        )
    colour = {
        "field": "name",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names},
        "legend": {"orient": "top"},
    }
    # Told apart by the dashes as well as by colour.
    dash = {**colour, "scale": {"domain": names, "range": [[1, 0], [6, 3]]}}
    layers.append(
        {
            "data": {"values": [dict(row) for row in rows]},
            "mark": {"type": "line", "point": {"size": 30}},
            "encoding": {
                "x": across,
                "y": up,
                "color": colour,
                "strokeDash": dash,
                "tooltip": tooltip({"name": "", "x": x, "y": "loss"}),
            },
        }
    )
    return {"height": 240, "layer": layers}


def _whole(values: Sequence[int | float]) -> list[int]:
    """Some whole numbers from the least to the greatest: there is no half epoch."""
    low, high = int(min(values)), math.ceil(max(values))
    least = (high - low) / MOST_TICKS
    # Steps that people count in: 1, 2, 5, 10, 20, 50 ...
    step = next(s for s in (n * 10**k for k in range(10) for n in (1, 2, 5)) if s >= least)
    # The first epoch stands at the edge, and from there on multiples of the step.
    later = range(step * (low // step + 1), high + 1, step)
    return [low, *(tick for tick in later if tick - low > step / 2)]
