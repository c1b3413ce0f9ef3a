"""The page: equal bytes for equal rows, the numbers of the database, no harm from any text, no requests."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks import results
from tasks.pages.numbers import interval
from tasks.priming.errors import UsageError
from tasks.reading.database import read_run
from tasks.report.page import render_report, write_report
from tasks.report.plots import plot_pngs, plots_of
from tasks.report.tables import tables_of
from tasks.report.verdicts import make_headline
from tasks.store import artifacts, manifests
from tests.pages.test_texts import Page
from tests.report.conftest import Published, Words, publish_run, unpacked

BYTES = 3_000_000
"""The most that a report may have."""

HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(2)></svg></style></title><!-- {} {{7*7}} {% raw %} "
    "\"' onload=alert(3) ${x} &lt;b&gt; \x00\x07\x1b[31m \u202eleft\u2066 שלום مرحبا 😀𝒳 %s javascript:alert(4) ]]>"
)


@pytest.fixture(scope="session")
def page(shared_run: Published) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", shared_run.folder)
        return render_report(read_run(shared_run.run_id))


def test_a_report_is_one_file_named_after_its_run(published: Published, page: str) -> None:
    path = write_report("abc123")
    assert path == published.folder / "reports" / "abc123.html"
    assert path.read_bytes() == page.encode()  # a second build
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.slow
def test_a_database_that_was_rebuilt_gives_the_same_bytes(
    published: Published, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.rebuild_database()
    assert render_report(read_run("abc123")) == page


def test_numbers_are_those_of_sql(query: Any, page: str) -> None:
    said = Page(page).said
    columns = "improvement_mean, improvement_low, improvement_high, sentence"
    rows = query(f"SELECT {columns} FROM all_runs.does_priming_help WHERE run_id = 'abc123'")
    assert len(rows) == 2
    for mean, low, high, sentence in rows:
        assert interval(mean, low, high) in said
        assert sentence in said
    for name, value in query("SELECT name, value FROM run_check WHERE run_id = 'abc123'"):
        assert f'<td>{name}</td><td>all</td><td class="number" data-order="{value}">' in page
    for condition, tokens in query(
        "SELECT condition, prefill_tokens FROM all_runs.what_does_it_cost WHERE run_id = 'abc123'"
    ):
        assert re.search(f"<td>{condition}</td>.*>{tokens:.0f}</td>", page)


def test_every_section_is_there_in_order(page: str) -> None:
    sections = [
        "answers", "run", "comparisons", "samples", "nll", "difficulty", "routing", "cost",
        "surrogates", "texts", "checks",
    ]  # fmt: skip
    places = [page.index(f'<section id="{name}">') for name in sections]
    assert places == sorted(places)
    assert page.count("<svg") == page.count("</svg>") == page.count("<figcaption>") >= 8


def test_what_was_run_is_said(page: str) -> None:
    said = Page(page).said
    for text in (
        "an/imagined-model",
        "imagined.jsonl",
        "1.00\u00a0M",
        "24 samples",
        "seed0",
        "torch 2.13.0",
        "±1 percentage points",
    ):
        assert text in said, text
    for step, number in (("rows read", "60"), ("no answer", "−5"), ("eligible", "40"), ("drawn", "24")):
        assert re.search(f"<td>[^<]*{step}</td><td[^>]*>{number}</td>", page), step


def test_the_policy_allows_nothing_but_what_is_in_the_page(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert page.index("Content-Security-Policy") < page.index("<style>")
    for tag, attributes in Page(page).elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "form", "base", "audio", "video"}
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in {"src", "action", "formaction", "poster"}
            assert not name.endswith("href") or str(value).startswith("#")
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", page)
    assert "@import" not in page


def test_every_figure_says_what_it_shows(page: str) -> None:
    figures = [dict(attributes) for tag, attributes in Page(page).elements if tag == "svg"]
    assert len(figures) >= 8
    for figure in figures:
        assert figure["role"] == "img"
        assert len(str(figure["aria-label"])) > 60
    assert page.count("</title><desc>") == len(figures)


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    elements = Page(page).elements
    ids = [value for _, attributes in elements for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {str(value)[1:] for _, attributes in elements for name, value in attributes if name.endswith("href")}
    assert links <= set(ids)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The reports of two runs that are equal but for their texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", tmp_path_factory.mktemp("texts"))
        publish_run("harmless", Words())
        publish_run("hostile", Words(*[HOSTILE] * 9))
        results.rebuild_database()
        return {run_id: render_report(read_run(run_id)) for run_id in ("harmless", "hostile")}


def test_no_element_comes_from_data(pages: dict[str, str]) -> None:
    """The page of hostile texts has the elements of the one of harmless texts, and marks around control characters."""
    shown = {run_id: Page(page) for run_id, page in pages.items()}
    skeletons = {
        run_id: [tag for tag, attributes in page.elements if ("class", "control") not in attributes]
        for run_id, page in shown.items()
    }
    assert skeletons["hostile"] == skeletons["harmless"]
    said = shown["hostile"].said
    for text in (said, unpacked(pages["hostile"])["samples"][0]["passage"]):
        assert "<script>alert(1)</script></script><img src=x onerror=alert(2)>" in text
        assert "{{7*7}}" in text
        assert "␀␇␛[31m [U+202E]left[U+2066] שלום مرحبا 😀𝒳" in text


def test_no_control_character_is_left(pages: dict[str, str]) -> None:
    shown = pages["hostile"] + json.dumps(unpacked(pages["hostile"]), ensure_ascii=False)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\\\\u00", shown)


def test_what_runs_right_to_left_is_isolated(pages: dict[str, str]) -> None:
    """It is in an element with its own direction, or by itself in a cell."""
    page = pages["hostile"]
    found = list(re.finditer("שלום", page))
    assert found
    for match in found:
        opening = re.findall(
            r"<(?:/?(?:p|td|li|dd|h\d|figcaption)|bdi|span class=\"said\")[ >]", page[: match.start()]
        )[-1]
        assert opening.startswith(("<bdi", "<span", "<td", "<desc", "<figcaption")), page[
            match.start() - 300 : match.start()
        ]


@pytest.mark.slow
def test_no_text_makes_a_report_large(artifacts_folder: Path) -> None:
    """Every text is ten thousand characters of those that take the most bytes to show."""
    publish_run("large", Words(*["\x00&😀\u202e" * 2_500] * 9), sample_count=200)
    results.rebuild_database()
    assert 100_000 < write_report("large").stat().st_size < BYTES


def test_an_unknown_run_writes_nothing(published: Published) -> None:
    with pytest.raises(UsageError, match="There is no run 'nowhere'"):
        write_report("nowhere")
    assert not (published.folder / "reports" / "nowhere.html").exists()


@pytest.mark.parametrize(("run_id", "line"), [("abd456", "this run failed"), ("fff000", "this run has not ended")])
def test_a_run_that_is_not_complete_says_so_first_and_gives_no_answers(
    published: Published, run_id: str, line: str
) -> None:
    page = render_report(read_run(run_id))
    assert f'<h1 class="open">No conclusions: {line}</h1>' in page
    assert "There are no answers: conclusions are drawn from complete runs only." in page
    assert 'class="verdict' not in page
    assert "start the same command again" in page.lower()
    assert ("ValueError: the disk is full" in page) == (run_id == "abd456")


def test_a_failed_run_shows_what_there_is(published: Published) -> None:
    rows = read_run("abd456")
    assert not plots_of(rows)["comparisons"]
    assert unpacked(render_report(rows))["samples"]


def test_a_run_that_lost_a_file_draws_no_conclusion(artifacts_folder: Path) -> None:
    evidence = publish_run("whole", Words())
    attempt = manifests.Attempt(run_id="whole", attempt_id="other")
    manifests.extend_run(attempt, {"distractor": {"all": {"path": "gone.parquet", "sha256": "0", "rows": 1}}})
    results.rebuild_database()
    page = render_report(read_run("whole"))
    assert "No conclusions: this run is incomplete" in page
    assert "artifacts_are_intact" in page
    assert len(evidence.samples) == 24
    for word in ("gain more:", "gain less:", "than chance", "from chance"):
        assert word not in page


def test_a_failed_check_comes_first(artifacts_folder: Path) -> None:
    publish_run("checked", Words())
    results.rebuild_database()
    with duckdb.connect(artifacts_folder / "results.duckdb") as connection:
        connection.execute("UPDATE run_check SET passed = false WHERE name = 'token_counts_add_up'")
    rows = read_run("checked")
    assert make_headline(rows).text == "Do not decide by this run: 1 of its checks failed"
    in_order = [str(row[0]) for row in tables_of(rows, [])["checks"].rows]
    assert in_order == sorted(in_order, key=["failed", "passed", "recorded"].index)
    assert in_order[0] == "failed"


@pytest.mark.slow
def test_every_plot_is_a_png_too(published: Published) -> None:
    pngs = plot_pngs(plots_of(read_run("abc123")))
    assert len(pngs) == sum(len(plots) for plots in plots_of(read_run("abc123")).values()) >= 8
    assert all(png.startswith(b"\x89PNG") for png in pngs.values())
    assert sum(map(len, pngs.values())) < 500_000
