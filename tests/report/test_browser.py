"""The page in a browser: scripts run, nothing leaves the file, names stay text, and without scripts
it still reads."""

from __future__ import annotations

import shutil

import pytest

from jaxpert.app.sidebyside import SideBySide, write
from jaxpert.report.page import write_report
from jaxpert.tasks.screen.entries import Compared, Entry
from support.report_work import GENES, LONG, NAMES, QUOTES, SCRIPT, TESTED, write_work

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SOME_DOT = """canvas => {
    const at = canvas.getBoundingClientRect();
    for (let y = 4; y < at.height; y += 7)
        for (let x = 4; x < at.width; x += 7) {
            const place = { clientX: at.x + x, clientY: at.y + y, bubbles: true };
            canvas.dispatchEvent(new PointerEvent("pointermove", place));
            if (document.querySelector(".vg-tooltip.visible")) return [x, y];
        }
    return [0, 0];
}"""
"""Moves a pretended pointer over a chart until it meets a dot, which is where."""
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser here (none of {', '.join(BROWSERS)})")
    with api.sync_playwright() as started:
        # Containers run as root, where the sandbox cannot be had.
        made = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(write_work(tmp_path_factory.mktemp("work")))


class Opened:
    """A page with what it complained of and asked for."""

    def __init__(self, browser, path, size=WIDE, **options):
        self.context = browser.new_context(viewport=size, **options)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def drawn(self):
        """Wait until every chart is drawn."""
        for figure in self.page.locator("figure[data-chart]").all():
            figure.locator("canvas").wait_for()
        return self

    def tooltip(self, canvas) -> str:
        """What is told of some dot under the pointer."""
        canvas.scroll_into_view_if_needed()
        x, y = canvas.evaluate(SOME_DOT)
        box = canvas.bounding_box()
        self.page.mouse.move(box["x"] + 1, box["y"] + 1)
        self.page.mouse.move(box["x"] + x, box["y"] + y)
        shown = self.page.locator(".vg-tooltip.visible")
        shown.wait_for()
        return shown.inner_text()


@pytest.fixture
def opened(browser, report):
    made = []

    def open_page(path=report, **options):
        made.append(Opened(browser, path, **options))
        return made[-1]

    yield open_page
    for one in made:
        one.context.close()


def names_shown(page) -> list[str]:
    return page.locator("table.each > tbody > tr > th").all_inner_texts()


@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_runs_without_a_complaint_and_asks_for_nothing(opened, report, size, scheme):
    one = opened(size=size, color_scheme=scheme).drawn()
    assert one.complaints == []
    outside = [url for url in one.requests if not url.startswith("data:")]
    assert outside == [report.as_uri()], "nothing but the file itself"
    wide = one.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "the page never scrolls sideways"
    paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) > 3 * 128
    assert bright is (scheme == "light")


def test_a_foreign_script_does_not_run(opened, report):
    """The policy holds: a script that is put into the finished file is refused."""
    spoilt = report.with_name("spoilt.html")
    extra = "<script>document.title = 'taken'</script></body>"
    # The last one, since the libraries hold the same text.
    spoilt.write_text(extra.join(report.read_text().rsplit("</body>", 1)))
    one = opened(spoilt).drawn()
    assert one.page.title() != "taken"
    assert any("Content Security Policy" in said for said in one.complaints)


def test_names_stay_text(opened):
    one = opened().drawn()
    shown = " ".join(names_shown(one.page))
    assert SCRIPT in shown and LONG in shown
    assert one.page.title() != "taken" and one.page.locator("table.each b").count() == 0
    assert QUOTES in one.page.locator("#reproduce pre").inner_text()


