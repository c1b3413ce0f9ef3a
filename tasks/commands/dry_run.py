"""A run that computes nothing: what becomes of the data's rows, contexts as the model reads them, an estimate.

In: settings. Out: a page on standard output. No weights are loaded or downloaded, no server is started, nothing is
stored; a row that cannot be read, or a model that cannot be found, is reported as a run would report it. Tokens are
counted by the model's tokenizer; the time is that of an earlier run with the same model on the same device, if any.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import psutil
from rich.filesize import decimal

from tasks.answers import answers_at_most
from tasks.loading.data import identify_data, load_rows
from tasks.loading.model_files import weight_bytes
from tasks.loading.models import held_quantization, outline_language_model, writer_settings
from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, Verbatim, paragraph
from tasks.pages.numbers import duration
from tasks.pages.terminal import print_blocks
from tasks.priming.answers import TOKEN_LIMIT
from tasks.priming.arms.arms import ArmGroup, entries_of
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.batches import token_budget
from tasks.priming.engine.generation import held_tokens
from tasks.priming.engine.model import LanguageModel, encode_answer, encode_chat, encode_context, encode_continuation
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, instructed, query_prompt
from tasks.priming.records import Sample
from tasks.priming.sampling import Draw, RowFormatError, draw_samples
from tasks.priming.settings import ExperimentSettings, LanguageModelSettings
from tasks.results import open_results
from tasks.sampling import require_samples
from tasks.scoring import condition_count
from tasks.workers.processes import sensible_count

COUNTED_SAMPLES = 100
"""Samples whose tokens are counted; of more, all are taken to be like these."""

_SHOWN = ("baseline", "static", "control/actual_query")
"""Entries of which a context is shown: their surrogates are known before the model has written any."""

_SHOWN_ROWS = 5  # of those that are dropped for one reason

_LIBRARY_BYTES = 0.58e9
"""What a worker holds before any weight is read, and a small model's passes: measured on Linux."""

_LOGITS_COPIES = 2
"""The logits of a batch while they are computed: oneDNN's and torch's."""

_EARLIER_RUN = """
    SELECT run.run_id,
        (SELECT sum(query_token_count + answer_token_count + if(treatment = 'kept', context_token_count, 0)) FROM score
            WHERE run_id = run.run_id) AS scored_tokens,
        (SELECT sum(seconds) FROM stage_time WHERE run_id = run.run_id AND stage = 'score') AS scoring_seconds,
        (SELECT count(*) FROM surrogate WHERE run_id = run.run_id AND family = 'generated') AS surrogates,
        (SELECT sum(seconds) FROM stage_time
            WHERE run_id = run.run_id AND stage = 'surrogate' AND entry = 'generated') AS writing_seconds,
        (SELECT count(*) FROM answer_text WHERE run_id = run.run_id) AS answers,
        (SELECT sum(seconds) FROM stage_time WHERE run_id = run.run_id AND stage = 'answer_text') AS answering_seconds
    FROM run
    WHERE status = 'complete' AND language_model = $language_model AND dtype = $dtype
        AND (quantization = $quantization OR quantization LIKE 'gguf:%') AND device = $device
    ORDER BY drawn_count DESC, started_at DESC
    LIMIT 1"""
"""The largest run of a model on a device."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What a run reads and writes, in tokens."""

    scored: int
    """Contexts of all arms, also where a common beginning is computed once; queries and answers of all conditions."""
    prompts: int
    """What is read to write surrogates."""
    surrogates: int
    """Texts that the model writes."""
    written_at_most: int
    """Tokens of those texts, if each is as long as it may be."""
    answers: int
    """Answers that the model writes, if the router never chooses an arm that is asked in any case."""
    longest: int
    """Tokens of the longest context with its query and answer."""
    predicted_share: float
    """Of what is computed to score, the share of tokens whose logits are used: answers and distractors."""
    too_long: int
    """Of the counted samples, those whose longest context does not fit into the model's window."""
    counted_samples: int
    """Samples that were counted; the sums are scaled to all."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process needs, in bytes."""

    weights: float
    """The model's parameters."""
    writing: float
    """Keys and values of unfinished lines; 0 where no line is written."""
    scoring: float
    """Logits of a batch."""

    @property
    def total(self) -> float:
        """The most at one time: lines are written before contexts are scored, in memory that is used again."""
        return self.weights + _LIBRARY_BYTES + max(self.writing, self.scoring)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an earlier run was; its processes' seconds added up."""

    run_id: str
    """The run."""
    scored_tokens_per_second: float
    """Tokens of contexts, queries and answers."""
    seconds_per_surrogate: float | None
    """Of writing; None if it wrote none."""
    seconds_per_answer: float | None
    """Of answering; None if it gave no answers."""


