"""What was run: model, data, method, execution, versions.

In: a run's row and its summary. Out: groups of names and texts; what is unknown is left out.
"""

from typing import Any

from tasks.pages.numbers import MISSING, count, duration, number, quantity
from tasks.reading.database import RunRows
from tasks.report.tables import moment

_HASH_CHARACTERS = 12


def facts_of(rows: RunRows) -> dict[str, dict[str, str]]:
    """Return heading -> name -> text."""
    run, settings, (summary,) = rows.run, rows.run["settings"], rows.tables["run_summary"]
    sampling, generation = settings.get("sampling") or {}, settings.get("generation") or {}
    statistics, data = settings.get("statistics") or {}, run["data_identity"]
    level, margin = statistics.get("confidence_level"), statistics.get("equivalence_margin")
    groups: dict[str, dict[str, Any]] = {
        "Model": {
            "language model": run["language_model"],
            "parameters": quantity(run["parameter_count"]),
            "number format": _joined(run["dtype"], run["quantization"] if run["quantization"] != "none" else None),
            "revision": _revision(run["language_model_identity"]),
            "surrogates written by": (settings.get("writer") or {}).get("writer_model"),
            "embedding model": run["embedding_model"],
            "device": run["device"],
            "numeric path": run["numeric_path"],
        },
        "Data": {
            "data set": run["data"],
            "configuration, split": _joined(data.get("config"), data.get("split")),
            "revision": _revision(data),
            "samples": count(run["drawn_count"]),
            "passage length": sampling.get("min_words") is not None
            and f"{sampling['min_words']} to {sampling['max_words']} words",
            "draw": sampling.get("draw"),
            "wrong answers per sample": sampling.get("distractor_count"),
            "seed": run["seed"],
        },
        "Method": {
            "families": ", ".join(settings.get("families") or ()),
            "own families": ", ".join(dict.fromkeys(arm["family"] for arm in settings.get("arms") or ())),
            "generation": generation
            and f"temperature {generation.get('temperature')}, top-k {generation.get('top_k')}, at most "
            f"{generation.get('max_new_tokens')} tokens",
            "intervals": level and f"{100 * level:g} %",
            "equivalence margin": margin is not None and f"±{number(margin)} nats per answer token",
            "bootstrap resamples": count(statistics.get("bootstrap_resamples")),
        },
        "Execution": {
            "profile": run["profile"],
            "status": run["status"],
            "computation": duration(run["seconds"]),
            "started (UTC)": run["started_at"] and moment(str(run["started_at"])),
            "executions": summary["attempt_count"],
            "scores": count(summary["score_count"])
            + (f", {count(summary['score_missing_count'])} without an NLL" if summary["score_missing_count"] else ""),
        },
    }
    known = {
        title: {name: str(fact) for name, fact in group.items() if _is_known(fact)} for title, group in groups.items()
    }
    return {title: facts for title, facts in known.items() if facts}


def _is_known(fact: object) -> bool:
    """Return whether there is something to say; 0 is."""
    return fact not in (None, "", MISSING, {}) and fact is not False


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _revision(identity: dict[str, Any]) -> str | None:
    sha256 = identity.get("sha256")
    return identity.get("revision") or (sha256 and f"sha256 {sha256[:_HASH_CHARACTERS]}")
