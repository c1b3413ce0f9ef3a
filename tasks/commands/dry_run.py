"""A run that computes nothing: what becomes of the data's rows, three contexts as the model reads them, an estimate.

In: settings. Out: a page on standard output. No weights are loaded or downloaded, no server is started, nothing is
stored; a row that cannot be read, or a model that cannot be found, is told as a run would tell it.
"""

from collections.abc import Iterator

import psutil
from rich.filesize import decimal

from tasks.commands.estimates import TokenCounts, contexts_before_writing, count_tokens, estimate_memory, find_pace
from tasks.loading.data import SetupError, identify_data, load_rows
from tasks.loading.models import outline_language_model
from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, Verbatim, paragraph
from tasks.pages.numbers import duration
from tasks.pages.terminal import print_blocks
from tasks.priming.arms.arms import entries_of
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Sample
from tasks.priming.sampling import Draw, draw_samples
from tasks.priming.settings import ExperimentSettings, LanguageModelSettings
from tasks.workers.processes import sensible_count

_SHOWN = ("baseline", "static", "control/actual_query")
"""Entries of which a context is shown: their surrogates are known before the model has written any."""

_UNKNOWN = "unknown"


def print_dry_run(settings: ExperimentSettings, workers: str | None) -> None:
    """Print what a run with these settings would read and take.

    Args:
        settings: The settings of the run.
        workers: Processes that would compute it, as they were given; None: as many as suit this machine.

    Raises:
        UsageError: The data or the model cannot be found or read, or no row qualifies.
    """
    drawn = draw_samples(load_rows(identify_data(settings.data)), settings.sampling, settings.seed)
    print_blocks(_data(drawn, settings))
    if not drawn.samples:
        raise SetupError(
            f"No row of {settings.data.data} qualifies, so there is nothing to run. Change --min-words and "
            f"--max-words, now {settings.sampling.min_words} and {settings.sampling.max_words}, or give other data."
        )
    print_blocks(_contexts(drawn.samples, settings))
    model = outline_language_model(settings.language_model)
    print_blocks(_estimate(drawn.samples, settings, model, int(workers) if workers else None))


def _data(drawn: Draw, settings: ExperimentSettings) -> Iterator[Block]:
    funnel, sampling = drawn.funnel, settings.sampling
    yield Heading("The data")
    rows: list[tuple[Part, ...]] = [("read", f"{funnel.rows:,}")]
    rows += [(f"dropped: {reason}", f"-{count:,}") for reason, count in sorted(funnel.rejected.items())]
    rows += [("eligible", f"{funnel.eligible:,}"), ("drawn as samples", f"{funnel.drawn:,}")]
    yield paragraph("Rows of ", Quoted(settings.data.data), ":")
    yield Table(("rows", "count"), tuple(rows))
    if funnel.drawn < sampling.sample_count:
        yield paragraph(f"{sampling.sample_count:,} samples were asked for (--sample-count); {funnel.drawn:,} qualify.")
    if "control" in settings.families and drawn.samples and not drawn.donors:
        yield paragraph(
            "All eligible rows are about one passage, and controls take words from other passages: this run would "
            "fail. Give more data, or leave out the controls: --families baseline,static,generated"
        )


def _contexts(samples: list[Sample], settings: ExperimentSettings) -> Iterator[Block]:
    yield Heading("Three contexts")
    yield paragraph("A context is what a KV cache is built of. The query follows it, and the answer is scored behind.")
    entries = entries_of(settings)
    for number, name in enumerate(name for name in _SHOWN if name in entries):
        sample = samples[number % len(samples)]
        rule = entries[name].contexts
        arm = f"{rule.family}/{rule.arm_keys[0]}"
        yield paragraph(f"Sample {number % len(samples) + 1} in arm {arm}, with its query:")
        yield Verbatim(contexts_before_writing(sample, rule)[0] + query_prompt(sample.query))
        yield paragraph("The answer that is scored: ", Quoted(sample.answer))


