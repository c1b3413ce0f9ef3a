"""Stage 1, draw_samples: data set -> samples, and what follows from the data for each of them.

In: which data, which rows qualify, the seed. Out: one parquet file of Sample rows; its reference has the funnel and the
chunks in which the later stages work. Cached by the data's identity (a file's hash, a commit on the hub).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import repeat

from prefect import get_run_logger, task

from tasks.loading.data import Identity, SetupError, load_rows
from tasks.loading.redaction import without_secrets
from tasks.priming.arms.arms import entries_of
from tasks.priming.records import Distractor, Reject, Sample, Surrogate
from tasks.priming.sampling import Draw, content_hash
from tasks.priming.sampling import draw_samples as draw
from tasks.priming.settings import ExperimentSettings, SamplingSettings
from tasks.store.artifacts import Reference, chunks_of, digest, write_rows
from tasks.store.caching import Calls, stage_options

_SHOWN_CHARACTERS = 300  # of the names of columns


def drawing_call(data: Identity, settings: ExperimentSettings, chunk_size: int) -> Calls:
    """Return the one call of draw_samples."""
    drawing = {"identity": data, "sampling": settings.sampling, "seed": settings.seed, "chunk_size": chunk_size}
    return {"all": drawing | {"has_keywords": "free/keywords" in entries_of(settings)}}


@task(
    name="draw samples",
    task_run_name="draw {sampling.sample_count} samples",
    **stage_options("sampling", "tasks.priming.sampling:draw_samples"),
)
@without_secrets()
def draw_samples(
    identity: Identity, sampling: SamplingSettings, seed: int, chunk_size: int, has_keywords: bool = False
) -> Reference:
    """Draw the samples of an experiment.

    Args:
        identity: What identifies the data set.
        sampling: Which of its rows become samples.
        seed: The experiment's seed.
        chunk_size: Samples per chunk.
        has_keywords: Whether the keywords of the samples' passages are chosen among the texts.

    Returns:
        The reference of the samples, with "funnel", "distractors" (the reference of all wrong answers), "rejects" (that
        of the first rows that cannot be samples), "provided_keys" (names of the texts that all rows bring) and
        "chunks": one mapping per chunk with the references of its "samples", of its "donors" (one row about another
        passage per sample; None where all data are about one passage), its "distractors" and its "texts" (what follows
        from the data: keywords, and what rows bring).

    Raises:
        SetupError: The data cannot be read, or no row qualifies.
        RowFormatError: Rows cannot be read, and the settings do not skip them.
    """
    drawn = draw(load_rows(identity), sampling, seed, has_keywords=has_keywords)
    samples, funnel = drawn.samples, drawn.funnel
    require_samples(drawn, identity["data"], sampling)
    counts = _counts(drawn)
    logger = get_run_logger()
    logger.info("drew %d of %d eligible rows, %d read (%s)", funnel.drawn, funnel.eligible, funnel.rows, counts)
    if funnel.drawn < sampling.sample_count:
        logger.warning("%d samples were asked for, %d qualify", sampling.sample_count, funnel.drawn)
    reference = write_rows(samples, Sample, "sampling")
    # The ids say nothing of the other accepted answers, with which what the model writes is compared.
    chunks = chunks_of(reference, [content_hash(sample.sample_id, *sample.answers) for sample in samples], chunk_size)
    donated = write_rows(drawn.donors, Sample, "sampling")
    donors = chunks_of(donated, [donor.sample_id for donor in drawn.donors], chunk_size)
    distractors = write_rows(drawn.distractors, Distractor, "sampling")
    names = [(row.sample_id, row.source_id) for row in drawn.distractors]
    wrong = _chunks_by_sample(distractors, names, samples, chunk_size)
    named = [(text.sample_id, text.family, text.key, text.text) for text in drawn.texts]
    texts = _chunks_by_sample(write_rows(drawn.texts, Surrogate, "sampling"), named, samples, chunk_size)
    return reference | {
        "funnel": asdict(funnel),
        "distractors": distractors,
        "rejects": write_rows(drawn.rejects, Reject, "sampling"),
        "provided_keys": list(drawn.provided_keys),
        "chunks": [
            {"samples": chunk, "donors": others, "distractors": answers, "texts": of_data}
            for chunk, others, answers, of_data in zip(chunks, donors or repeat(None), wrong, texts, strict=False)
        ],
    }


def require_samples(drawn: Draw, data: str, sampling: SamplingSettings) -> None:
    """Refuse data of which no row qualifies."""
    if not drawn.samples:
        raise SetupError(
            f"No row of {data} qualifies: of {drawn.funnel.rows} rows, {_counts(drawn)}. Their columns are "
            f"{', '.join(drawn.columns)[:_SHOWN_CHARACTERS] or 'none'}. Name those to read by --columns "
            f"passage=...,query=...,answer=..., change --min-words and --max-words, now {sampling.min_words} and "
            f"{sampling.max_words}, or give other data."
        )


def _counts(drawn: Draw) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in sorted(drawn.funnel.rejected.items())) or "none dropped"


def _chunks_by_sample(
    reference: Reference, names: Iterable[Sequence[str]], samples: Sequence[Sample], size: int
) -> list[Reference]:
    """Split a reference into the rows of each `size` samples, as many as those have, in the samples' order.

    A chunk is known by its rows' names, so that the same ones in a longer file are the same chunk.

    Args:
        reference: The file.
        names: What each row is known by, its sample's id first.
        samples: The samples.
        size: Samples per chunk.
    """
    rows: dict[str, list[Sequence[str]]] = {}
    for name in names:
        rows.setdefault(name[0], []).append(name)
    chunks = []
    stop = 0
    for first in range(0, len(samples), size):
        known = [name for sample in samples[first : first + size] for name in rows.get(sample.sample_id, ())]
        start, stop = stop, stop + len(known)
        chunks.append(reference | {"start": start, "stop": stop, "chunk": digest(known)})
    return chunks