def test_the_table_sorts_and_searches(opened):
    one = opened()
    page = one.page
    assert len(names_shown(page)) == 25, "a page of the table"
    assert "A click on a head sorts" in page.locator("#perturbations").inner_text()
    matches = page.locator("table.each > tbody > tr > td:nth-child(5)")
    head = page.locator("table.each thead th", has_text="Match")
    for order, descending in (("ascending", False), ("descending", True)):
        head.click()
        page.locator(f"table.each thead th[aria-sort={order}]", has_text="Match").wait_for()
        values = [float(cell.replace("−", "-")) for cell in matches.all_inner_texts()]
        assert values == sorted(values, reverse=descending), order
    field = page.locator(".dt-search input")
    field.fill("PERT07")
    assert names_shown(page) == ["PERT07"]
    field.fill(SCRIPT)
    assert SCRIPT in names_shown(page)
    field.fill("nobody")
    assert "No perturbation fits" in page.locator("table.each tbody").inner_text()


def test_a_click_opens_the_genes_of_a_perturbation(opened):
    one = opened().drawn()
    page = one.page
    page.locator(".dt-search input").fill("test")
    assert len(names_shown(page)) == TESTED
    page.get_by_role("button", name=SCRIPT, exact=True).click()
    panel = page.locator(".panel")
    assert panel.locator("h4").inner_text() == SCRIPT
    assert f"All {len(GENES)} genes" in panel.inner_text()
    assert panel.locator("table tr").count() == 11, "ten genes and the heads"
    panel.locator("canvas").wait_for()
    assert any(gene in one.tooltip(panel.locator("canvas")) for gene in GENES)
    page.get_by_role("button", name=SCRIPT, exact=True).click()
    assert panel.count() == 0 and one.complaints == []


def test_dots_say_what_they_are(opened):
    one = opened().drawn()
    said = one.tooltip(one.page.locator("figure[data-chart=each] canvas"))
    assert "this model" in said and any(name in said for name in NAMES)


def test_it_reads_without_scripts(opened):
    one = opened(java_script_enabled=False)
    page = one.page
    assert "better than every baseline" in page.locator("#verdict .light").inner_text()
    assert len(names_shown(page)) == len(NAMES) - 1, "all rows"
    assert "A click on a head sorts" not in page.locator("#perturbations").inner_text()
    stills = page.locator("figure[data-chart] img")
    assert stills.count() >= 3
    for still in stills.all():
        assert still.is_visible() and still.evaluate("it => it.naturalWidth") > 100
    folds = page.locator("#data details")
    folds.first.locator("summary").click()
    assert SCRIPT in page.locator("#data").inner_text()


def test_paper_holds_what_is_folded(opened):
    one = opened().drawn()
    page = one.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(names_shown(page)) == len(NAMES) - 1
    assert page.locator("details:not([open])").count() == 0
    figure = page.locator("figure[data-chart=each]")
    assert figure.locator("img").is_visible() and not figure.locator("canvas").is_visible()
    assert not page.locator(".dt-search").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0 and len(names_shown(page)) == 25


def test_pages_of_several_runs_sort_and_draw(opened, tmp_path):
    """The same shell around `jaxpert compare`."""
    rows = []
    for score, value in (("ate_pearson", 0.5), ("mse", 0.25)):
        shared = "test", 20, score
        nothing = float("nan")
        rows += [
            Compared(*shared, SCRIPT, value, nothing, nothing, nothing, ""),
            Compared(*shared, "other", value + 0.2, 0.2, 0.1, 0.3, "better"),
            Compared(*shared, "no_change", 0.1, -0.1, -0.2, 0.1, "undecided"),
        ]
    entries = [Entry(name, QUOTES, "", (), (), {}, (), {}) for name in (SCRIPT, "other")]
    path, *_ = write(SideBySide(entries, rows, [f"a note on {QUOTES}"]), tmp_path)
    for size in (WIDE, PHONE):
        one = opened(path, size=size).drawn()
        page = one.page
        assert one.complaints == [] and one.requests[0] == path.as_uri()
        assert not [url for url in one.requests[1:] if not url.startswith("data:")]
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.title() != "taken" and SCRIPT in page.locator("#verdict .light").inner_text()
        assert page.locator("figure[data-chart] canvas").count() == 2
        table = page.locator("table.sortable").first
        table.locator("thead th").nth(1).click()
        table.locator("thead th[aria-sort=ascending]").wait_for()
        shown = [float(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert shown == sorted(shown)