def print_dry_run(settings: ExperimentSettings, workers: str | None) -> None:
    """Print what a run with these settings would read and take.

    Args:
        settings: The settings of the run.
        workers: Processes that would compute it, as given; None: as many as suit this machine.

    Raises:
        UsageError: The data or the model cannot be found or read, or no row qualifies.
    """
    # Rows that cannot be read are listed with the others before they are refused.
    lenient = settings.sampling.model_copy(update={"skip_bad_rows": True})
    drawn = draw_samples(load_rows(identify_data(settings.data)), lenient, settings.seed)
    print_blocks(_data(drawn, settings))
    if drawn.unreadable and not settings.sampling.skip_bad_rows:
        raise RowFormatError(drawn.unreadable, drawn.unreadable_count)
    require_samples(drawn, settings.data.data, settings.sampling)
    print_blocks(_own_texts(settings, drawn))
    print_blocks(_contexts(drawn, settings))
    model = outline_language_model(settings.language_model)
    print_blocks(_estimate(drawn, settings, model, int(workers) if workers else None))


def count_tokens(
    samples: Sequence[Sample], settings: ExperimentSettings, model: LanguageModel, provided_keys: Sequence[str] = ()
) -> TokenCounts:
    """Count the tokens of a run; a surrogate that is not yet written is taken to be as long as the user's query."""
    counted = samples[:COUNTED_SAMPLES]
    entries = entries_of(settings, provided_keys).values()
    rules = [entry.contexts for entry in entries]
    lengths = [_lengths(sample, rules, model) for sample in counted]
    instructions = [text for entry in entries if entry.is_written for text in _instructions(entry)]
    writers = len(instructions)
    prompts = sum(len(encode_chat(model, instructed(text, s.passage))) for s in counted for text in instructions)
    share = len(samples) / len(counted)
    answers = sum(len(encode_answer(model.tokenizer, query_prompt(s.query), s.answer)) for s in counted)
    wrong = settings.sampling.distractor_count * answers  # distractors are other samples' answers
    arms = sum(len(rule.arm_keys) for rule in rules)
    conditions = sum(map(condition_count, entries))
    longest = [max(of_sample) for of_sample in lengths]
    queries = sum(len(encode_continuation(model.tokenizer, query_prompt(s.query))) for s in counted)
    # A context is computed once; each further treatment of it reads the query and scores the answers again.
    scored = sum(map(sum, lengths)) + (conditions - arms) * (queries + answers)
    return TokenCounts(
        scored=round(share * scored),
        prompts=round(share * prompts),
        surrogates=writers * len(samples),
        written_at_most=writers * len(samples) * settings.generation.max_new_tokens,
        answers=answers_at_most(entries_of(settings, provided_keys), settings.answers) * len(samples),
        longest=max(longest),
        predicted_share=(answers + wrong) * conditions / (scored + wrong * conditions),
        too_long=sum(length > model.window for length in longest),
        counted_samples=len(counted),
    )


def estimate_memory(settings: LanguageModelSettings, model: LanguageModel, tokens: TokenCounts, device: str) -> Memory:
    """Estimate the memory of one process on "cpu" or "cuda"."""
    facts, vocabulary = model.facts, model.model.config.get_text_config().vocab_size
    batch = max(token_budget(device), tokens.longest)
    # Prompts with room for their lines, as long as there are any, and those of them that are just being read.
    answered = tokens.answers * (tokens.longest + TOKEN_LIMIT)
    held = min(held_tokens(facts, device), max(tokens.prompts + tokens.written_at_most, answered))
    return Memory(
        weights=weight_bytes(facts.parameter_count, settings.dtype, held_quantization(settings, device)),
        writing=facts.cache_bytes_per_token * (held + batch) if tokens.surrogates or tokens.answers else 0.0,
        scoring=_LOGITS_COPIES * tokens.predicted_share * batch * vocabulary * model.model.dtype.itemsize,
    )


def find_pace(settings: LanguageModelSettings, device_name: str) -> Pace | None:
    """Return how fast the largest complete run of the same model on a device was; None if there was none.

    Args:
        settings: Model, number format and quantisation.
        device_name: As runs record it: "cpu", or the GPU's name.
    """
    parameters = settings.model_dump(include={"language_model", "dtype", "quantization"}) | {"device": device_name}
    try:
        with open_results() as connection:
            found = connection.execute(_EARLIER_RUN, parameters).fetchone()
    except (FileNotFoundError, duckdb.Error):  # nothing is published, or by another version
        return None
    if found is None or not found[1] or not found[2]:
        return None
    run_id, tokens, seconds, *texts = found
    per_surrogate, per_answer = (
        taken / count if count and taken else None for count, taken in zip(texts[::2], texts[1::2], strict=True)
    )
    return Pace(run_id, tokens / seconds, per_surrogate, per_answer)


