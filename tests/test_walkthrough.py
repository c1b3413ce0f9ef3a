"""The walkthrough: the notebook's numbers next to ours, a story that fits 80 columns, and text that is never markup."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from prefect.client.orchestration import get_client
from rich.cells import cell_len

from flows import walkthrough as flow_module
from flows.__main__ import main
from flows.walkthrough import walkthrough
from tasks.loading.data import identify_data, load_rows
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.pages.blocks import Block, Correction, Heading, Paragraph, Quoted, Table, Verbatim
from tasks.pages.markdown import to_markdown
from tasks.pages.terminal import WIDTH, print_blocks
from tasks.priming.errors import UsageError
from tasks.priming.records import AnswerText
from tasks.priming.sampling import draw_samples
from tasks.priming.settings import EmbeddingSettings, LanguageModelSettings, resolve_settings
from tasks.walkthrough import walk as steps
from tasks.walkthrough.story import tell
from tasks.walkthrough.walk import Guesses, Walk, published_surrogates, read_published
from tests.places import ROOT, WALKTHROUGH
from tests.tiny_models import require_weights, tiny_folder
from tests.waiting import PATIENCE

HOSTILE = "<script>x</script> [bold]b[/] **b** `c` a|b \\| :smile: \x1b[31mred \u202etxet https://x.example\n# no\n- no"
STEPS = (
    "choose_sample",
    "write_surrogates",
    "compare_with_query",
    "score_answer",
    "inspect_caches",
    "show_walkthrough",
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the steps as plain functions, without Prefect, and collect the pages for the UI."""
    pages: list[str] = []

    def keep(markdown: str, key: str, description: str) -> None:
        assert key == "walkthrough"
        assert description
        pages.append(markdown)

    for name in STEPS:
        monkeypatch.setattr(flow_module, name, getattr(steps, name).fn)
    monkeypatch.setattr(steps, "create_markdown_artifact", keep)
    return pages


@pytest.fixture(scope="module")
def mistral_walk(tiny_mistral_folder: Path, minilm: Any) -> Walk:
    """The notebook's example with its own tokenizer and the real MiniLM; the weights are random."""
    settings = resolve_settings("demo")
    reader = identify_language_model(
        LanguageModelSettings(language_model=str(tiny_mistral_folder), dtype="float32", device="cpu")
    )
    router = identify_embedding_model(EmbeddingSettings(embedding_model="packaged/all-MiniLM-L6-v2"))
    sample = steps.choose_sample.fn(settings, None)
    guesses = []
    for surrogates, families in (
        (steps.write_surrogates.fn(sample, settings, reader), ("baseline", "static", "generated")),
        (published_surrogates(sample), ("generated",)),
    ):
        routes = steps.compare_with_query.fn(sample, surrogates, router)
        guesses.append(Guesses(surrogates, routes, steps.score_answer.fn(sample, surrogates, reader, families)))
    here, theirs = guesses
    inspection = steps.inspect_caches.fn(sample, here, reader)
    return Walk("demo", settings, reader, router, None, sample, here, inspection, theirs)


def text_of(blocks: list[Block]) -> str:
    """Return all sentences, each on one line."""
    lines = []
    for block in blocks:
        if isinstance(block, Paragraph | Correction):
            lines.append("".join(part if isinstance(part, str) else part.text for part in block.parts))
    return "\n".join(lines)


def table_of(blocks: list[Block], *columns: str) -> list[dict[str, str]]:
    """Return the rows of the tables that have these columns."""
    return [
        {name: cell if isinstance(cell, str) else cell.text for name, cell in zip(block.columns, row, strict=True)}
        for block in blocks
        if isinstance(block, Table) and set(columns) <= set(block.columns)
        for row in block.rows
    ]


# --- the notebook's numbers ---


