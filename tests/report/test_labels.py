"""Every number that people read is shown under its own label.

The rows are not statistics of anything: all their numbers differ as they are shown, so that a number under the wrong
heading, or two that are swapped, fail a test. How they are rounded is written out here.
"""

import dataclasses
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import results
from tasks.commands.summary import print_summary
from tasks.priming.records import (
    Comparison,
    Correlation,
    Cost,
    Measure,
    Route,
    RoutingAgreement,
    RoutingChoice,
    Stratum,
    Surrogate,
)
from tasks.reading.database import RunRows, read_run
from tasks.report.page import render_report
from tasks.store import artifacts, manifests
from tests import run_rows
from tests.published_rows import comparison, record_answers
from tests.report.conftest import unpacked

Cells = Mapping[str, str]
"""Heading -> text of one row of a table."""

RUN = "labels"
ARMS = ("baseline/document", "generated/keyword_query", "generated/target_question", "static/factual", "static/problem")

_thousandths = itertools.count(101)
_hundredths = itertools.count(11)
_counts = itertools.count(1_001)


def share() -> float:
    """Return a unique number between 0.1 and 1, shown with three decimals, or as a percentage with one."""
    return next(_thousandths) / 1000


def probability() -> float:
    """Return a unique probability below 0.1, shown with two digits."""
    return next(_hundredths) / 1000


def count() -> int:
    """Return a unique whole number above a thousand."""
    return next(_counts)


def distinct(record_type: Any, **given: Any) -> Any:
    """Return a record with the given fields; all its other numbers are unique."""
    values = {}
    for field in dataclasses.fields(record_type):
        if field.name in given:
            values[field.name] = given[field.name]
        elif "int" in str(field.type):
            values[field.name] = count()
        elif "p_value" in field.name or field.name == "answer_p":
            values[field.name] = probability()
        elif "float" in str(field.type):
            values[field.name] = share()
        else:
            raise AssertionError(f"{record_type.__name__}.{field.name} must be given")
    return record_type(**values)


def compared(arm: str, reference: str, kind: str, question: str = "does_priming_help") -> Comparison:
    """Return a comparison with unique numbers, and unique shares of wins and ties."""
    texts = comparison(arm, reference, kind, question=question)
    given = {
        field.name: getattr(texts, field.name)
        for field in dataclasses.fields(Comparison)
        if not re.search(r"\b(int|float)\b", str(field.type)) or field.name == "confidence_level"
    }
    wins, ties, losses = 3 * count(), count(), 2 * count()
    given |= {"n": wins + ties + losses, "win_count": wins, "tie_count": ties, "loss_count": losses}
    found: Comparison = distinct(Comparison, **given)
    return found


