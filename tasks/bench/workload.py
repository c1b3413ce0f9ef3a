"""What is computed: how much of everything, and the samples with their surrogates.

In: a count. Out: samples of the example corpus, each about another passage, with eleven contexts: the baseline, five
fixed phrases, five texts that stand for generated surrogates. Those are made here, from the passage's own words and in
lengths like those of real ones, so that the benchmark scores the same texts for every model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, permutations
from typing import NamedTuple

from tasks.bench.timing import OURS, Part, Report
from tasks.loading.data import identify_data, load_rows
from tasks.priming.arms.arms import ARM_GROUPS, ArmGroup
from tasks.priming.arms.writing import Writing, fixed_surrogate, write_static
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import GENERATION_INSTRUCTIONS
from tasks.priming.records import Sample, Surrogate
from tasks.priming.sampling import RowProblem, content_hash, draw_nested, read_row
from tasks.priming.scoring import Arm, encode_arms
from tasks.priming.settings import DataSettings

_WORDS = (50, 130)
_SEED = 0
_LEAST_LETTERS = 5

CHUNK = 500
"""Samples that a run with a GPU computes at a time; on a CPU, the workload is smaller."""


class Plan(NamedTuple):
    """How much a model computes: enough to tell methods apart, and no more.

    On a GPU, what is slow is timed on a slice of the samples; ratios are per token, line or query.
    """

    samples: int  # samples that are scored, in eleven contexts each
    slice_samples: int  # of these, those that the slow methods get: the notebook's, lm-eval, padding
    limit_samples: int  # of these, those whose bare products are computed: enough for batches to fill
    rounds: int  # rounds of scoring and queries
    passages: int  # passages for each of which five lines are written
    slice_passages: int  # of these, those that the notebook's method gets
    generation_rounds: int  # rounds of writing
    identity_samples: int  # samples whose answers are compared bit by bit
    identity_passages: int  # of these, those for whose passages lines are compared
    queries: int  # queries on one document; 0: that part is left out


# fmt: off
_PLANS = {
    #                             samples slow limit rounds | passages slow rounds | identity | queries
    ("small", "cpu"):       Plan(      12,  12,   12,     3,         6,   6,     3,   8,   8,        64),
    ("wide", "cpu"):        Plan(       2,   2,    2,     3,         2,   2,     2,   2,   1,         0),
    ("smollm2-135m", "cpu"): Plan(      2,   2,    2,     3,         2,   2,     2,   2,   1,         0),
    ("mistral-7b", "cuda"): Plan(    2500,  16,  128,     1,      2500,   2,     1,   8,   8,        64),
    ("another", "cpu"):     Plan(       2,   2,    2,     3,         2,   2,     2,   2,   1,        16),
    ("another", "cuda"):    Plan(     256,  16,  128,     3,       256,   4,     3,   8,   8,        64),
}
_QUICK =                    Plan(       1,   1,    1,     2,         1,   1,     1,   2,   1,         4)
# fmt: on


def plan_of(model: str, device: str, *, is_quick: bool) -> Plan:
    """Return how much a model has to compute on a device."""
    return _QUICK if is_quick else _PLANS.get((model, device), _PLANS["another", device])


@dataclass(frozen=True, slots=True)
class Subject:
    """A language model that is measured."""

    name: str
    models: Mapping[str, LanguageModel]  # by number format; the notebook's method with the first is the base of ratios
    plan: Plan  # how much it computes
    report: Report  # is told what is being done

    @property
    def device(self) -> str:
        """Where it runs: cpu or cuda."""
        return str(self.models[self.dtype].model.device.type)

    @property
    def dtype(self) -> str:
        """The first number format."""
        return next(iter(self.models))

    def part(self, name: str) -> Part:
        """Begin a part of the benchmark."""
        return Part(name, self.name, self.device, self.report)

    def add_memory(self, part: Part, dtype: str) -> None:
        """Add how much memory ours needs, weights included."""
        model = self.models[dtype]
        weights = model.parameter_count * model.model.dtype.itemsize
        part.add((OURS, dtype), "peak memory with the weights", [weights + part.peak_bytes[OURS, dtype]], "bytes")


@dataclass(frozen=True, slots=True)
class Workload:
    """Samples and their surrogates."""

    samples: tuple[Sample, ...]  # each about another passage of 50 to 130 words
    surrogates: dict[str, list[Surrogate]]  # by family; empty for the baseline

    @property
    def families(self) -> list[tuple[ArmGroup, list[Surrogate]]]:
        """The families that are scored, each with its surrogates: eleven arms together."""
        return [(ARM_GROUPS[name], surrogates) for name, surrogates in self.surrogates.items()]

    @property
    def chunks(self) -> "list[Workload]":
        """The same chunk by chunk, as a run computes it."""
        return [self.first(CHUNK, start) for start in range(0, len(self.samples), CHUNK)]

    def first(self, count: int, start: int = 0) -> "Workload":
        """Return the workload of so many samples."""
        samples = self.samples[start : start + count]
        chosen = {sample.sample_id for sample in samples}
        kept = {name: [s for s in rows if s.sample_id in chosen] for name, rows in self.surrogates.items()}
        return Workload(samples, kept)

    def arms(self, language_model: LanguageModel) -> list[Arm]:
        """Return the token ids of every arm on every sample, family by family."""
        encoded = (encode_arms(f.contexts, self.samples, found, language_model) for f, found in self.families)
        return list(chain.from_iterable(encoded))

    def token_count(self, language_model: LanguageModel) -> int:
        """Return the tokens of all sequences, each counted in full, however much of it a method computes."""
        items = [arm.request for arm in self.arms(language_model)]
        return sum(len(item.context) + len(item.query) + len(item.answer) for item in items)


def make_workload(count: int) -> Workload:
    """Return a workload of so many samples; the first n are the same however many there are.

    Where the passages of the example corpus do not suffice, further ones have halves of two of them.
    """
    samples: dict[str, Sample] = {}
    for row in load_rows(identify_data(DataSettings(data="example"))):
        sample = None if isinstance(row, RowProblem) else read_row(row, len(samples), *_WORDS)
        if isinstance(sample, Sample):
            samples.setdefault(sample.passage_id, sample)
    whole = draw_nested(list(samples.values()), len(samples), _SEED)
    spliced = (_splice(one, other) for one, other in permutations(whole, 2))
    drawn = list(islice(chain(whole, spliced), count))
    static = write_static(drawn, Writing(seed=_SEED))
    generated = [_surrogate(sample, key) for sample in drawn for key in GENERATION_INSTRUCTIONS]
    return Workload(tuple(drawn), {"baseline": [], "static": static, "generated": generated})


def _splice(one: Sample, other: Sample) -> Sample:
    """Return a sample whose passage is the first half of one passage and the second half of another."""
    first, second = one.passage.split(), other.passage.split()
    passage = " ".join([*first[: len(first) // 2], *second[len(second) // 2 :]])
    sample_id = content_hash(passage, one.query, one.answer)
    return replace(one, sample_id=sample_id, passage=passage, passage_id=content_hash(passage))


def _surrogate(sample: Sample, key: str) -> Surrogate:
    """Return what stands for a generated surrogate: words of the passage in the shape of such a text."""
    words = dict.fromkeys(word.strip(".,;:!?\"'()").lower() for word in sample.passage.split())
    long = [word for word in words if len(word) >= _LEAST_LETTERS]
    one, two, three, four = (long + list(words))[:4]
    opening = " ".join(sample.passage.split()[:12]).rstrip(".,")
    text = {
        "target_question": f"What does the text say about {one} and {two}, and how is {three} part of it?",
        "keyword_query": f"{one} {two} {three}",
        "symptom_scenario": f"I cannot find out how {one} and {two} belong together and need {three}",
        "misconception_negative": f"Is it wrong to believe that {opening}? What not to do about {four}",
        "messy_realworld": f"urgent: whats the deal w {one} plz? need {two} asap, {three} or {four}??",
    }[key]
    return fixed_surrogate(sample, "generated", key, text)