def _data(drawn: Draw, settings: ExperimentSettings) -> Iterator[Block]:
    funnel, sampling = drawn.funnel, settings.sampling
    yield Heading("The data")
    rows: list[tuple[Part, ...]] = [("read", f"{funnel.rows:,}", "")]
    rows += [
        (f"dropped: {reason}", f"-{count:,}", _first_rows(drawn, reason))
        for reason, count in sorted(funnel.rejected.items())
    ]
    rows += [("eligible", f"{funnel.eligible:,}", ""), ("drawn as samples", f"{funnel.drawn:,}", "")]
    yield paragraph("Rows of ", Quoted(settings.data.data), ", counted from 1:")
    yield Table(("rows", "count", "which"), tuple(rows))
    if drawn.unreadable:
        problems = ((f"{row.position:,}", row.reason, Quoted(row.excerpt)) for row in drawn.unreadable)
        yield paragraph("Rows that cannot be read, the first thousand if there are more:")
        yield Table(("row", "problem", "what is there"), tuple(problems), text_columns=3)
    if funnel.drawn < sampling.sample_count:
        yield paragraph(f"{sampling.sample_count:,} samples were asked for (--sample-count); {funnel.drawn:,} qualify.")
    if "control" in settings.families and drawn.samples and not drawn.donors:
        yield paragraph(
            "All eligible rows are about one passage, and controls take words from other passages: this run would "
            "fail. Give more data, or leave out the controls: --families baseline,static,generated"
        )


def _first_rows(drawn: Draw, reason: str) -> str:
    """Return the numbers of the first rows that were dropped for a reason."""
    rows = [f"{row.position:,}" for row in drawn.rejects if row.reason == reason]
    return ", ".join(rows[:_SHOWN_ROWS]) + (", ..." if drawn.funnel.rejected[reason] > _SHOWN_ROWS else "")


def _instructions(entry: ArmGroup) -> list[str]:
    """Return the instructions of an entry that the model writes; controls have that of a target_question."""
    if entry.wording:
        return [entry.wording.text]
    question = GENERATION_INSTRUCTIONS["target_question"]
    return [GENERATION_INSTRUCTIONS.get(key, question).text for key in entry.contexts.arm_keys]


def _own_texts(settings: ExperimentSettings, drawn: Draw) -> Iterator[Block]:
    if not settings.arms and not drawn.provided_keys:
        return
    rows: list[tuple[Part, ...]] = []
    for arm in settings.arms:
        made = "written by" if arm.instruction else "text"
        shown = Quoted(arm.text or arm.instruction or "") if arm.wording else "none"
        rows.append((f"{arm.family}/{arm.key}", made, shown, ", ".join(arm.treatments)))
    rows += [(f"provided/{key}", "column surrogates", "", "") for key in drawn.provided_keys]
    yield Heading("Your own texts")
    yield Table(("condition", "from", "text", "treatments"), tuple(rows), text_columns=4)


def _contexts(drawn: Draw, settings: ExperimentSettings) -> Iterator[Block]:
    samples = drawn.samples
    yield Heading("Contexts")
    yield paragraph("A KV cache is built from a context. The query is appended, then the answer is scored.")
    entries = entries_of(settings, drawn.provided_keys)
    own = {arm.family: f"{arm.family}/{arm.key}" for arm in reversed(settings.arms)}  # the first of each family
    for number, name in enumerate(name for name in (*_SHOWN, *own.values()) if name in entries):
        sample = samples[number % len(samples)]
        rule = entries[name].contexts
        yield paragraph(f"Sample {number % len(samples) + 1} in arm {rule.family}/{rule.arm_keys[0]}, with its query:")
        yield Verbatim(_contexts_before_writing(sample, rule)[0] + query_prompt(sample.query))
        yield paragraph("The answer that is scored: ", Quoted(sample.answer))


