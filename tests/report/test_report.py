"""The report: complete, self-contained, honest about what is missing, and safe against what names
hold."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jaxpert.core.types import InputError
from jaxpert.evaluation.metrics import METRICS
from jaxpert.report import numbers, scripts
from jaxpert.report.page import write_report
from jaxpert.report.sections import Score, Section
from jaxpert.report.tables import tables, truth_tables
from jaxpert.report.words import CAPTIONS, MEANINGS

EVIL = "<script>alert('gene')</script>"
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        """Type and content."""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = kind, before + data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def programs(self) -> list[str]:
        """Scripts that a browser would run."""
        return [text for kind, text in self.scripts if kind != "application/json"]

    @property
    def data(self) -> dict:
        """What the scripts read."""
        (text,) = [text for kind, text in self.scripts if kind == "application/json"]
        return json.loads(text)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def metrics() -> dict:
    model = {
        "test": {"ate_pearson": 0.79, "ate_r2": 0.51, "mse": 0.00473},
        "train": {"ate_pearson": 0.9},
    }
    mean = {
        "test": {"ate_pearson": 0.61, "ate_r2": -3.25, "mse": 0.0041},
        "train": {"ate_pearson": 0.7},
    }
    none = {
        "test": {"ate_pearson": None, "ate_r2": 0.0, "mse": float("nan")},
        "train": {"ate_pearson": None},
    }
    gap = {"difference": 0.18, "low": 0.11, "high": 0.25}
    return {
        "model": model,
        "baselines": {"mean": mean, "no_change": none},
        "ceiling": {"test": {"ate_pearson": 0.97}},
        "ceiling_interval": {"test": {"ate_pearson": {"low": 0.93, "high": 0.99}}},
        "comparison": {"test": {"ate_pearson": {"mean": gap}, "mse": {"mean": gap}}},
        "perturbations": {"test": 12, "train": 40},
        "verdict": f"The model beats every baseline; {EVIL}.",
        "data": {
            "name": "screen",
            "cells": 111255,
            "genes": 19018,
            "notes": [f"gene {EVIL} was made unique", "b"],
        },
        "quality": {
            "multiplier": 3,
            "thresholds": {"3": {"umi_count": -20.5}, "4": {"umi_count": -95.0}},
            "per_condition": [0.5, 0.7] * 10,
        },
        "likelihood": {"iwelbo": {"test": -2310.4567}},
        "recovery": {"artifact_correlation": 0.87},
        "run": {
            "command": "python experiments/main.py --workdir=a",
            "seconds": 0.00000123,
            "seed": 0,
        },
        "surprise": {"kept": True},
    }


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "metrics.json").write_text(json.dumps(metrics()))
    (tmp_path / "config.json").write_text(
        json.dumps({"data": {"source": EVIL}, "model": {"name": "cradle_vae"}})
    )
    rows = [{"step": 5, "epoch": 0, "train/loss": 3.5}, {"step": 5, "epoch": 0, "val/loss": 4.25}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "figures").mkdir()
    for stem in ("loss_curves", "baselines", EVIL.replace("/", "")):
        (tmp_path / "figures" / f"{stem}.png").write_bytes(stem.encode())
    return tmp_path


def read(workdir: Path) -> tuple[str, Page]:
    path = write_report(workdir)
    assert path == workdir / "report.html" and not list(workdir.glob(".*"))
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def read_without_programs(workdir: Path) -> str:
    """The page without what libraries hold, which is the same in every report."""
    html, page = read(workdir)
    for program in page.programs:
        html = html.replace(program, "")
    return html


def test_the_page_needs_nothing_else(workdir):
    _, page = read(workdir)
    html = read_without_programs(workdir)
    assert "http://" not in html and "https://" not in html and "url(" not in html
    sources = [str(value) for name, value in page.attributes if name == "src"]
    kinds = ("data:image/png;base64,", "data:image/svg+xml;base64,")
    assert sources and all(source.startswith(kinds) for source in sources)
    links = {str(value) for name, value in page.attributes if name == "href"}
    # Parts of the page, and tables that lie beside it.
    assert all(link.startswith("#") or (workdir / link).is_file() for link in links)
    anchors = {value for name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert "link" not in page.tags and "style" not in dict(page.attributes)
    assert sum(source.startswith(kinds[0]) for source in sources) == 3, "as many as figures"


def test_the_policy_lets_nothing_else_run(workdir):
    html, page = read(workdir)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    allowed = dict(rule.split(" ", 1) for rule in unescape(policy).split("; "))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert allowed["script-src"].split() == [scripts.digest(text) for text in page.programs]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert allowed["style-src"] == scripts.digest(style)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert len(page.programs) == 3 and set(allowed) == {
        "default-src", "img-src", "style-src", "script-src", "base-uri", "form-action",
    }  # fmt: skip


def test_a_figure_is_inlined_as_it_is(workdir):
    _, page = read(workdir)
    assert f"data:image/png;base64,{base64.b64encode(b'baselines').decode()}" in [
        v for _, v in page.attributes
    ]


def test_names_from_the_data_are_escaped(workdir):
    _, page = read(workdir)
    html = read_without_programs(workdir)
    opened = re.findall("<script[^>]*>", html)
    assert opened == ['<script type="application/json" id="page-data">'] + 3 * [
        '<script type="module">'
    ]
    assert page.text.count(EVIL) >= 3, "verdict, note and configuration show the name as it is"


def test_sections_come_in_the_order_of_reading(workdir):
    html, _ = read(workdir)
    wanted = [
        "verdict",
        "perturbations",
        "scores",
        "recovery",
        "figures",
        "data",
        "quality",
        "likelihood",
        "training",
        "meanings",
        "config",
        "reproduce",
        "rest",
    ]
    assert re.findall(r'<section id="(\w+)"', html) == wanted
    assert html.index("The model beside its baselines") < html.index(
        "alert(&#39;gene&#39;)&lt;script&gt;.</strong>"
    )


def test_numbers_are_formatted(workdir):
    _, page = read(workdir)
    for shown in (
        "111,255",
        "19,018",
        "0.790",
        "−3.250",
        "0.00473",
        "−2,310.5",
        "1.23 × 10⁻⁶",
        "+0.180",
        "+0.110 to +0.250",
        "20 values, 0.5 to 0.7, mean 0.6",
        "12 perturbations",
        "yes",
    ):
        assert shown in page.text, shown
    assert "nan" not in page.text.lower().split() and "None" not in page.text


def test_undefined_scores_say_why(workdir):
    html, page = read(workdir)
    assert re.search(
        r'<abbr class="undefined" title="A correlation is undefined where [^"]+">undefined</abbr>',
        html,
    )
    assert "A correlation is undefined where the prediction or the data is constant" in page.text


def test_every_sentence_of_the_verdict_has_its_own_line(workdir):
    verdict = (
        "On test the model wins (0.79 against 0.61 of mean). Against no_change it is -0.1 better."
    )
    (workdir / "metrics.json").write_text(json.dumps(metrics() | {"verdict": verdict}))
    html, _ = read(workdir)
    assert "<p>On test the model wins (0.79 against 0.61 of mean).</p>" in html
    assert "<p>Against no change it is −0.1 better.</p>" in html


def test_the_verdict_may_be_a_mapping(workdir):
    whole = metrics() | {"verdict": {"summary": "It wins.", "reasons": ["one", "two"]}}
    (workdir / "metrics.json").write_text(json.dumps(whole))
    _, page = read(workdir)
    assert "It wins." in page.text and "two" in page.text


def test_scores_of_one_paper_have_a_section_of_their_own(workdir):
    part = {
        "model": {"test": {"mse": 0.25, "r": None}, "val": {"mse": 0.5}},
        "baselines": {"mean": {"test": {"mse": 0.5, "r": 0.5}}},
        "conditions": {"test": 7},
        "notes": ["condition X has a single cell"],
    }
    (workdir / "metrics.json").write_text(json.dumps(metrics() | {"paper": part}))
    scores = {
        "mse": Score("MSE of the paper", -1, "Squared error."),
        "r": Score("r of the paper", 1, "Correlation."),
        "absent": Score("absent score", 1, "Never computed."),
    }
    section = Section("Scores of the paper", "All are means.", scores)
    write_report(workdir, {"paper": section, "other": section})
    html = (workdir / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.text.count("Scores of the paper") == 1 and "All are means." in page.text
    assert "7 perturbations" in page.text and "condition X has a single cell" in page.text
    assert "MSE of the paper" in page.text and "absent score" not in page.text
    best, mean = '<td class="best"><strong>0.250</strong></td>', '<td class="">0.500'
    assert f'{best}<td class="">0.500 <small>mean</small></td>' in html
    assert html.index(best) < html.index("All baselines (1)") < html.rindex(best)
    assert html.rindex(mean) > html.rindex(best)
    # Without its section the part is listed at the end as it is.
    _, page = read(workdir)
    assert "Scores of the paper" not in page.text and "condition X has a single cell" in page.text


def test_an_empty_work_directory_names_what_is_missing(tmp_path):
    _, page = read(tmp_path)
    for part in (
        "The verdict",
        "The table of scores",
        "Every figure",
        "The description of the data",
        "The training log",
        "The configuration",
        "The command",
    ):
        assert re.search(f"{part}[^.]* (is|are) missing", page.text), part


@pytest.mark.parametrize("part", list(metrics()))
def test_any_part_of_the_metrics_may_be_missing(workdir, part):
    for other in (None, {}):
        whole = {name: value for name, value in metrics().items() if name != part}
        (workdir / "metrics.json").write_text(
            json.dumps(whole if other is None else whole | {part: None})
        )
        read(workdir)


def test_unreadable_files_are_named_and_left_out(workdir):
    (workdir / "config.json").write_text('{"seed": ')
    (workdir / "metrics.json").write_text("[1, 2]")
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "tra')
    _, page = read(workdir)
    assert (
        "config.json could not be read" in page.text
        and "metrics.json holds no mapping" in page.text
    )
    assert "1 of the 3 lines of metrics.jsonl could not be read" in page.text


def test_no_work_directory(tmp_path):
    with pytest.raises(InputError, match="--workdir"):
        write_report(tmp_path / "absent")


def test_the_best_of_a_row_is_marked_by_the_direction_of_the_score():
    table = tables(metrics())[0]
    assert table.subset == "test" and table.methods == ["model", "mean", "no_change"]
    kinds = {row.label: [cell.kind for cell in row.cells] for row in table.rows}
    assert kinds[METRICS["ate_pearson"].label] == ["best", "", "undefined"]
    assert kinds[METRICS["mse"].label] == ["", "best", "undefined"]
    limits = {row.label: row.limit and row.limit.kind for row in table.rows}
    assert limits[METRICS["ate_pearson"].label] == "ceiling"
    assert limits[METRICS["mse"].label] == "undefined"


def test_the_best_baseline_is_named_score_by_score():
    rivals = {row.label: row.rival for row in tables(metrics())[0].rows}
    shown = {name: rival and (rival.text, rival.kind, rival.why) for name, rival in rivals.items()}
    assert shown == {
        METRICS["ate_pearson"].label: ("0.610", "", "mean"),
        METRICS["ate_r2"].label: ("0.000", "", "no change"),
        METRICS["mse"].label: ("0.00410", "best", "mean"),
    }
    # A score whose direction nobody knows has no best baseline.
    whole = metrics()
    for scores in (whole["model"], *whole["baselines"].values()):
        scores["test"]["of a later version"] = 1.0
    assert tables(whole)[0].rows[-1].rival is None


def test_no_table_grows_with_the_number_of_baselines_or_is_cut(workdir):
    whole = metrics()
    for number in range(20):
        whole["baselines"][f"baseline_{number}"] = whole["baselines"]["mean"]
    whole["progress"] = {"test": {"ate_pearson": {"baseline": "mean", "share": 0.5}}}
    whole["truth"] = {"observed": whole["model"], **whole["baselines"], "model": whole["model"]}
    whole["schools"] = {"perturbations": 3, "subset": "test", "notes": [], "scores": {}}
    for score in ("a", "b"):
        whole["schools"]["scores"][score] = dict.fromkeys(whole["baselines"], 0.5)
    (workdir / "metrics.json").write_text(json.dumps(whole))
    html = read_without_programs(workdir)
    beside, folded = [], []
    for start in re.finditer(r'<table class="scores( all)?">', html):
        head = html[start.start() : html.index("</thead>", start.start())]
        (folded if start[1] else beside).append(re.sub(r"<[^>]*>", " ", head))
    assert len(beside) == len(folded) == 3, "two subsets and the planted truth"
    words = "score this model best baseline model − best baseline ceiling way to the ceiling"
    assert beside[0].split() == words.split()
    assert beside[2].split() == "score this model best baseline observed".split()
    # The baselines are rows of the folded tables, and each of these lies behind its heading.
    assert not any("baseline 7" in head for head in (*beside, *folded))
    assert html.count('<th scope="row">baseline 7</th>') == 3
    assert html.count('<details class="all">') == html.count("All baselines (22)") == 3
    # Whatever may be wider than the window scrolls in a box of its own.
    tables_in_all, facts = html.count("<table"), html.count('<table class="facts">')
    assert html.count('<div class="scroll"><table') == tables_in_all - facts
    assert re.search(r"\.scroll \{ overflow-x: auto;", html)


def test_what_was_observed_is_no_rival(workdir):
    truth = {"observed": {"test": {"ate_pearson": 0.95}}, "mean": {"test": {"ate_pearson": 0.5}}}
    truth["model"] = {"test": {"ate_pearson": 0.75}}
    (table,) = truth_tables({"truth": truth})
    assert table.methods == ["model", "mean"] and table.limit == "observed"
    (row,) = table.rows
    assert [cell.text for cell in row.cells] == ["0.750", "0.500"] and row.cells[0].kind == "best"
    assert row.limit is not None and row.limit.text == "0.950"
    assert row.rival is not None and row.rival.text == "0.500"


def test_the_lead_is_judged_by_the_direction_of_the_score():
    leads = {row.label: row.lead for row in tables(metrics())[0].rows}
    better, worse = leads[METRICS["ate_pearson"].label], leads[METRICS["mse"].label]
    assert better is not None and better.kind == "better" and better.text == "+0.180"
    assert worse is not None and worse.kind == "worse"
    assert leads[METRICS["ate_r2"].label] is None, "no comparison was made for it"


def test_the_first_table_is_of_what_training_did_not_see():
    whole = metrics()
    for scores in (whole["model"], *whole["baselines"].values()):
        scores["held_out"] = scores["test"]
    whole["subsets"] = {"held_out": "test cells", "test": "test perturbations, all cells"}
    shown = [table.subset for table in tables(whole)]
    assert shown == ["test cells", "test perturbations, all cells", "train"]


def test_what_is_claimed_colours_the_lead_and_not_one_interval():
    whole = metrics()
    whole["claims"] = {"test": {"ate_pearson": {"outcome": "undecided", "counted": True}}}
    lead = {row.label: row.lead for row in tables(whole)[0].rows}["ATE-rho"]
    assert lead is not None and lead.kind == "undecided" and lead.why == "+0.110 to +0.250"
    # Runs of before: every baseline must be beaten, not the best alone.
    beaten = metrics()
    close = {"difference": 0.3, "low": -0.1, "high": 0.7}
    beaten["comparison"]["test"]["ate_pearson"]["no_change"] = close
    lead = {row.label: row.lead for row in tables(beaten)[0].rows}["ATE-rho"]
    assert lead is not None and lead.kind == "undecided"


def test_the_ceiling_has_its_range_and_the_way_there_is_shown(workdir):
    whole = metrics()
    way = {"baseline": "mean", "share": 0.5}
    whole["progress"] = {"test": {"ate_pearson": way, "mse": way | {"share": -30.0}}}
    rows = {row.label: row for row in tables(whole)[0].rows}
    limit = rows["ATE-rho"].limit
    assert limit is not None and (limit.text, limit.why) == ("0.970", "0.930 to 0.990")
    assert rows["ATE-rho"].way is not None and rows["ATE-rho"].way.text == "50 %"
    assert rows["MSE"].way is not None and rows["MSE"].way.text == "far behind"
    (workdir / "metrics.json").write_text(json.dumps(whole))
    assert "way to the ceiling" in read(workdir)[1].text
    # What runs of before called a ceiling is none.
    (before, *_) = tables(whole | {"ceiling_interval": None})
    assert before.limit == "" and all(row.limit is None for row in before.rows)


def test_a_score_that_is_not_counted_is_marked(workdir):
    whole = metrics()
    assert "Not counted in the verdict" not in read(workdir)[1].text
    whole["claims"] = {"test": {"mse": {"outcome": "undecided", "counted": False}}}
    (workdir / "metrics.json").write_text(json.dumps(whole))
    _, page = read(workdir)
    assert "Not counted in the verdict" in page.text and page.text.count("†") == 3, (
        "both tables and the note"
    )


def test_every_score_is_explained():
    assert set(MEANINGS) == set(METRICS)


def test_figures_come_in_the_order_of_their_captions(tmp_path):
    (tmp_path / "figures").mkdir()
    for stem in ("aaa_extra", *reversed(CAPTIONS), "effects_2"):
        (tmp_path / "figures" / f"{stem}.png").write_bytes(b"")
    html, _ = read(tmp_path)
    titles = [
        t.removesuffix(".") for t in re.findall(r"<figcaption><strong>([^<]+)</strong>", html)
    ]
    shown = {stem: title for stem, (title, _) in CAPTIONS.items()}
    assert titles == [
        shown["baselines"],
        shown["ate_scatter"],
        shown["effects"],
        shown["effects"],
        shown["reliability"],
        shown["recovery"],
        shown["quality_violins"],
        shown["latent_umap"],
        "aaa extra",
        shown["loss_curves"],
    ]


@pytest.mark.parametrize(
    "value, shown",
    [
        (0.0003, "0.0003"),
        (1234567, "1,234,567"),
        (2.0, "2"),
        (0.0, "0"),
        (-0.25, "−0.25"),
        (True, "yes"),
        (3e12, "3.00 × 10¹²"),
        (-1.2e-9, "−1.20 × 10⁻⁹"),
        (99999.6, "100,000"),
        ("x", "x"),
    ],
)
def test_single_values(value, shown):
    assert numbers.value(value) == shown


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -np.inf])
def test_values_without_a_number(value):
    assert ">undefined</abbr>" in numbers.value(value)


def test_headings_keep_the_capitals_of_names():
    assert numbers.heading("p2n CD4T") == "P2n CD4T" and numbers.heading("test") == "Test"


def test_a_report_replaces_the_last_one(workdir):
    first, _ = read(workdir)
    (workdir / "metrics.json").unlink()
    second, _ = read(workdir)
    assert len(second) < len(first)