COMPARISONS = [
    compared("generated/routed", "baseline/document", "routed"),
    compared("static/routed", "baseline/document", "routed"),
    compared("generated/routed", "static/routed", "between_families", "is_generated_better_than_static"),
]
MEASURES = [
    distinct(Measure, comparison=COMPARISONS[0].comparison, measure=measure, unit="nats")
    for measure in ("margin", "nll_sum")
]
STRATA = [
    distinct(
        Stratum,
        comparison=COMPARISONS[0].comparison,
        stratified_by="query_type",
        level=level,
        rank=rank,
        measure="probability",
        n=5 * count(),
    )
    for rank, level in enumerate(("numeric", "entity"))
]
CORRELATIONS = [distinct(Correlation, family=family, key="routed") for family in ("generated", "static")]
AGREEMENTS = [distinct(RoutingAgreement, family=family) for family in ("generated", "static")]
CHOICES = [
    distinct(RoutingChoice, family="static", routed_key=routed, best_key=best)
    for routed in ("factual", "problem")
    for best in ("factual", "problem")
]
COSTS = [
    distinct(
        Cost,
        condition=condition,
        prompt_tokens=float(count()),
        generated_tokens=float(count()),
        prefill_tokens=float(count()),
        index_flops=share() * 1e9,
        cache_bytes=share() * 1e6,
        extra_attended_tokens=share() * 100,
        is_dominated=beaten_by is not None,
        dominated_by=beaten_by,
    )
    for condition, beaten_by in (
        ("baseline/document", None),
        ("generated/keyword_query", "static/factual"),
        ("static/factual", None),
    )
]
SAMPLES = [run_rows.sample(f"{number}", position=number, query=f"query {number}") for number in range(3)]
NLLS = random.Random(1).sample(range(11, 99), 2 * len(SAMPLES) * len(ARMS))
SCORES = [
    run_rows.score(
        sample.sample_id,
        arm,
        (first + second) / 200,
        token_nlls=(first / 100, second / 100),
        answer_tokens=("one", "two"),
    )
    for (sample, arm), first, second in zip(itertools.product(SAMPLES, ARMS), NLLS[::2], NLLS[1::2], strict=True)
]
ROUTED = ("static/factual", "generated/keyword_query")
ROUTES = [
    Route(sample.sample_id, family, key, share(), is_routed=f"{family}/{key}" in ROUTED, is_tie=False)
    for sample in SAMPLES
    for family, key in (arm.split("/") for arm in ARMS[1:])
]
FLAGGED = {"is_over_word_limit": 4, "is_query": 5, "has_stray_marks": 6}
SURROGATES = [
    Surrogate(
        sample_id=sample.sample_id, family="generated", key="target_question",
        text="" if number < 2 else f"text {number}", raw_text="raw", prompt_token_count=1, token_count=number + 1,
        finish="length" if number < 3 else "stop", **{flag: number < times for flag, times in FLAGGED.items()},
    )
    for number, sample in enumerate(run_rows.sample(f"{number}") for number in range(7))
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> RunRows:
    """The run as the database has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", tmp_path_factory.mktemp("labels"))
        publish()
        return read_run(RUN)


@pytest.fixture
def published(artifacts_folder: Path) -> str:
    publish()
    return RUN


def publish() -> None:
    settings = {
        "seed": 0,
        "families": ["baseline", "static", "generated"],
        "sampling": {"sample_count": 3},
        "data": {"data": "imagined.jsonl"},
        "language_model": {"language_model": "an/imagined-model"},
        "embedding": {"embedding_model": "packaged/all-MiniLM-L6-v2"},
        "statistics": {"confidence_level": 0.95, "equivalence_margin": 1.0},
    }
    attempt = manifests.start_run(manifests.RunDescription(run_id=RUN, profile="demo", settings=settings))
    funnel = {"rows": 60, "eligible": 40, "drawn": 3, "rejected": {"no answer": 20}}
    seconds = {"surrogate/generated/0": 601.0, "score/generated/0": 1_201.0}
    manifests.extend_run(attempt, {}, {"funnel": funnel, "stage_seconds": seconds})
    tables: dict[str, Sequence[object]] = {
        "sample": SAMPLES,
        "score": SCORES,
        "route": ROUTES,
        "surrogate": SURROGATES,
        "comparison": COMPARISONS,
        "measure": MEASURES,
        "stratum": STRATA,
        "correlation": CORRELATIONS,
        "routing_choice": CHOICES,
        "routing_agreement": AGREEMENTS,
        "cost": COSTS,
    }
    record_answers(attempt, **tables)
    manifests.finish_run(attempt)
    results.rebuild_database()


class Tables(HTMLParser):
    """Caption -> rows of a page's tables, each row by heading."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[Cells]] = {}
        self._texts: dict[str, list[str]] = {}
        self._rows: list[list[str]] = []
        self._tag = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag == "table":
            self._texts, self._rows = {"caption": [], "th": []}, []
        elif tag == "tr":
            self._rows.append([])
        if tag in ("caption", "th", "td"):
            self._tag = tag
            (self._rows[-1] if tag == "td" else self._texts[tag]).append("")

    def handle_data(self, data: str) -> None:
        if self._tag:
            (self._rows[-1] if self._tag == "td" else self._texts[self._tag])[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._tag = ""
        if tag == "table" and self._texts["caption"]:
            headings = self._texts["th"]
            self.found[self._texts["caption"][0]] = [dict(zip(headings, row, strict=True)) for row in self._rows if row]


@pytest.fixture(scope="module")
def tables(rows: RunRows) -> dict[str, list[Cells]]:
    return Tables(render_report(rows)).found


# --- how numbers are shown: written out, not taken from the report ---


def plain(value: float) -> str:
    assert 0.1 <= value < 1
    return f"{value:.3f}"


def interval(mean: float, low: float, high: float) -> str:
    return f"{plain(mean)} ({plain(low)} to {plain(high)})"


def improvement(row: Any) -> str:
    return interval(row.improvement_mean, row.improvement_low, row.improvement_high)


def answered(row: Any) -> str:
    return interval(row.improvement_mean, row.answer_low, row.answer_high)


def percent(value: float) -> str:
    return f"{100 * value:.1f}\u00a0%"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def small(value: float) -> str:
    return f"{value:.2g}"


def named(found: Sequence[Cells], **texts: str) -> Cells:
    """Return the row whose first columns have these texts."""
    (row,) = (row for row in found if all(row[name.replace("_", " ")] == text for name, text in texts.items()))
    return row


def short(row: Comparison) -> str:
    return row.comparison.replace("baseline/document", "baseline")


# --- tables of the report ---


@pytest.mark.parametrize("row", COMPARISONS, ids=short)
def test_comparisons(tables: dict[str, list[Cells]], row: Comparison) -> None:
    assert (
        named(tables["All comparisons"], comparison=short(row)).items()
        >= {
            "n": whole(row.n),
            "improvement (unadjusted, fixed n)": improvement(row),
            "p": small(row.p_value or 0),
            "adjusted, any look": answered(row),
            "its p": small(row.answer_p or 0),
        }.items()
    )
    assert (
        named(tables["All comparisons, sample by sample"], comparison=short(row)).items()
        >= {
            "NLL of arm": plain(row.nll_arm_mean or 0),
            "of reference": plain(row.nll_reference_mean or 0),
            "median": plain(row.improvement_median or 0),
            "trimmed mean": plain(row.improvement_trimmed_mean or 0),
            "Cohen’s d": plain(row.cohens_d or 0),
            "win / tie / loss": f"{whole(row.win_count)} / {whole(row.tie_count)} / {whole(row.loss_count)}",
        }.items()
    )


def test_answers(tables: dict[str, list[Cells]]) -> None:
    titles = ["Does priming help?", "Does priming help?", "Is generated better than static?"]
    for title, row in zip(titles, COMPARISONS, strict=True):
        assert (
            named(tables[title], comparison=short(row)).items()
            >= {
                "n": whole(row.n),
                "improvement (interval, any look)": answered(row),
                "wins": percent(row.win_count / row.n),
                "its p": small(row.answer_p or 0),
            }.items()
        )
    margin = tables["Does priming help?"][0]["of the margin over wrong answers"]
    assert margin == answered(MEASURES[0])


@pytest.mark.parametrize("row", MEASURES, ids=lambda row: str(row.measure))
def test_other_measures(tables: dict[str, list[Cells]], row: Measure) -> None:
    assert (
        named(tables["By other measures"], measure=row.measure).items()
        >= {
            "comparison": short(COMPARISONS[0]),
            "n": whole(row.n),
            "improvement (interval, any look)": answered(row),
            "by probability": plain(COMPARISONS[0].improvement_mean or 0),
        }.items()
    )


@pytest.mark.parametrize("row", STRATA, ids=lambda row: str(row.level))
def test_strata(tables: dict[str, list[Cells]], row: Stratum) -> None:
    assert (
        named(tables["Who gains"], level=row.level).items()
        >= {
            "divided by": row.stratified_by,
            "n": whole(row.n),
            "improvement (interval)": improvement(row),
            "wins": percent(row.win_count / row.n),
            "over all": plain(COMPARISONS[0].improvement_mean or 0),
        }.items()
    )


@pytest.mark.parametrize("row", CORRELATIONS, ids=lambda row: str(row.family))
def test_correlations(tables: dict[str, list[Cells]], row: Correlation) -> None:
    assert (
        named(tables["Similarity and improvement"], family=row.family).items()
        >= {
            "n": whole(row.n),
            "correlation (interval)": interval(row.pearson_r or 0, row.pearson_low or 0, row.pearson_high or 0),
            "rank correlation": plain(row.spearman_r or 0),
            "p": small(row.pearson_p_value or 0),
        }.items()
    )


@pytest.mark.parametrize("row", AGREEMENTS, ids=lambda row: str(row.family))
def test_agreement(tables: dict[str, list[Cells]], row: RoutingAgreement) -> None:
    assert (
        named(tables["Router and best key"], family=row.family).items()
        >= {
            "n": whole(row.n),
            "best key chosen": percent(row.agreement_rate or 0),
            "by chance": percent(row.chance_rate or 0),
            "kappa (interval)": interval(row.kappa or 0, row.kappa_low or 0, row.kappa_high or 0),
            "ties in similarity": whole(row.similarity_tie_count),
        }.items()
    )


@pytest.mark.parametrize("row", COSTS, ids=lambda row: str(row.condition))
def test_costs(tables: dict[str, list[Cells]], row: Cost) -> None:
    is_generated = row.condition == "generated/keyword_query"
    expected = {
        "mean NLL": plain(row.nll_mean or 0),
        "probability, %": plain(row.probability_mean or 0),
        "improvement": plain(row.improvement_mean or 0),
        "operations, × baseline": f"{float(f'{row.index_flops / COSTS[0].index_flops:.3g}'):g}",
        "tokens read": whole(row.prompt_tokens),
        "written": whole(row.generated_tokens),
        "prefilled": whole(row.prefill_tokens),
        "cache": f"{row.cache_bytes / 1000:.0f}\u00a0kB",
        "attended more": f"{row.extra_attended_tokens:.1f}",
        "gain per 1,000 tokens": plain(row.improvement_per_1000_tokens or 0),
        "writing took": "10 min" if is_generated else "–",
        "scoring took": "20 min" if is_generated else "–",
        "cheaper and not worse": row.dominated_by or "nothing",
    }
    shown = named(tables["Cost and gain"], condition=row.condition)
    shown = {**shown, **named(tables["Tokens and time"], condition=row.condition)}
    assert shown.items() >= expected.items()
    front = [found for found in tables["Nothing cheaper is shown to be as good"] if found["condition"] == row.condition]
    shared = ("operations, × baseline", "cache", "improvement")
    assert [{name: found[name] for name in shared} for found in front] == [
        {name: expected[name] for name in shared} for _ in range(not row.is_dominated)
    ]


@pytest.mark.parametrize("arm", ARMS)
def test_nlls(tables: dict[str, list[Cells]], arm: str) -> None:
    """Mean and quartiles by numpy."""
    nlls = [score.nll for score in SCORES if f"{score.family}/{score.key}" == arm]
    low, middle, high = np.quantile(np.array(nlls, dtype=float), [0.25, 0.5, 0.75])
    assert (
        named(tables["In numbers"], condition=arm).items()
        >= {
            "n": "3",
            "mean NLL": plain(float(np.mean(np.array(nlls, dtype=float)))),
            "median": plain(middle),
            "middle half": f"{plain(low)} to {plain(high)}",
        }.items()
    )


def test_flags(tables: dict[str, list[Cells]]) -> None:
    """By hand: of seven surrogates 2 are empty, 3 cut off, and 4, 5 and 6 flagged; 1 to 7 tokens are 4 on average."""
    assert tables["Flags of written surrogates"] == [
        {
            "family": "generated",
            "key": "target_question",
            "written": "7",
            "empty": "2",
            "over word limit": "4",
            "equals query": "5",
            "stray marks": "6",
            "cut off": "3",
            "mean tokens": "4.0",
        }
    ]


# --- plots and examples ---


def test_choices(tables: dict[str, list[Cells]]) -> None:
    assert [tuple(row.values()) for row in tables["Routed and best key"]] == sorted(
        (choice.family, choice.routed_key, choice.best_key, whole(choice.count)) for choice in CHOICES
    )


def test_samples_have_the_tokens_nlls_of_the_condition_that_they_were_scored_after(rows: RunRows) -> None:
    samples = {sample["id"]: sample for sample in unpacked(render_report(rows))["samples"]}
    for score in SCORES:
        arm = f"{score.family}/{score.key}"
        sample = samples[score.sample_id]
        if arm in ("baseline/document", *ROUTED):
            assert sample["readings"][arm] == [round(100 * nll) for nll in score.token_nlls or ()]
            assert sample["tokens"] == ["one", "two"]
        else:
            assert arm not in sample["readings"]


# --- the terminal and the page in the UI ---


def test_the_summary_in_the_terminal(published: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(published, is_full=True, report=None, path="results.duckdb")
    said = " ".join(capsys.readouterr().out.split())
    counts = sorted(row.n for row in COMPARISONS)
    assert f"Run {RUN}: 3 samples of" in said
    assert f"each is the mean of {counts[0]:,} to {counts[-1]:,} pairs. The 95% intervals of a question hold" in said
    for row in COMPARISONS:
        numbers = f"{row.improvement_mean:+.2f} ({row.answer_low:+.2f} to {row.answer_high:+.2f})"
        before, found, _ = said.partition(numbers)
        assert found
        assert row.arm in before[-200:]