def _estimate(drawn: Draw, settings: ExperimentSettings, model: LanguageModel, workers: int | None) -> Iterator[Block]:
    samples = drawn.samples
    tokens = count_tokens(samples, settings, model, drawn.provided_keys)
    device, device_name = _device(settings.language_model)
    held = held_quantization(settings.language_model, device)
    model_facts = settings.language_model.model_dump() | {"device": device, "held_quantization": held}
    count = workers or sensible_count(model_facts)
    memory = estimate_memory(settings.language_model, model, tokens, device)
    yield Heading("What a run would take")
    rows = [
        *_token_rows(tokens, len(samples), model),
        *_memory_rows(settings.language_model, model, memory, device=device, count=count),
        ("time", *_time(settings.language_model, tokens, device_name, count)),
    ]
    yield Table(("what", "estimate", "from"), tuple(rows), text_columns=3)
    if other := writer_settings(settings):
        count_of_writer = outline_language_model(other).facts.parameter_count
        size = decimal(int(weight_bytes(count_of_writer, other.dtype, held_quantization(other, device))))
        yield paragraph(
            "Surrogates are written by ",
            Quoted(other.language_model),
            f" first, whose weights take {size} and leave "
            "the memory before the reading model is loaded. Tokens are counted by the reading model's tokenizer.",
        )
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
    if tokens.answers:
        yield "answers written", f"at most {tokens.answers:,}", f"of at most {TOKEN_LIMIT} tokens each"
    first = model.facts.first_token
    yield "first token", Quoted(first) if first else "none", "every context begins with it"
    yield "longest sample", f"{tokens.longest:,} tokens", f"the model reads up to {model.window:,}"


def _memory_rows(
    settings: LanguageModelSettings, model: LanguageModel, memory: Memory, *, device: str, count: int
) -> Iterator[tuple[Part, ...]]:
    facts = model.facts
    form = settings.dtype if settings.quantization == "none" else settings.quantization
    yield "weights", decimal(int(memory.weights)), f"{facts.parameter_count:,} parameters in {form}"
    if memory.writing:
        per_token = decimal(facts.cache_bytes_per_token)
        yield "to write", decimal(int(memory.writing)), f"{per_token} of keys and values per token, many lines at once"
    yield "to score", decimal(int(memory.scoring)), "logits of a batch, in the same memory"
    here = "" if device == "cuda" else f"; {decimal(psutil.virtual_memory().available)} are available here"
    libraries = f"in each {decimal(int(_LIBRARY_BYTES))} for Python and libraries{here}"
    yield "memory", f"about {decimal(int(count * memory.total))}", f"{_processes(count)}; {libraries}"


def _time(settings: LanguageModelSettings, tokens: TokenCounts, device_name: str | None, count: int) -> tuple[str, str]:
    """Return the estimated time and what it is taken from."""
    if device_name is None:
        return "unknown", "there is no CUDA GPU here, which these settings need"
    pace = find_pace(settings, device_name)
    if pace is None:
        found = f"no complete run with this model on this device ({device_name}) is in artifacts/"
        return "unknown", f"{found}; a small one would tell: --sample-count 10"
    seconds = tokens.scored / pace.scored_tokens_per_second
    source = f"run {pace.run_id} here: {pace.scored_tokens_per_second:,.0f} tokens scored per second"
    unknown = []
    for what, texts, pace_of_one in (
        ("surrogate", tokens.surrogates, pace.seconds_per_surrogate),
        ("answer", tokens.answers, pace.seconds_per_answer),
    ):
        if texts and pace_of_one is None:
            unknown.append(f"the {what}s")
        elif texts and pace_of_one is not None:
            seconds += texts * pace_of_one
            source += f", {pace_of_one:.2g} s per {what}"
    if unknown:
        left = " and ".join(unknown)
        return f"{duration(seconds / count)} and {left}", f"{source}; it wrote none of {left}"
    return f"about {duration(seconds / count)}", f"{source}; {_processes(count)}"


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


def _lengths(sample: Sample, rules: Sequence[ContextRule], model: LanguageModel) -> list[int]:
    """Return for each arm the tokens of a sample's context, query and answer."""
    prompt = query_prompt(sample.query)
    after = len(encode_continuation(model.tokenizer, prompt))
    after += len(encode_answer(model.tokenizer, prompt, sample.answer))
    return [
        len(encode_context(model, context)) + after
        for rule in rules
        for context in _contexts_before_writing(sample, rule)
    ]


def _contexts_before_writing(sample: Sample, rule: ContextRule) -> list[str]:
    """Return a sample's contexts, arm by arm, with the user's query where a surrogate is not yet written."""
    if not rule.has_surrogate:
        return [rule.context(sample.passage, None)]
    texts = rule.fixed_surrogates or (sample.query,) * len(rule.arm_keys)
    return [rule.context(sample.passage, text) for text in texts]
