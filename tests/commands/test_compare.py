"""Comparing runs: differences are listed, shared samples are paired, and what cannot be compared is refused."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from scipy.stats import sem, ttest_rel

from flows.__main__ import main
from flows.compare import compare
from tasks import results
from tasks.commands import compare as command
from tasks.priming.arms.writing import fixed_surrogate
from tasks.priming.records import Route, Sample, Score, Surrogate
from tasks.priming.settings import resolve_settings
from tasks.store import artifacts, manifests
from tests.published_rows import comparison, record, record_answers, score
from tests.report.conftest import unpacked

BASELINE, STATIC = ("baseline", "document"), ("static", "factual")
# The example of tasks/priming/statistics/paired.py: differences 0.5, 0, 1, -0.25 with SciPy's interval.
FIRST_NLLS = {"a": 2.0, "b": 1.5, "c": 3.0, "d": 1.0}
SECOND_NLLS = {"a": 1.5, "b": 1.5, "c": 2.0, "d": 1.25}


def make_run(
    run_id: str,
    nlls: dict[str, float],
    *,
    gain: float = 0.25,
    model: dict[str, Any] | None = None,
    answer_tokens: int = 2,
    status: str = "complete",
    text: str = "a guess",
    **settings: Any,
) -> None:
    """Make a run with a baseline of these NLLs, and a static arm that is better by a constant."""
    description = manifests.RunDescription(
        run_id=run_id,
        profile="demo",
        settings=resolve_settings("demo", **settings).model_dump(mode="json"),
        versions={"torch": "2.13.0"},
        data={"data": "demo", "file": "evaluation.jsonl", "sha256": "a" * 64},
        language_model=model or MODEL | {"sha256": "b" * 64},
        embedding_model={"embedding_model": "packaged/all-MiniLM-L6-v2", "sha256": "c" * 64},
    )
    attempt = manifests.start_run(description)
    samples = [Sample(name, i, "a passage", "why?", "because", None, f"p{name}") for i, name in enumerate(nlls)]
    scores: list[Score] = []
    for name, nll in nlls.items():
        for arm, value in ((BASELINE, nll), (STATIC, nll - gain)):
            scores.append(score((name, *arm), (value,) * answer_tokens))
    tables: dict[str, Sequence[object]] = {
        "sample": samples,
        "score": scores,
        "route": [Route(name, "static", "factual", 0.5, True, False) for name in nlls],
        "surrogate": [surrogate for sample in samples for surrogate in surrogates(sample, text)],
        "comparison": [comparison("static/routed", "baseline/document", improvement_mean=gain)],
    }
    record_answers(attempt, **tables)
    if status == "complete":
        manifests.finish_run(attempt)
    else:
        manifests.fail_run(attempt, "no luck")


def surrogates(sample: Sample, text: str) -> list[Surrogate]:
    return [
        fixed_surrogate(sample, "static", "factual", "facts?"),
        fixed_surrogate(sample, "generated", "keyword_query", text),
    ]


MODEL = {"language_model": "owner/model", "numeric_path": "cpu-x"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of runs that differ from `first` in one thing each, published once."""
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", folder)
        make_run("first", FIRST_NLLS)
        make_run("numbers", SECOND_NLLS, gain=0.75, seed=7)
        make_run("shares-two", {"c": 2.0, "d": 1.25, "e": 9.0, "f": 9.0, "g": 9.0})
        make_run("shares-none", {"x": 1.0}, seed=7)
        make_run("seed", FIRST_NLLS, seed=7)
        make_run("third", FIRST_NLLS, seed=99)
        make_run("hotter", FIRST_NLLS, temperature=1.0, families=("baseline", "static"))
        make_run("path", FIRST_NLLS, model=MODEL | {"sha256": "d" * 64, "numeric_path": "cuda"})
        make_run("gain", FIRST_NLLS, gain=0.5)
        make_run("tokens", FIRST_NLLS, model={"language_model": "other", "sha256": "e" * 64}, answer_tokens=3)
        make_run("model", FIRST_NLLS, model={"language_model": "owner/model", "sha256": "e" * 64})
        make_run("texts", FIRST_NLLS, seed=7, text="another")
        results.rebuild_database()
    return folder


