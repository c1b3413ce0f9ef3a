"""The page in a real browser: it fits every screen, follows light and dark, makes no requests, logs no errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import results
from tasks.pages.html import DARK, LIGHT
from tasks.report.page import write_report
from tasks.store import artifacts
from tests.operations.browser import CHROMIUM, Browser, opened_browser
from tests.report.conftest import Words, publish_run
from tests.report.test_page import HOSTILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

# Runs before the page's own script and records every problem from then on.
_WATCH = """
window.problems = [];
window.addEventListener("error", event => problems.push(event.message), true);
document.addEventListener("securitypolicyviolation", event => problems.push(event.violatedDirective));
for (const name of ["error", "warn"]) console[name] = (...said) => problems.push(said.join(" "));
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => problems.push(name);
"""

_OVERFLOWING = """
[...document.body.querySelectorAll("*")].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 0 && box.right > document.documentElement.clientWidth + 1 && !element.closest(PLACES);
}).map(element => element.outerHTML.slice(0, 200))
"""

SCREENS = [(width, scheme) for width in (1280, 375) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of a run of plain texts, and of one of hostile ones."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", folder)
        publish_run("plain", Words())
        publish_run("hostile", Words(*[HOSTILE + "x" * 300] * 9))
        results.rebuild_database()
        for run_id in ("plain", "hostile"):
            write_report(run_id)
    return folder / "reports"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened_browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        yield opened


def show(browser: Browser, path: Path, width: int = 1280, scheme: str = "light", media: str = "") -> None:
    """Open a page on a screen of some width, in light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media=media, features=features)
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    browser.open(path.as_uri(), "Checks of the run")


def color(browser: Browser, expression: str) -> str:
    """Return a colour of the page as #rrggbb."""
    said: str = browser.evaluate(expression)
    return "#" + "".join(f"{int(part):02x}" for part in said.removeprefix("rgb(").removesuffix(")").split(","))


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
@pytest.mark.parametrize("run_id", ["plain", "hostile"])
def test_the_page_fits_the_screen_and_makes_no_requests(
    browser: Browser, folder: Path, run_id: str, width: int, scheme: str
) -> None:
    browser.requests.clear()
    show(browser, folder / f"{run_id}.html", width, scheme)
    browser.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert "points: " in browser.wait_for("Page 1 of 3")
    # Only words of hundreds of letters may make a table scroll within itself.
    places = '"nav"' if run_id == "plain" else '"nav, .table-box"'
    assert browser.evaluate(_OVERFLOWING.replace("PLACES", places)) == []
    assert browser.evaluate("problems") == []
    assert browser.requests == [(folder / f"{run_id}.html").as_uri()]
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize(("scheme", "colors"), [("light", LIGHT), ("dark", DARK)])
def test_page_and_plots_follow_light_and_dark(
    browser: Browser, folder: Path, scheme: str, colors: dict[str, str]
) -> None:
    show(browser, folder / "plain.html", 1280, scheme)
    assert color(browser, "getComputedStyle(document.body).backgroundColor") == colors["paper"]
    assert color(browser, "getComputedStyle(document.querySelector('h1')).color") == colors["ink"]
    label = "[...document.querySelectorAll('.plot text')].find(text => text.textContent === 'all samples')"
    assert color(browser, f"getComputedStyle({label}).fill") == colors["ink"]
    assert browser.evaluate(f"getComputedStyle({label}).fontFamily").startswith("system-ui")


def test_a_printed_page_is_light_even_from_a_dark_screen(browser: Browser, folder: Path) -> None:
    show(browser, folder / "plain.html", 1280, "dark", media="print")
    assert color(browser, "getComputedStyle(document.body).backgroundColor") == LIGHT["paper"]
    pdf = browser.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(pdf) > 100_000


def column(browser: Browser, heading: str) -> list[str]:
    """Return the texts of a column of the table of all comparisons."""
    texts: list[str] = browser.evaluate(
        "(() => { const table = [...document.querySelectorAll('table')].find(t => "
        "t.caption?.textContent.startsWith('All comparisons') && "
        "[...t.tHead.rows[0].cells].some(c => c.textContent === "
        f"'{heading}')); const place = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === "
        f"'{heading}'); return [...table.tBodies[0].rows].map(row => row.cells[place].textContent); }})()"
    )
    return texts