def _estimate(
    samples: list[Sample], settings: ExperimentSettings, model: LanguageModel, workers: int | None
) -> Iterator[Block]:
    tokens = count_tokens(samples, settings, model)
    device, device_name = _device(settings.language_model)
    processes = workers or sensible_count(settings.language_model.model_dump() | {"device": device})
    yield Heading("What a run would take")
    rows = [
        *_token_rows(tokens, len(samples), model),
        *_memory_rows(settings.language_model, model, tokens, device=device, processes=processes),
        _time_row(settings.language_model, tokens, device_name, processes),
    ]
    yield Table(("what", "estimate", "from"), tuple(rows), text_columns=3)
    if tokens.too_long:
        yield paragraph(
            f"{tokens.too_long:,} of {tokens.counted_samples:,} samples do not fit into the model's window of "
            f"{model.window:,} tokens and would be set aside. Lower --max-words, or take another model."
        )
    if device == "cpu" and _has_gpu():
        yield paragraph("There is a GPU here that these settings do not use: add --device cuda --dtype bfloat16.")


def _token_rows(tokens: TokenCounts, sample_count: int, model: LanguageModel) -> Iterator[tuple[Part, ...]]:
    counted = f"the model's tokenizer, {tokens.counted_samples:,} of {sample_count:,} samples"
    yield "tokens scored", f"{tokens.scored:,}", f"{counted}; unwritten surrogates taken as long as queries"
    if tokens.surrogates:
        yield "tokens read to write", f"{tokens.prompts:,}", counted
        written = f"{tokens.surrogates:,} surrogates, --max-new-tokens each"
        yield "tokens written", f"at most {tokens.written_at_most:,}", written
    first = model.facts.first_token
    yield "first token", Quoted(first) if first else "none", "every context begins with it"
    yield "longest sample", f"{tokens.longest:,} tokens", f"the model reads up to {model.window:,}"


def _memory_rows(
    settings: LanguageModelSettings, model: LanguageModel, tokens: TokenCounts, *, device: str, processes: int
) -> Iterator[tuple[Part, ...]]:
    memory = estimate_memory(settings, model, tokens, device)
    facts = model.facts
    form = settings.dtype if settings.quantization == "none" else settings.quantization
    yield "weights", decimal(int(memory.weights)), f"{facts.parameter_count:,} parameters in {form}"
    if memory.writing:
        per_token = decimal(facts.cache_bytes_per_token)
        yield "to write", decimal(int(memory.writing)), f"{per_token} of keys and values a token, of many lines at once"
    yield "to score", decimal(int(memory.scoring)), "logits of a batch, in the same memory"
    here = "" if device == "cuda" else f"; {decimal(psutil.virtual_memory().available)} are available here"
    yield (
        "memory",
        f"about {decimal(int(processes * memory.total))}",
        f"{_processes(processes)}; in each {decimal(int(memory.libraries))} for Python and libraries{here}",
    )


def _time_row(
    settings: LanguageModelSettings, tokens: TokenCounts, device_name: str | None, processes: int
) -> tuple[Part, ...]:
    if device_name is None:
        return "time", _UNKNOWN, "there is no CUDA GPU here, which these settings need"
    pace = find_pace(settings, device_name)
    if pace is None:
        return (
            "time",
            _UNKNOWN,
            f"no complete run with this model on this device ({device_name}) is in artifacts/; a small one would tell: "
            "--sample-count 10",
        )
    seconds = tokens.scored / pace.scored_tokens_per_second
    source = f"run {pace.run_id} here: {pace.scored_tokens_per_second:,.0f} tokens scored a second"
    if tokens.surrogates and pace.seconds_per_surrogate is None:
        return "time", f"{duration(seconds / processes)} and the writing", f"{source}; it wrote no surrogates"
    if tokens.surrogates and pace.seconds_per_surrogate is not None:
        seconds += tokens.surrogates * pace.seconds_per_surrogate
        source += f", {pace.seconds_per_surrogate:.2g} s a surrogate"
    return "time", f"about {duration(seconds / processes)}", f"{source}; {_processes(processes)}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _device(settings: LanguageModelSettings) -> tuple[str, str | None]:
    """Return where a run would compute, and the name that runs record for it; None where there is no such device."""
    import torch

    if settings.device == "cpu" or (settings.device == "auto" and not _has_gpu()):
        return "cpu", "cpu"
    return "cuda", torch.cuda.get_device_name() if _has_gpu() else None


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