def test_the_published_numbers_are_the_golden_ones() -> None:
    published = read_published()
    texts = (published.passage, published.query, published.answer, published.generated)
    assert texts == (WALKTHROUGH["passage"], WALKTHROUGH["query"], WALKTHROUGH["answer"], WALKTHROUGH["generated"])
    families = ("static", "generated")
    assert published.similarities == {
        f"{family}/{key}": value for family in families for key, value in WALKTHROUGH[f"{family}_similarities"].items()
    }
    assert published.context_tokens == {"baseline/document": WALKTHROUGH["cache_tokens"]["baseline"]} | {
        f"{family}/{key}": count for family in families for key, count in WALKTHROUGH["cache_tokens"][family].items()
    }
    assert published.nll == {
        name.replace(":", "/").replace("baseline", "baseline/document"): value
        for name, value in WALKTHROUGH["clean_nll"].items()
    }
    assert published.second_use_nll == WALKTHROUGH["mean_nll_CONTAMINATED_baseline"]
    assert len(published.answer_tokens) == WALKTHROUGH["n_scored_tokens"] == WALKTHROUGH["n_answer_tokens"] - 1


def test_similarities_and_token_counts_are_the_notebooks(mistral_walk: Walk) -> None:
    blocks = tell(mistral_walk)
    similarities = table_of(blocks, "similarity", "notebook")
    assert len(similarities) == 10
    assert all(row["similarity"] == row["notebook"] for row in similarities)
    printed = [*WALKTHROUGH["static_similarities"].values(), *WALKTHROUGH["generated_similarities"].values()]
    assert [row["notebook"] for row in similarities] == [f"{value:.4f}" for value in printed]
    counts = [row for row in table_of(blocks, "tokens", "notebook's tokens") if row["written"] != "here"]
    assert len(counts) == 11
    assert all(row["tokens"] == row["notebook's tokens"] for row in counts)
    assert [int(row["tokens"]) for row in counts] == [107, 127, 127, 130, 128, 124, 142, 123, 134, 162, 152]  # In[26]
    text = text_of(blocks)
    assert "10 of 10 similarities are the notebook's to 4 decimals. Of its 5 generated surrogates, 1 has" in text
    assert "11 of 11 token counts are the notebook's." in text
    assert "another tokenizer" not in text


def test_the_answers_tokens_are_those_that_the_notebook_printed(mistral_walk: Walk) -> None:
    rows = table_of(tell(mistral_walk), "token", "baseline")
    printed = [row["token"] for row in WALKTHROUGH["token_probs_CONTAMINATED_second_use"]]
    assert [row["token"].strip() for row in rows] == ["Appro", *printed, "mean NLL"]


def test_what_was_written_here_has_no_published_count(mistral_walk: Walk) -> None:
    rows = table_of(tell(mistral_walk), "notebook's tokens")
    assert [row["notebook's tokens"] for row in rows if row["written"] == "here"] == [""] * 5


def test_nlls_of_another_model_are_not_shown_next_to_ours(mistral_walk: Walk) -> None:
    blocks = tell(mistral_walk)
    assert table_of(blocks, "NLL", "notebook") == []
    assert "NLLs of two models cannot be compared" in text_of(blocks)


@pytest.mark.parametrize(("quantization", "is_told"), [("nf4", False), ("none", True)])
def test_nlls_of_the_same_model_are_shown_next_to_ours(mistral_walk: Walk, quantization: str, is_told: bool) -> None:
    reader = mistral_walk.language_model | {
        "language_model": "mistralai/Mistral-7B-Instruct-v0.2",
        "quantization": quantization,
    }
    blocks = tell(dataclasses.replace(mistral_walk, language_model=reader))
    rows = table_of(blocks, "NLL", "notebook")
    assert [(row["condition"], row["notebook"]) for row in rows] == [
        ("baseline/document", "2.9583"),
        ("static/procedural", "2.4583"),
        ("generated/keyword_query", "2.7292"),
    ]
    assert mistral_walk.theirs
    theirs = mistral_walk.theirs.score("generated/keyword_query")
    assert rows[2]["NLL"] == f"{theirs.nll_notebook:.4f}"  # with the notebook's own text
    assert ("weights were in 4 bits" in text_of(blocks)) == is_told


