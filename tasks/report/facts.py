"""What was run: model, data, how rows became samples, versions, time.

In: the run's row and those of its attempts and stage times. Out: pairs of a name and a text.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tasks.pages.numbers import MISSING, count, duration, number, quantity
from tasks.reading.database import Row, RunRows
from tasks.report.tables import Cell, Column, Table, make_table, number_column, text_column

Fact: TypeAlias = tuple[str, str]
"""A name and a text."""

_SHOWN_ATTEMPTS = 5
_HASH_CHARACTERS = 12


def facts_of(rows: RunRows) -> list[tuple[str, list[Fact]]]:
    """Return groups of facts by their headings; what is unknown is left out."""
    groups = [
        ("Model", list(_model_facts(rows.run))),
        ("Data", list(_data_facts(rows))),
        ("Method", list(_method_facts(rows.run))),
        ("Execution", list(_execution_facts(rows))),
    ]
    return [(title, facts) for title, facts in groups if facts]


def funnel_table(rows: RunRows) -> Table | None:
    """Return how rows of the data set became samples; None where that is not known yet."""
    run = rows.run
    if run["row_count"] is None:
        return None
    steps: list[dict[str, Any]] = [{"step": "rows read", "count": run["row_count"]}]
    rejected = sorted(run["funnel"]["rejected"].items(), key=lambda item: (-item[1], item[0]))
    steps += [{"step": f"dropped: {reason}", "count": -count} for reason, count in rejected]
    steps += [{"step": "eligible", "count": run["eligible_count"]}, {"step": "drawn", "count": run["drawn_count"]}]
    columns = [text_column("step", "step"), number_column("rows", "count", _signed_count)]
    return make_table("How rows became samples", columns, steps, "run")


def attempts_table(rows: RunRows) -> Table:
    """Return the latest executions of the run."""
    columns = [
        text_column("started (UTC)", "started_at", _moment),
        text_column("ended (UTC)", "ended_at", _moment),
        text_column("status", "status"),
    ]
    latest = rows.tables["attempt"][-_SHOWN_ATTEMPTS:]
    if any(row["error"] for row in latest):
        columns.append(text_column("error", "error"))
    return make_table("Latest executions", columns, latest, "attempt")


def stage_table(rows: RunRows) -> Table:
    """Return what each stage's computations took, those that were remembered included."""
    columns = [
        text_column("filled table", "stage"),
        number_column("artifacts", "artifacts", count),
        Column("time", lambda row: Cell(duration(math.fsum(row["seconds"])), math.fsum(row["seconds"]))),
    ]
    return make_table("Time by stage", columns, rows.tables["stage_time"], "stage_time")


def _model_facts(run: Row) -> Iterator[Fact]:
    identity = run["language_model_identity"]
    yield from _known("language model", run["language_model"])
    yield from _known("parameters", run["parameter_count"] and quantity(run["parameter_count"]))
    quantization = run["quantization"] if run["quantization"] not in (None, "none") else None
    yield from _known("number format", ", ".join(part for part in (run["dtype"], quantization) if part))
    yield from _known("revision", identity.get("revision") or _short(identity.get("sha256")))
    yield from _known("embedding model", run["embedding_model"])
    yield from _known("device", run["device"])
    yield from _known("numeric path", run["numeric_path"])


def _data_facts(rows: RunRows) -> Iterator[Fact]:
    run, settings = rows.run, rows.run["settings"]
    identity, sampling = run["data_identity"], settings.get("sampling") or {}
    yield from _known("data set", run["data"])
    yield from _known("configuration, split", _joined(identity.get("config"), identity.get("split")))
    yield from _known("revision", identity.get("revision") or _short(identity.get("sha256")))
    yield from _known("samples", run["drawn_count"] is not None and count(run["drawn_count"]))
    if sampling.get("min_words") is not None:
        yield "passage length", f"{sampling['min_words']} to {sampling['max_words']} words"
    yield from _known("draw", sampling.get("draw"))
    yield from _known("wrong answers per sample", sampling.get("distractor_count"))
    yield from _known("seed", run["seed"])


def _method_facts(run: Row) -> Iterator[Fact]:
    settings = run["settings"]
    statistics, generation = settings.get("statistics") or {}, settings.get("generation") or {}
    yield from _known("families", ", ".join(settings.get("families") or ()))
    if generation:
        yield (
            "generation",
            f"temperature {generation.get('temperature')}, top-k {generation.get('top_k')}, at most "
            f"{generation.get('max_new_tokens')} tokens",
        )
    level = statistics.get("confidence_level")
    yield from _known("intervals", level is not None and f"{100 * level:g} %")
    margin = statistics.get("equivalence_margin")
    yield from _known("equivalence margin", margin is not None and f"±{number(margin)} nats per answer token")
    yield from _known("bootstrap resamples", count(statistics.get("bootstrap_resamples")))


def _execution_facts(rows: RunRows) -> Iterator[Fact]:
    run = rows.run
    summary = rows.tables["run_summary"][0]
    yield from _known("profile", run["profile"])
    yield "status", run["status"]
    yield from _known("computation", run["seconds"] is not None and duration(run["seconds"]))
    yield from _known("started (UTC)", run["started_at"] is not None and _moment(str(run["started_at"])))
    yield from _known("executions", summary["attempt_count"])
    missing = summary["score_missing_count"]
    yield "scores", count(summary["score_count"]) + (f", {count(missing)} without an NLL" if missing else "")


def _known(name: str, value: object) -> Iterator[Fact]:
    """Yield a fact unless its value is unknown; 0 is known."""
    if value is not None and value is not False and value not in ("", MISSING):
        yield name, str(value)


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


def _short(sha256: object) -> str | None:
    return f"sha256 {str(sha256)[:_HASH_CHARACTERS]}" if sha256 else None


def _signed_count(value: float | None) -> str:
    return count(value).replace("-", "\u2212")


def _moment(text: str) -> str:
    return text.partition(".")[0]


def versions_of(run: Row) -> Sequence[Fact]:
    """Return the version of each library that numbers depend on, by name."""
    return sorted((str(name), str(version)) for name, version in run["versions"].items())