@pytest.fixture
def shared(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read those runs."""
    monkeypatch.setattr(artifacts, "ARTIFACTS", published)


def printed(capsys: pytest.CaptureFixture[str], *runs: str) -> str:
    """Return what the command prints but the path of the page, with every gap reduced to one blank."""
    assert main(["compare", *runs]) == 0
    out, _, path = capsys.readouterr().out.rstrip("\n").rpartition("\n")
    assert Path(path).parent == artifacts.ARTIFACTS / "reports"
    assert max(map(cell_len, out.splitlines())) <= 80
    assert "\x1b" not in out
    return "\n".join(" ".join(line.split()) for line in out.splitlines())


def refusal(capsys: pytest.CaptureFixture[str], *runs: str) -> str:
    """Return the one line that the command refuses with."""
    assert main(["compare", *runs]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# --- paired differences ---


@pytest.mark.usefixtures("shared")
def test_differences_are_paired_with_their_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """Expected: the NLLs by hand, with the interval of scipy.stats.ttest_rel; points by numpy from the same NLLs."""
    out = printed(capsys, "first", "numbers")
    assert "baseline/document 4 1 1.8750 1.5625 +0.3125 -0.5696 to +1.1946" in out  # by hand: 7.5 / 4 and 6.25 / 4
    assert re.search(r"static/factual 4 0 1\.6250 0\.8125 \+0\.8125 ", out)  # 0.25 less in A, 0.75 less in B
    first, second = (100 * np.exp(-np.array([*nlls.values()])) for nlls in (FIRST_NLLS, SECOND_NLLS))
    assert f"baseline/document 4 1 {in_points(first, second)}" in out
    primed = first * np.exp(0.25), second * np.exp(0.75)
    assert f"static/factual 4 0 {in_points(*primed)}" in out
    assert f"static/routed 4 0 {in_points(primed[0] - first, primed[1] - second)}" in out
    assert "A has 4 samples, B 4; 4 are in both, on 4 passages." in out


def in_points(first: Any, second: Any) -> str:
    """Return two means, their difference and its interval, as the command shows them."""
    low, high = ttest_rel(second, first).confidence_interval(0.95)
    mean = np.mean(second) - np.mean(first)
    return f"{np.mean(first):.2f} {np.mean(second):.2f} {mean:+.2f} {low:+.2f} to {high:+.2f}"


@pytest.mark.usefixtures("shared")
def test_only_shared_samples_are_paired(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "first", "shares-two")
    assert "A has 4 samples, B 5; 2 are in both, on 2 passages." in out
    assert "baseline/document 2 0 2.0000 1.6250 +0.3750 " in out  # by hand: (3 + 1) / 2, (2 + 1.25) / 2


@pytest.mark.usefixtures("shared")
def test_equal_numbers_are_told_from_a_difference_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "first", "seed")
    assert "baseline/document 4 4 1.8750 1.8750 0 all equal" in out
    assert re.search(r"static/routed 4 4 (\d+\.\d\d) \1 0 all equal", out)


@pytest.mark.usefixtures("shared")
def test_every_run_is_compared_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "third", "first", "seed")
    assert "A and B on the samples that they share" in out
    assert "A and C on the samples that they share" in out
    assert "B and C" not in out
    assert "seed 99 42 7" in out


# --- descriptions ---


@pytest.mark.usefixtures("shared")
def test_what_differs_in_how_they_were_made_is_listed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "first", "hotter").splitlines()
    assert "temperature 0.3 1.0" in lines
    assert "families baseline, static, generated, control baseline, static" in lines
    assert not any(line.startswith(("seed ", "sample_count ", "version")) for line in lines)
    assert "Data, models, device and versions are the same." in lines


@pytest.mark.usefixtures("shared")
def test_other_inputs_are_told_and_hashes_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "first", "path").splitlines()
    assert "All settings are the same." in lines
    assert f"language model: sha256 {'b' * 12}… {'d' * 12}…" in lines
    assert "language model: numeric path cpu-x cuda" in lines


@pytest.mark.usefixtures("shared")
def test_verdicts_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "first", "gain")
    lines = out[out.index("Does priming help?") :].splitlines()
    (one,) = (line for line in lines if line.startswith("static/routed vs baseline/document A undecided:"))
    assert one.endswith(" +0.25 (+3.00 to +7.00)")
    (other,) = (line for line in lines if line.startswith("B undecided:"))
    assert other.endswith(" +0.50 (+3.00 to +7.00)")


@pytest.mark.usefixtures("shared")
def test_nlls_of_two_tokenizers_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    flat = " ".join(printed(capsys, "first", "tokens").split())
    assert "split 4 of 4 answers into different numbers of tokens, so NLLs and probabilities per token cannot" in flat
    assert "Improvements over each run's own baseline can, with care" in flat


@pytest.mark.usefixtures("shared")
def test_another_model_with_the_same_tokens_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    flat = " ".join(printed(capsys, "first", "model").split())
    assert "A and B have different language models. Their tokenizers split every answer into the same number" in flat


@pytest.mark.usefixtures("shared")
def test_one_model_is_not_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert "different language models" not in printed(capsys, "first", "seed")


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(("run", "same"), [("seed", 4), ("texts", 0)])
def test_generated_texts_that_are_the_same_are_counted(run: str, same: int, capsys: pytest.CaptureFixture[str]) -> None:
    flat = " ".join(printed(capsys, "first", run).split())
    assert f"Of their 4 generated surrogates {same} have the same text in both." in flat


def test_own_texts_are_told_in_words() -> None:
    own = {
        "family": "question",
        "key": "facts",
        "instruction": None,
        "is_routed": False,
        "treatments": ["kept", "hidden"],
    }
    assert command._value([own]) == "family question; key facts; treatments kept, hidden"


# --- which runs ---


@pytest.mark.slow
@pytest.mark.usefixtures("artifacts_folder")
def test_without_a_name_the_latest_run_is_compared_with_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("aaaa", FIRST_NLLS, seed=1)
    make_run("bbbb", FIRST_NLLS, seed=2)
    make_run("cccc", FIRST_NLLS, seed=3)
    make_run("dddd", FIRST_NLLS, seed=4, status="failed")  # no conclusion from it
    results.rebuild_database()
    lines = printed(capsys).splitlines()
    assert lines == printed(capsys, "previous", "latest").splitlines()
    assert [line.split()[1] for line in lines if line.startswith(("A ", "B ")) and " demo " in line] == ["bbbb", "cccc"]


@pytest.mark.usefixtures("artifacts_folder")
def test_the_beginning_of_an_id_names_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("aab1", FIRST_NLLS)
    make_run("abb2", FIRST_NLLS, seed=7)
    results.rebuild_database()
    assert "A aab1 demo" in printed(capsys, "aa", "ab")
    assert "'a' is the beginning of 2 runs" in refusal(capsys, "a", "ab")


@pytest.mark.usefixtures("artifacts_folder")
def test_what_cannot_be_compared_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "a", "b").startswith("error: No run is published yet. To make one: python -m")
    make_run("aaaa", FIRST_NLLS)
    results.rebuild_database()
    assert "There is no run 'nope'. Runs, newest first: aaaa" in refusal(capsys, "aaaa", "nope")
    assert "1 run was named; 2 to 26 can be compared." in refusal(capsys, "aaaa")
    assert "There is no previous complete run: 1 of 1 runs is complete." in refusal(capsys)
    assert "'aaaa' and 'latest' are the same run, aaaa." in refusal(capsys, "aaaa", "latest")
    make_run("bbbb", FIRST_NLLS, status="failed", seed=7)
    results.rebuild_database()
    assert "Run bbbb is failed; only complete runs can be compared: aaaa." in refusal(capsys, "aaaa", "bbbb")


@pytest.mark.usefixtures("shared")
def test_runs_without_a_shared_sample_are_described_and_then_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "first", "shares-none"]) == 2
    shown = capsys.readouterr()
    assert "Does priming help?" in shown.out
    assert "on the samples that they share" not in shown.out
    assert shown.err.startswith("error: Run first shares no sample with shares-none, so there is nothing to pair.")


def test_a_file_that_is_no_database_is_refused(artifacts_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (artifacts_folder / "results.duckdb").write_bytes(b"no database" * 1000)
    assert "artifacts/results.duckdb cannot be read" in refusal(capsys, "a", "b")


# --- as a page ---


@pytest.mark.usefixtures("artifacts_folder")
def test_the_page_has_the_shared_samples_with_the_texts_of_both_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make_run("aaaa", FIRST_NLLS)
    make_run("bbbb", {"c": 2.0, "d": 1.25, "e": 9.0}, seed=7, text="another")
    results.rebuild_database()
    assert main(["compare", "aaaa", "bbbb", "--output", str(tmp_path / "own.html")]) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'own.html'}\n")
    page = (tmp_path / "own.html").read_text(encoding="utf-8")
    assert "<h2>A and B on the samples that they share</h2>" in page
    assert "<caption>Probability of an answer&#39;s token, %</caption>" in page
    data = unpacked(page)
    assert (data["arm"], data["reference"]) == ("B static/routed", "A static/routed")
    assert [sample["id"] for sample in data["samples"]] == ["c", "d"]
    nlls = [dict(zip(data["conditions"], sample["nlls"], strict=True)) for sample in data["samples"]]
    assert [(row["A baseline/document"], row["B baseline/document"]) for row in nlls] == [
        (3_000_000, 2_000_000),
        (1_000_000, 1_250_000),
    ]
    texts = {name: found["text"] for name, found in data["samples"][0]["surrogates"].items()}
    assert texts["A generated/keyword_query"] == "a guess"
    assert texts["B generated/keyword_query"] == "another"


@pytest.mark.usefixtures("shared")
def test_a_page_that_cannot_be_written_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert "The page cannot be written" in refusal(capsys, "first", "seed", "--output", "/proc/none/own.html")


# --- in the UI ---


@pytest.mark.usefixtures("artifacts_folder")
def test_the_page_for_the_ui_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []

    def keep(markdown: str, key: str, description: str) -> None:
        assert key == "comparison"
        assert re.fullmatch(r"Runs aaaa, bbbb\. With their samples: .*/reports/compare-aaaa-bbbb\.html", description)
        pages.append(markdown)

    monkeypatch.setattr(command, "create_markdown_artifact", keep)
    make_run("aaaa", FIRST_NLLS)
    make_run("bbbb", SECOND_NLLS, seed=7)
    results.rebuild_database()
    compare.fn()
    assert "| baseline/document | 4 | 1 | 1.8750 | 1.5625 | +0.3125 | -0.5696 to +1.1946 |" in pages[0]
    assert "| seed | ` 42 ` | ` 7 ` |" in pages[0]


@pytest.mark.usefixtures("artifacts_folder")
def test_the_view_pairs_what_both_runs_have() -> None:
    """Expected: sums over the shared samples b, c and d; improvements over b and c, since d has one in one run only."""
    make_run("aaaa", FIRST_NLLS, gain=0.25)
    make_run("bbbb", {"b": 1.5, "c": 2.0, "d": 1.25, "e": 40.0}, gain=0.75, seed=7)
    attempt = manifests.start_run(manifests.RunDescription(run_id="cccc", profile="demo", settings={"seed": 9}))
    rows = {("b", *BASELINE): 4.0, ("c", *BASELINE): 8.0, ("b", *STATIC): 3.0, ("c", *STATIC): 5.0, ("d", *STATIC): 9.0}
    record(attempt, "sample", [Sample(n, i, "a passage", "why?", "because", None, "p") for i, n in enumerate("bcd")])
    record(attempt, "score", [score(arm, (nll,)) for arm, nll in rows.items()])
    manifests.finish_run(attempt)
    results.rebuild_database()
    columns = "n, nll_a_mean, nll_b_mean, difference_mean, improvement_a_mean, improvement_b_mean"
    where = "run_a = ? AND run_b = ? AND condition = ?"
    with results.open_results() as connection:

        def found(*values: str) -> list[float]:
            (row,) = connection.execute(f"SELECT {columns} FROM compare_runs WHERE {where}", list(values)).fetchall()
            return list(row)

        baseline = found("aaaa", "bbbb", "baseline/document")
        assert baseline == pytest.approx([3, 5.5 / 3, 4.75 / 3, 0.75 / 3, 0, 0])
        static = found("aaaa", "cccc", "static/factual")
    assert static == pytest.approx([3, 4.75 / 3, 17 / 3, -12.25 / 3, 0.25, 2.0])


@pytest.mark.usefixtures("shared")
def test_the_view_has_the_same_differences() -> None:
    with results.open_results() as connection:
        where = "WHERE run_a = 'first' AND run_b = 'numbers' ORDER BY condition"
        answer = connection.execute(f"SELECT * EXCLUDE (run_a, run_b) FROM compare_runs {where}")
        names = [column[0] for column in answer.description]
        baseline, factual, routed = (dict(zip(names, row, strict=True)) for row in answer.fetchall())
    # by hand, as above; the error is the standard error of 0.5, 0, 1, -0.25, since every passage has one sample
    assert (baseline["condition"], baseline["n"], baseline["equal_count"]) == ("baseline/document", 4, 1)
    assert (baseline["nll_a_mean"], baseline["nll_b_mean"], baseline["difference_mean"]) == (1.875, 1.5625, 0.3125)
    assert baseline["difference_error"] == pytest.approx(sem([0.5, 0, 1, -0.25]))
    assert (routed["condition"], factual["condition"]) == ("static/routed", "static/factual")
    assert factual["improvement_a_mean"] == pytest.approx(0.25)
    assert factual["improvement_difference_mean"] == pytest.approx(0.5)