def test_its_surrogates_get_our_flags(mistral_walk: Walk) -> None:
    """One of the five keeps to its limit, one has a stray quotation mark and a bracket (counted by hand)."""
    flags = {s.key: (s.is_over_word_limit, s.has_stray_marks) for s in published_surrogates(mistral_walk.sample)}
    assert [key for key, (is_long, _) in flags.items() if not is_long] == ["keyword_query"]
    assert [key for key, (_, has_marks) in flags.items() if has_marks] == ["misconception_negative"]


# --- what is told ---


def test_every_step_is_told_and_every_error_of_the_notebook_is_said(mistral_walk: Walk) -> None:
    blocks = tell(mistral_walk)
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    assert [heading.partition(".")[0] for heading in headings[1:]] == list("123456789")
    said = text_of([block for block in blocks if isinstance(block, Correction)])
    for error in ("quotation marks", "BOS twice", "new surrogates", "Document:", "Cannot access", "first answer token"):
        assert error in said
    for error in ("bfloat16", "changes the cache", "2.9583 into 4.4645", "ROUTE HERE", "mean probabilities"):
        assert error in said


def test_the_tokens_add_up_to_the_nll_that_is_told(mistral_walk: Walk) -> None:
    (table,) = (b for b in tell(mistral_walk) if isinstance(b, Table) and b.columns[0] == "token")
    rows = table_of([table], "token", "baseline")
    shown = [float(re.findall(r"\((.*)\)", row["baseline"])[0]) for row in rows[:-1]]
    assert len(shown) == 13  # all answer tokens, the first included
    assert float(rows[-1]["baseline"]) == pytest.approx(sum(shown) / 13, abs=5e-4)
    assert rows[-1]["token"] == "mean NLL"


def test_a_score_is_told_by_both_measures_with_what_it_gains(mistral_walk: Walk) -> None:
    rows = table_of(tell(mistral_walk), "similarity", "%", "points", "NLL")
    scores, plain = mistral_walk.here.scores, mistral_walk.here.score("baseline/document").nll or 0
    assert len(rows) == len(scores) == 11
    for row, score in zip(rows, scores, strict=True):
        nll = score.nll or 0
        assert (row["%"], row["NLL"]) == (f"{100 * math.exp(-nll):.2f}", f"{nll:.4f}")
        points = f"{100 * (math.exp(-nll) - math.exp(-plain)):+.2f}"
        assert row["points"] == ("-" if score.family == "baseline" else points)
    for row in table_of(tell(mistral_walk), "nats", "without first")[1:]:
        assert row["nats"] == f"{plain - (mistral_walk.here.score(row['cache']).nll or 0):+.4f}"


def test_what_the_model_answers_from_each_cache_is_told(mistral_walk: Walk) -> None:
    answers = mistral_walk.inspection.answers
    assert [f"{row.family}/{row.key}" for row in answers] == [f"{s.family}/{s.key}" for s in mistral_walk.here.scores]
    blocks = tell(mistral_walk)
    assert [row["answer"] for row in table_of(blocks, "answer", "F1")] == [row.text for row in answers]
    failed = AnswerText("a", "baseline", "document", "kept", is_routed=False, status="too_long")
    walk = dataclasses.replace(mistral_walk, inspection=dataclasses.replace(mistral_walk.inspection, answers=[failed]))
    assert table_of(tell(walk), "answer", "F1") == [
        {"cache": "baseline/document", "answer": "(too long)", "F1": "-", "recall": "-"}
    ]