def sort_by(browser: Browser, heading: str) -> str:
    """Click a heading of that table and return the order that it says it is in."""
    order: str = browser.evaluate(
        "(() => { const table = [...document.querySelectorAll('table')].find(t => "
        "t.caption?.textContent.startsWith('All comparisons') && "
        "[...t.tHead.rows[0].cells].some(c => c.textContent === "
        f"'{heading}')); const head = [...table.tHead.rows[0].cells].find(c => c.textContent === "
        f"'{heading}'); head.querySelector('button').click(); return head.getAttribute('aria-sort'); }})()"
    )
    return order


def test_a_click_on_a_heading_sorts_the_table(browser: Browser, folder: Path) -> None:
    show(browser, folder / "plain.html")
    before = column(browser, "comparison")
    assert sort_by(browser, "median") == "descending"
    values = [float(text.replace("−", "-")) for text in column(browser, "median")]
    assert values == sorted(values, reverse=True)
    assert sort_by(browser, "median") == "ascending"
    values = [float(text.replace("−", "-")) for text in column(browser, "median")]
    assert values == sorted(values)
    assert sort_by(browser, "comparison") == "ascending"
    assert sorted(before, key=str.lower) != before
    assert column(browser, "comparison")[0] == min(before, key=str.lower)
    assert sorted(column(browser, "comparison")) == sorted(before)


def test_what_is_missing_is_sorted_last_both_ways(browser: Browser, folder: Path) -> None:
    """A comparison with the best of several has no p-value."""
    show(browser, folder / "plain.html")
    sort_by(browser, "improvement (unadjusted, fixed n)")
    assert "oracle" in column(browser, "comparison")[0]
    for _ in range(2):
        sort_by(browser, "p")
        assert column(browser, "p")[-2:] == ["–", "–"]
        assert column(browser, "p")[0] != "–"


def choose(browser: Browser, control: str, value: str) -> list[float]:
    """Set a control of the samples, and return the changes of those that are listed."""
    browser.evaluate(
        f"(() => {{ const control = document.getElementById('{control}'); control.value = '{value}';"
        "control.dispatchEvent(new Event('input')); })()"
    )
    texts = browser.evaluate("[...document.querySelectorAll('#list .change')].map(change => change.textContent)")
    return [float(text.partition(" ")[0].replace("−", "-")) for text in texts]


def test_samples_are_filtered_sorted_paged_and_found(browser: Browser, folder: Path) -> None:
    """Expected: the 24 samples of the run, whose queries end with their numbers."""
    show(browser, folder / "plain.html")
    browser.wait_for("Page 1 of 3")
    best = choose(browser, "sort", "gained most")
    assert best == sorted(best, reverse=True)
    assert len(best) == 10
    assert choose(browser, "show", "lost")[0] < 0
    gained = choose(browser, "show", "gained")
    assert min(gained) > 0
    assert len(choose(browser, "type", "numeric")) <= len(gained)
    choose(browser, "type", "every type")
    choose(browser, "show", "all samples")
    assert len(choose(browser, "search", "Built (17)")) == 1
    assert "1 of 24 samples" in browser.evaluate("document.getElementById('found').textContent")
    choose(browser, "search", "")
    for _ in range(2):
        browser.click("Next")
    browser.wait_for("Page 3 of 3")
    assert browser.evaluate("document.querySelectorAll('#list article').length") == 4
    assert browser.evaluate("problems") == []


def test_a_dot_has_its_numbers_and_leads_to_its_sample(browser: Browser, folder: Path) -> None:
    show(browser, folder / "plain.html")
    browser.wait_for("Page 1 of 3")
    dots = "[...document.querySelectorAll('#dots a')]"
    assert browser.evaluate(f"{dots}.length") == 24
    last = "document.getElementById('sample-0017')"
    assert "when was the mill built (23)\n" in browser.evaluate(f"{dots}.map(dot => dot.textContent).join()")
    browser.evaluate("location.hash = '#sample-0017'")
    browser.wait_for("when was the mill built (23)")
    assert browser.evaluate(f"document.activeElement === {last}")
    assert browser.evaluate(f"{last}.querySelectorAll('.tokens').length") == 2  # both conditions
    assert browser.evaluate(f"{dots}.some(dot => dot.getAttribute('href') === '#sample-0017')")


def test_the_page_can_be_read_without_its_script(browser: Browser, folder: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(browser, folder / "plain.html")
        found: Any = browser.evaluate(
            "[document.querySelectorAll('th button').length, document.querySelectorAll('td').length]"
        )
        assert found[0] == 0
        assert found[1] > 100
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
