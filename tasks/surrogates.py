"""Stage 2, write_surrogates: per family and chunk, samples -> surrogates.

In: a chunk of samples; for families that a model writes, the model's identity and how it samples. Out: one parquet
file of Surrogate rows. Remembered per family and chunk, by the code of that family's writer alone; a text of one's own
by its wording.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from prefect import get_run_logger, task

from tasks.loading.data import Identity, SetupError
from tasks.loading.redaction import without_secrets
from tasks.priming.arms.arms import ArmGroup, Writer, writer_of
from tasks.priming.arms.contexts import Wording
from tasks.priming.arms.writing import Writing
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Sample, Surrogate
from tasks.priming.settings import ExperimentSettings, GenerationSettings
from tasks.priming.statistics.run_data import ModelFacts
from tasks.store.artifacts import Reference, read_rows, write_rows
from tasks.store.caching import Batch, Calls, Inputs, stage_options
from tasks.workers.processes import with_language_model


def lines_to_write(group: ArmGroup, sample_count: int) -> int:
    """Return how many lines the language model writes; what starts from generated surrogates has none written."""
    return len(group.contexts.arm_keys) * sample_count if group.is_written else 0


def writing_order(groups: Mapping[str, ArmGroup]) -> list[tuple[str, ArmGroup]]:
    """Return the groups that have texts: first what a model writes, which others start from, by the same model."""
    return sorted(((name, group) for name, group in groups.items() if group.write), key=lambda e: not e[1].is_written)


def writing_calls(
    entry: tuple[str, ArmGroup],
    batch: Batch,
    settings: ExperimentSettings,
    language_model: Identity,
    surrogates: Mapping[str, Reference],
) -> Calls:
    """Return the calls of write_surrogates for a group: each has what its writer uses, which its key depends on.

    Args:
        entry: The group and its name.
        batch: The chunks.
        settings: The run's settings.
        language_model: The identity of the model that the group needs, if it needs one.
        surrogates: What is written already, by group and chunk.

    Raises:
        SetupError: The writer takes something from other passages, and the data are about one.
    """
    name, group = entry
    if group.needs_donors and not all(chunk["donors"] for chunk in batch.values()):
        raise SetupError(
            "Two controls take words and questions from other passages, and all eligible rows are about one passage. "
            "Give more data, or leave these two out, and the verdicts with them: --controls "
            "bare_document,blank_surrogate,shuffled_surrogate,actual_query,repeated_baseline"
        )
    return {
        f"{name}/{number}": {
            "family": name,
            "samples": chunk["samples"],
            "seed": settings.seed,
            "language_model": language_model if group.needs_language_model else None,
            "generation": settings.generation if group.needs_language_model else None,
            "wording": group.wording,
            "donors": chunk["donors"] if group.needs_donors else None,
            "data_texts": chunk["texts"] if group.needs_data_texts else None,
            "generated": surrogates[f"generated/{number}"] if group.needs_generated else None,
        }
        for number, chunk in batch.items()
    }


def _writer(inputs: Inputs) -> str:
    write = writer_of(str(inputs["family"]), inputs["wording"])
    return f"{write.__module__}:{write.__name__}"


def _write(
    write: Writer, samples: Sequence[Sample], writing: Writing, *, language_model: LanguageModel
) -> tuple[list[Surrogate], ModelFacts]:
    """Call a writer with the model that a worker has loaded; return the model's facts too."""
    return write(samples, replace(writing, language_model=language_model)), language_model.facts


@task(
    name="write surrogates",
    task_run_name="write {family} surrogates {samples[start]}-{samples[stop]}",
    **stage_options("surrogates", _writer, folder=lambda inputs: str(inputs["family"])),
)
@without_secrets()
def write_surrogates(
    family: str,
    samples: Reference,
    seed: int,
    language_model: Identity | None,
    generation: GenerationSettings | None,
    wording: Wording | None = None,
    donors: Reference | None = None,
    data_texts: Reference | None = None,
    generated: Reference | None = None,
) -> Reference:
    """Write the surrogates of one family for a chunk of samples.

    Args:
        family: The group's name.
        samples: The chunk.
        seed: The experiment's seed.
        language_model: The model's identity; None for families that no model writes.
        generation: How the model samples; None likewise.
        wording: The text or instruction of a group that has one.
        donors: The chunk's rows about other passages; None for families that take nothing from them.
        data_texts: The chunk's texts that follow from the data; None for families that use none.
        generated: The generated family's surrogates of the chunk; None for families that do not start from them.

    Returns:
        The reference of the surrogates, with "seconds", and "facts" of the model if one was needed.
    """
    write = writer_of(family, wording)
    writing = Writing(
        seed,
        generation=generation,
        wording=wording,
        data_texts=read_rows(data_texts, Surrogate) if data_texts else (),
        donors=read_rows(donors, Sample) if donors else (),
        generated=read_rows(generated, Surrogate) if generated else (),
    )
    rows = read_rows(samples, Sample)
    if language_model:
        (surrogates, known), seconds = with_language_model(partial(_write, write, rows, writing), language_model)
        facts = {"facts": asdict(known)}
    else:
        facts = {}
        start = time.perf_counter()
        surrogates = write(rows, writing)
        seconds = time.perf_counter() - start
    get_run_logger().info("wrote %d %s surrogates in %.1f s", len(surrogates), family, seconds)
    return write_rows(surrogates, Surrogate, f"surrogates/{family}") | {"seconds": seconds} | facts