def test_an_arm_without_a_score_or_a_surrogate_is_told_as_such(mistral_walk: Walk) -> None:
    """A model that writes nothing is never routed to, and a context may not fit the window."""
    here = mistral_walk.here
    empty = [dataclasses.replace(s, text="") if s.family == "generated" else s for s in here.surrogates]
    routes = [
        dataclasses.replace(r, similarity=None, is_routed=False) if r.family == "generated" else r for r in here.routes
    ]
    scores = [
        dataclasses.replace(s, status="too_long", nll=None, nll_notebook=None, token_nlls=None)
        if s.family == "static"
        else s
        for s in here.scores
    ]
    walk = dataclasses.replace(mistral_walk, here=Guesses(empty, routes, scores), theirs=None, number=1)
    blocks = tell(walk)
    rows = {row["condition"]: row for row in table_of(blocks, "condition", "routed to")}
    assert rows["Generated, routed"] == {
        "condition": "Generated, routed", "routed to": "-", "%": "-", "points": "-", "NLL": "-", "nats": "-"
    }  # fmt: skip
    assert rows["Static, routed"]["NLL"] == "-"
    assert "static/procedural has no score: too long." in text_of(blocks)
    assert "The lowest NLL here: Baseline." in text_of(blocks)
    assert [row["generated here"] for row in table_of(blocks, "generated here")] == ["(nothing)"] * 5


# --- how it is shown ---


def test_it_fits_its_columns_and_has_no_colour_codes_in_a_file(
    mistral_walk: Walk, capsys: pytest.CaptureFixture[str]
) -> None:
    print_blocks(tell(mistral_walk))
    lines = capsys.readouterr().out.splitlines()
    assert WIDTH == 80
    assert max(map(cell_len, lines)) <= 80
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)
    assert any("walgreens store sales average" in line for line in lines)
    assert any(line.startswith("static/procedural ") and " routed" in line for line in lines)  # in one line


def hostile_blocks() -> list[Block]:
    row = (Quoted(HOSTILE), Quoted("a\\|b"), Quoted("`"), Quoted(""), "1")
    return [
        Paragraph(("Before ", Quoted(HOSTILE), " after.")),
        Correction((Quoted("``` x ```"),)),
        Verbatim(f"{HOSTILE}\n````\n</details>"),
        Table(("a", "b", "c", "d", "n"), (row, row), text_columns=4),
        Paragraph(("The end.",)),
    ]


def test_hostile_text_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_blocks(hostile_blocks())
    printed = capsys.readouterr().out
    assert not set(printed) & {"\x1b", "\u202e", "\r"}
    flat = " ".join(printed.split())
    for text in ("<script>x</script>", "[bold]b[/]", ":smile:", "␛[31mred", "[U+202E]txet"):
        assert text in flat


