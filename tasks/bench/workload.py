"""What is computed: samples, their surrogates, and the token ids of every context, query and answer.

In: a count. Out: samples of the example corpus, each about another passage, with eleven contexts: the baseline,
five fixed phrases, five texts that stand for generated surrogates. Those are made here, from the passage's own words
and in lengths like those of real ones, so that the benchmark scores the same texts whatever a model writes.
"""

from dataclasses import dataclass, replace
from itertools import chain, islice, permutations

from tasks.loading.data import identify_data, load_rows
from tasks.priming.arms.arms import ARM_GROUPS, ArmGroup
from tasks.priming.arms.writing import Writing, fixed_surrogate, write_static
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import GENERATION_INSTRUCTIONS
from tasks.priming.records import Sample, Surrogate
from tasks.priming.sampling import content_hash, draw_nested, read_row
from tasks.priming.scoring import Arm, encode_arms
from tasks.priming.settings import DataSettings

FAMILY_NAMES = ("baseline", "static", "generated")
"""The families whose arms are the eleven contexts."""
CONTEXTS_PER_SAMPLE = 11

_WORDS = (50, 130)
_SEED = 0
_LEAST_LETTERS = 5


@dataclass(frozen=True, slots=True)
class Workload:
    """Samples and their surrogates."""

    samples: tuple[Sample, ...]
    """Each about another passage of 50 to 130 words."""
    surrogates: dict[str, list[Surrogate]]
    """By family; empty for the baseline."""

    @property
    def families(self) -> list[tuple[ArmGroup, list[Surrogate]]]:
        """The families that are scored, each with its surrogates."""
        return [(ARM_GROUPS[name], self.surrogates[name]) for name in FAMILY_NAMES]

    def first(self, count: int) -> "Workload":
        """Return the workload of the first samples."""
        samples = self.samples[:count]
        chosen = {sample.sample_id for sample in samples}
        kept = {name: [s for s in rows if s.sample_id in chosen] for name, rows in self.surrogates.items()}
        return Workload(samples, kept)

    def arms(self, language_model: LanguageModel) -> list[Arm]:
        """Return the token ids of every arm on every sample, family by family."""
        encoded = (encode_arms(f.contexts, self.samples, found, language_model) for f, found in self.families)
        return list(chain.from_iterable(encoded))

    def token_count(self, language_model: LanguageModel) -> int:
        """Return the tokens of all sequences, each counted in full: the work, whatever a method computes for it."""
        items = [arm.request for arm in self.arms(language_model)]
        return sum(len(item.context) + len(item.query) + len(item.answer) for item in items)


def make_workload(count: int) -> Workload:
    """Return a workload of so many samples; the first n are the same however many there are.

    Where the passages of the example corpus do not suffice, further ones have halves of two of them.
    """
    samples: dict[str, Sample] = {}
    for row in load_rows(identify_data(DataSettings(data="example"))):
        sample = read_row(row, len(samples), *_WORDS)
        if isinstance(sample, Sample):
            samples.setdefault(sample.passage_id, sample)
    whole = draw_nested(list(samples.values()), len(samples), _SEED)
    spliced = (_splice(one, other) for one, other in permutations(whole, 2))
    drawn = list(islice(chain(whole, spliced), count))
    static = write_static(drawn, Writing(seed=_SEED))
    generated = [_surrogate(sample, key) for sample in drawn for key in GENERATION_INSTRUCTIONS]
    return Workload(tuple(drawn), {"baseline": [], "static": static, "generated": generated})


def long_document(samples: tuple[Sample, ...], words: int) -> str:
    """Return the samples' passages one after the other, cut to so many words."""
    return " ".join(" ".join(sample.passage for sample in samples).split()[:words])


def _splice(one: Sample, other: Sample) -> Sample:
    """Return a sample whose passage is the first half of one passage and the second half of another."""
    first, second = one.passage.split(), other.passage.split()
    passage = " ".join([*first[: len(first) // 2], *second[len(second) // 2 :]])
    return replace(
        one,
        sample_id=content_hash(passage, one.query, one.answer),
        passage=passage,
        passage_id=content_hash(passage),
    )


def _surrogate(sample: Sample, key: str) -> Surrogate:
    """Return what stands for a generated surrogate: words of the passage in the shape of such a text."""
    one, two, three, four = _telling_words(sample.passage, 4)
    opening = " ".join(sample.passage.split()[:12]).rstrip(".,")
    text = {
        "target_question": f"What does the text say about {one} and {two}, and how is {three} part of it?",
        "keyword_query": f"{one} {two} {three}",
        "symptom_scenario": f"I cannot find out how {one} and {two} belong together and need {three}",
        "misconception_negative": f"Is it wrong to believe that {opening}? What not to do about {four}",
        "messy_realworld": f"urgent: whats the deal w {one} plz? need {two} asap, {three} or {four}??",
    }[key]
    return fixed_surrogate(sample, "generated", key, text)


def _telling_words(passage: str, count: int) -> list[str]:
    """Return the first distinct words of a passage that are not short, in lower case."""
    words = dict.fromkeys(word.strip(".,;:!?\"'()").lower() for word in passage.split())
    long = [word for word in words if len(word) >= _LEAST_LETTERS]
    return (long + list(words))[:count]
