"""What a run will take, before it is started: tokens, memory, time.

In: samples, settings, the outline of the language model, earlier runs in artifacts/results.duckdb. Out: counts and
estimates. Tokens are counted by the model's tokenizer; a time is taken from an earlier run with the same model on the
same device, or it is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from tasks.loading.needs import weight_bytes
from tasks.priming.arms.arms import entries_of
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.batches import token_budget
from tasks.priming.engine.generation import held_tokens
from tasks.priming.engine.model import LanguageModel, encode_answer, encode_chat, encode_context, encode_continuation
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, generation_prompt, query_prompt
from tasks.priming.records import Sample
from tasks.priming.settings import ExperimentSettings, LanguageModelSettings
from tasks.results import open_results

COUNTED_SAMPLES = 100
"""Samples whose tokens are counted; of more, all are taken to be like these."""

_LIBRARY_BYTES = 0.58e9
"""What a worker holds before any weight is read, and a small model's passes: measured on Linux."""

_LOGITS_COPIES = 2
"""The logits of a batch while they are computed: oneDNN's and torch's."""

_EARLIER_RUN = """
    SELECT run.run_id,
        (SELECT sum(context_token_count + query_token_count + answer_token_count) FROM score
            WHERE run_id = run.run_id) AS scored_tokens,
        (SELECT sum(seconds) FROM stage_time WHERE run_id = run.run_id AND stage = 'score') AS scoring_seconds,
        (SELECT count(*) FROM surrogate WHERE run_id = run.run_id AND family = 'generated') AS surrogates,
        (SELECT sum(seconds) FROM stage_time
            WHERE run_id = run.run_id AND stage = 'surrogate' AND entry = 'generated') AS writing_seconds
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
    """Contexts, queries and answers of all arms, also where a common beginning is computed once."""
    prompts: int
    """What is read to write surrogates."""
    surrogates: int
    """Texts that the model writes."""
    written_at_most: int
    """Tokens of those texts, if each is as long as it may be."""
    longest: int
    """Tokens of the longest context with its query and answer."""
    predicted_share: float
    """Of what is computed to score, the share of tokens whose logits are looked at: answers and distractors."""
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
    """Keys and values of lines in the making; nothing where no line is written."""
    scoring: float
    """Logits of a batch."""
    libraries: float
    """Python, torch and the libraries around it, with what little else a pass holds."""

    @property
    def total(self) -> float:
        """All of it at a time: lines are written before contexts are scored, in memory that is used again."""
        return self.weights + self.libraries + max(self.writing, self.scoring)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an earlier run was; its processes' seconds added up."""

    run_id: str
    """The run."""
    scored_tokens_per_second: float
    """Tokens of contexts, queries and answers."""
    seconds_per_surrogate: float | None
    """Of writing; None if it wrote none."""


def count_tokens(samples: Sequence[Sample], settings: ExperimentSettings, model: LanguageModel) -> TokenCounts:
    """Count the tokens of a run; a surrogate that is not yet written is taken to be as long as the user's query.

    Args:
        samples: The samples, at least one.
        settings: What is run.
        model: Its tokenizer and window count.
    """
    counted = samples[:COUNTED_SAMPLES]
    rules = [family.contexts for family in entries_of(settings).values()]
    lengths = [_lengths(sample, rules, model) for sample in counted]
    writers = _written_per_sample(settings)
    keys = list(GENERATION_INSTRUCTIONS) if "generated" in settings.families else []
    prompts = sum(len(encode_chat(model, generation_prompt(key, sample.passage))) for sample in counted for key in keys)
    share = len(samples) / len(counted)
    answers = [len(encode_answer(model.tokenizer, query_prompt(s.query), s.answer)) for s in counted]
    # Distractors are other samples' answers.
    wrong = settings.sampling.distractor_count * sum(answers)
    arms = sum(len(rule.arm_keys) for rule in rules)
    longest = [max(of_sample) for of_sample in lengths]
    return TokenCounts(
        scored=round(share * sum(map(sum, lengths))),
        prompts=round(share * prompts * (writers / len(keys) if keys else 0)),
        surrogates=writers * len(samples),
        written_at_most=writers * len(samples) * settings.generation.max_new_tokens,
        longest=max(longest),
        predicted_share=(sum(answers) + wrong) * arms / (sum(map(sum, lengths)) + wrong * arms),
        too_long=sum(length > model.window for length in longest),
        counted_samples=len(counted),
    )


def estimate_memory(settings: LanguageModelSettings, model: LanguageModel, tokens: TokenCounts, device: str) -> Memory:
    """Estimate the memory of one process.

    Args:
        settings: The number format of the weights.
        model: Its shape counts.
        tokens: What is read and written.
        device: "cpu" or "cuda": how many tokens are computed at once.
    """
    facts, vocabulary = model.facts, model.model.config.get_text_config().vocab_size
    batch = max(token_budget(device), tokens.longest)
    # Prompts with room for their lines, as long as there are any, and those of them that are just being read.
    held = min(held_tokens(facts, device), tokens.prompts + tokens.written_at_most)
    return Memory(
        weights=weight_bytes(facts.parameter_count, settings.dtype, settings.quantization),
        writing=facts.cache_bytes_per_token * (held + batch) if tokens.surrogates else 0.0,
        scoring=_LOGITS_COPIES * tokens.predicted_share * batch * vocabulary * model.model.dtype.itemsize,
        libraries=_LIBRARY_BYTES,
    )


def find_pace(settings: LanguageModelSettings, device_name: str) -> Pace | None:
    """Return how fast the largest complete run of the same model on a device was; None if there was none.

    Args:
        settings: Model, number format and quantisation.
        device_name: As runs record it: "cpu", or the GPU's name.
    """
    names = ("language_model", "dtype", "quantization")
    try:
        with open_results() as connection:
            parameters = settings.model_dump(include=set(names)) | {"device": device_name}
            found = connection.execute(_EARLIER_RUN, parameters).fetchone()
    except (FileNotFoundError, duckdb.Error):  # nothing is published, or by another version
        return None
    if found is None or not found[1] or not found[2]:
        return None
    run_id, tokens, seconds, surrogates, writing_seconds = found
    per_surrogate = writing_seconds / surrogates if surrogates and writing_seconds else None
    return Pace(run_id, tokens / seconds, per_surrogate)


def _lengths(sample: Sample, rules: Sequence[ContextRule], model: LanguageModel) -> list[int]:
    """Return for each arm the tokens of a sample's context, query and answer."""
    prompt = query_prompt(sample.query)
    behind = len(encode_continuation(model.tokenizer, prompt))
    behind += len(encode_answer(model.tokenizer, prompt, sample.answer))
    return [
        len(encode_context(model, context)) + behind
        for rule in rules
        for context in contexts_before_writing(sample, rule)
    ]


def contexts_before_writing(sample: Sample, rule: ContextRule) -> list[str]:
    """Return a sample's contexts, arm by arm, with the user's query where a surrogate is not yet written."""
    if not rule.has_surrogate:
        return [rule.context(sample.passage, None)]
    texts = rule.fixed_surrogates or (sample.query,) * len(rule.arm_keys)
    return [rule.context(sample.passage, text) for text in texts]


def _written_per_sample(settings: ExperimentSettings) -> int:
    """Return how many texts the model writes for a sample."""
    return sum(
        len(family.contexts.arm_keys)
        for family in entries_of(settings).values()
        # Those that need generated surrogates start from them, and count tokens only.
        if family.needs_language_model and not family.needs_generated
    )