def test_hostile_text_is_no_markdown() -> None:
    """Read by another parser, with tables and links: what is quoted stands in code, and nothing else comes of it."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(to_markdown(hostile_blocks()))
    inner = [child for token in tokens for child in token.children or ()]
    allowed = {"text", "code_inline", "strong_open", "strong_close", "softbreak", "html_inline"}
    assert {child.type for child in inner} <= allowed
    assert {child.content for child in inner if child.type == "html_inline"} == {"<br>"}  # our own: lines of a cell
    assert sum(child.type == "strong_open" for child in inner) == 1  # our own "Corrected:"
    assert not any(token.type in ("heading_open", "html_block", "bullet_list_open") for token in tokens)
    quoted = [child.content for child in inner if child.type == "code_inline"]
    assert quoted[0] == HOSTILE.replace("\x1b", "␛").replace("\u202e", "[U+202E]").replace("\n", "␊")
    assert "``` x ```" in quoted
    (fence,) = (token for token in tokens if token.type == "fence")
    assert "</details>" in fence.content
    assert "# no" in fence.content
    cells = [token for token in tokens if token.type in ("td_open", "th_open")]
    assert len(cells) == 3 * 5  # a bar in a cell has not ended it


def test_a_cell_keeps_its_bars_but_for_a_blank_after_a_backslash() -> None:
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(to_markdown([Table(("a", "b"), ((Quoted("x|y"), Quoted("x\\|y")),), text_columns=2)]))
    cells = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
    assert cells == ["x|y", "x\\ |y"]


def test_a_long_cell_is_broken_into_lines_that_the_page_shows() -> None:
    page = to_markdown([Table(("a",), ((Quoted("word " * 20),),))])
    assert page.count("<br>") == 2  # by hand: 20 words of 5 characters, 7 to a line of 36
    assert page.count("word") == 20
    assert to_markdown([Table(("a",), (("word " * 20,),))]).count("<br>") == 2


# --- which sample ---


def test_a_numbered_sample_is_that_of_the_experiments_draw() -> None:
    settings = resolve_settings("demo", seed=7)
    drawn = draw_samples(load_rows(identify_data(settings.data)), settings.sampling, 7).samples
    assert steps.choose_sample.fn(settings, 1) == drawn[0]
    assert steps.choose_sample.fn(settings, 10) == drawn[9]
    with pytest.raises(UsageError, match=r"There is no sample 11: these settings draw 10 from example\. Give --sample"):
        steps.choose_sample.fn(settings, 11)


def test_without_a_number_it_is_the_notebooks_example() -> None:
    sample = steps.choose_sample.fn(resolve_settings("demo", min_words=100), None)  # its 59 words qualify all the same
    assert (sample.passage, sample.query, sample.answer) == (
        WALKTHROUGH["passage"],
        WALKTHROUGH["query"],
        WALKTHROUGH["answer"],
    )


# --- the flow and the command ---


def test_a_tiny_model_walks_through_the_notebooks_example(shown: list[str]) -> None:
    blocks = walkthrough.fn(profile="demo", language_model=str(tiny_folder()))
    assert "10 of 10 similarities are the notebook's" in text_of(blocks)
    ours = table_of(blocks, "ours (all tokens)")
    assert ours[0]["ours (all tokens)"] == ours[1]["ours (all tokens)"]
    assert ours[0]["its NLL (no first token)"] != ours[1]["its NLL (no first token)"]
    assert shown == [to_markdown(blocks)]


@pytest.mark.slow
@pytest.mark.weights
def test_where_the_tokenizer_is_another_its_counts_are_not_compared_with_the_notebooks(shown: list[str]) -> None:
    require_weights()
    text = text_of(walkthrough.fn(profile="demo"))
    assert "another tokenizer, which makes 13 tokens of the answer; this one makes" in text
    assert "are not shown next to these" in text
    assert len(shown) == 1


@pytest.mark.slow
def test_it_walks_through_a_sample_of_the_users_own_data(
    shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"passage": f"{HOSTILE} and more words", "query": HOSTILE, "answer": "Yes"}) + "\n")
    blocks = walkthrough.fn(profile="demo", sample=1, data=str(data), min_words=1, language_model=str(tiny_folder()))
    assert f"number 1 of those that an experiment with profile demo draws from {data}" in text_of(blocks)
    print_blocks(blocks)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(cell_len, printed.splitlines())) <= 80
    assert "notebook's tokens" not in printed
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sample=0"], "`sample` must be a whole number from 1, got '0'. Leave it out for the notebook's example."),
        (["--sample=x"], "`sample` must be a whole number from 1, got 'x'. Leave it out for the notebook's example."),
        (["--seed=-1"], "`seed`: Input should be greater than or equal to 0, got '-1'."),
        (
            ["--profile=nope"],
            "Unknown profile 'nope'. Known profiles: demo, smollm2-msmarco, laptop, mistral-7b, mistral-7b-bf16.",
        ),
        (["--language-model=./nope"], "There is no model folder ./nope. Give a local folder or the id of a model on"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["walkthrough", *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1


@pytest.mark.long
def test_the_command_prints_it_and_the_ui_has_its_page(server: str) -> None:
    environment = os.environ | {"PREFECT_API_URL": server}
    command = [sys.executable, "-m", "flows", "walkthrough", "--sample=2", f"--language-model={tiny_folder()}"]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""  # nothing of Prefect's log
    assert "9. Three results" in finished.stdout
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs()
        (artifact,) = client.read_artifacts()
    assert run.name == "demo, sample 2"
    assert run.state
    assert run.state.is_completed()
    assert artifact.key == "walkthrough"
    assert "\n## 9. Three results\n" in str(artifact.data)
