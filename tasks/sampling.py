"""Stage 1, draw_samples: data set -> samples.

In: which data, which rows qualify, the seed. Out: one parquet file of Sample rows, and in its reference the funnel, the
chunks in which the later stages work, and the files of donors and distractors with the same chunks. Remembered by the
data's identity (a file's hash, a commit on the hub).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from prefect import get_run_logger, task

from tasks.loading.data import Identity, SetupError, load_rows
from tasks.loading.redaction import without_secrets
from tasks.priming.records import Distractor, Reject, Sample
from tasks.priming.sampling import draw_samples as draw
from tasks.priming.settings import SamplingSettings
from tasks.store.artifacts import Reference, chunks_of, digest, write_rows
from tasks.store.caching import stage_options


@task(
    name="draw samples",
    task_run_name="draw {sampling.sample_count} samples",
    **stage_options("sampling", "tasks.priming.sampling:draw_samples"),
)
@without_secrets()
def draw_samples(identity: Identity, sampling: SamplingSettings, seed: int, chunk_size: int) -> Reference:
    """Draw the samples of an experiment.

    Args:
        identity: What identifies the data set.
        sampling: Which of its rows become samples.
        seed: The experiment's seed.
        chunk_size: Samples per chunk.

    Returns:
        The reference of the samples, with "funnel", "chunks", "donor_chunks": rows about other passages, one a
        sample, in the same chunks (none where the data are about one passage), "distractors" and "distractor_chunks":
        wrong answers, in the same chunks of samples, and "rejects": the first rows that could not be samples.

    Raises:
        SetupError: The data cannot be read, or no row qualifies.
        RowFormatError: A row has other columns than can be read.
    """
    drawn = draw(load_rows(identity), sampling, seed)
    samples, funnel = drawn.samples, drawn.funnel
    counts = "; ".join(f"{count} {reason}" for reason, count in sorted(funnel.rejected.items())) or "none dropped"
    if not samples:
        raise SetupError(
            f"No row of {identity['data']} qualifies: of {funnel.rows} rows, {counts}. "
            "Change `min_words` and `max_words`, or give other data."
        )
    logger = get_run_logger()
    logger.info("drew %d of %d eligible rows, %d read (%s)", funnel.drawn, funnel.eligible, funnel.rows, counts)
    if funnel.drawn < sampling.sample_count:
        logger.warning("%d samples were asked for, %d qualify", sampling.sample_count, funnel.drawn)
    reference = write_rows(samples, Sample, "sampling")
    chunks = chunks_of(reference, [sample.sample_id for sample in samples], chunk_size)
    donated = write_rows(drawn.donors, Sample, "sampling")
    donor_chunks = chunks_of(donated, [donor.sample_id for donor in drawn.donors], chunk_size)
    distractors = write_rows(drawn.distractors, Distractor, "sampling")
    return reference | {
        "funnel": asdict(funnel),
        "chunks": chunks,
        "donor_chunks": donor_chunks,
        "distractors": distractors,
        "rejects": write_rows(drawn.rejects, Reject, "sampling"),
        "distractor_chunks": _distractor_chunks(distractors, drawn.distractors, samples, chunk_size),
    }


def donor_chunk(samples: Reference, number: int) -> Reference:
    """Return the rows about other passages of a chunk of the samples.

    Raises:
        SetupError: The data are about one passage.
    """
    chunks: list[Reference] = samples["donor_chunks"]
    if not chunks:
        raise SetupError(
            "Controls take words and questions from other passages, and all eligible rows are about one passage. "
            "Give more data, or leave out the family control: --families baseline,static,generated"
        )
    return chunks[number]


def distractor_chunk(samples: Reference, number: int) -> Reference:
    """Return the distractors of a chunk of the samples."""
    chunks: list[Reference] = samples["distractor_chunks"]
    return chunks[number]


def _distractor_chunks(
    reference: Reference, distractors: Sequence[Distractor], samples: Sequence[Sample], size: int
) -> list[Reference]:
    """Split a reference into the distractors of each `size` samples, as many as those have, in the samples' order.

    A chunk is known by its samples and by the rows that its distractors answer, so that the same ones in a longer file
    are the same chunk.
    """
    counts = Counter(distractor.sample_id for distractor in distractors)
    chunks = []
    stop = 0
    for first in range(0, len(samples), size):
        start, stop = stop, stop + sum(counts[sample.sample_id] for sample in samples[first : first + size])
        names = [[distractor.sample_id, distractor.source_id] for distractor in distractors[start:stop]]
        chunks.append(reference | {"start": start, "stop": stop, "chunk": digest(names)})
    return chunks
