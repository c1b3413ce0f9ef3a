"""How good a written answer is, compared with all accepted answers; no model judges.

In: a text and the accepted answers, or the rows of table answer_text. Out: measures of one text, or those of all
conditions. A measure that compares is the largest over the accepted answers, each measure's own. Texts are compared
after SQuAD's normalisation: case, punctuation, the articles a, an and the, and white space do not count.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tasks.priming.records import AnswerText, condition_name

PLAIN_DOCUMENT = ("baseline", "document")
"""Family and key of the condition whose answers the others' are compared with."""

REFUSALS = (
    "no answer", "unanswerable", "no information", "not enough information", "insufficient information",
    "not mentioned", "not stated", "not specified", "not provided", "not given", "does not say", "does not mention",
    "does not specify", "does not state", "does not provide", "do not know", "dont know", "cannot answer",
    "cannot be answered", "cannot be determined", "cannot determine", "unable to answer", "unable to determine",
)  # fmt: skip
"""A text that holds one of these, after normalisation and as whole words, is counted as a refusal. English only."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ROUGE_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """What is measured of one text; the fields of AnswerText say what each means."""

    normalised_text: str
    exact_match: bool
    f1: float
    recall: float
    rouge_l: float
    word_count: int
    is_empty: bool
    is_refusal: bool


def measure_text(text: str, accepted: Sequence[str]) -> TextMeasures:
    """Return the measures of a text against the accepted answers, of which there is at least one.

    Answers of which normalisation leaves nothing are left out unless there are no others, as in SQuAD's script.
    """
    normalised = normalise(text)
    tokens = normalised.split()
    answers = [answer for answer in accepted if normalise(answer)] or [""]
    golds = [normalise(answer).split() for answer in answers]
    return TextMeasures(
        normalised_text=normalised,
        exact_match=tokens in golds,
        f1=max(token_f1(tokens, gold) for gold in golds),
        recall=max(token_recall(tokens, gold) for gold in golds),
        rouge_l=max(rouge_l(text, answer) for answer in answers),
        word_count=len(text.split()),
        is_empty=not tokens,
        is_refusal=any(f" {phrase} " in f" {normalised} " for phrase in REFUSALS),
    )


def normalise(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation, articles and extra white space.

    Source: `normalize_answer` in SQuAD's evaluate-v2.0.py (Rajpurkar et al. 2016, arXiv:1606.05250).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(tokens: Sequence[str], gold: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of the tokens, each counted as often as it occurs.

    Where one side has no tokens: 1 if the other has none either, else 0.

    Source: `compute_f1` in SQuAD's evaluate-v2.0.py.
    """
    if not tokens or not gold:
        return float(tokens == gold)
    return 2 * _shared(tokens, gold) / (len(tokens) + len(gold))


def token_recall(tokens: Sequence[str], gold: Sequence[str]) -> float:
    """Return the share of the gold answer's tokens that occur in the text, each counted as often as it occurs.

    Unlike F1, it does not fall where a model answers in a whole sentence.

    Source: Adlakha et al. 2024, arXiv:2307.16877, section 4.1.
    """
    return _shared(tokens, gold) / len(gold) if gold else float(not tokens)


def rouge_l(text: str, gold: str) -> float:
    """Return the F-measure of the longest common subsequence of words; 0 where they share none.

    Words are runs of letters and digits in lower case, unstemmed, articles included: ROUGE's own, not SQuAD's.

    Source: Lin 2004, aclanthology.org/W04-1013; the package rouge-score, which knows ASCII letters only.
    """
    words, gold_words = (_ROUGE_TOKEN.findall(side.lower()) for side in (text, gold))
    lengths = [0] * (len(gold_words) + 1)  # of the longest common subsequence with each beginning of the gold words
    for word in words:
        before = lengths.copy()
        for place, gold_word in enumerate(gold_words, 1):
            lengths[place] = before[place - 1] + 1 if word == gold_word else max(before[place], lengths[place - 1])
    return 2 * lengths[-1] / (len(words) + len(gold_words)) if lengths[-1] else 0.0


def _shared(tokens: Sequence[str], gold: Sequence[str]) -> int:
    return (Counter(tokens) & Counter(gold)).total()


MEASURES: dict[str, Callable[[AnswerText], float | None]] = {
    "exact_match": lambda row: row.exact_match,
    "f1": lambda row: row.f1,
    "recall": lambda row: row.recall,
    "rouge_l": lambda row: row.rouge_l,
    "word_count": lambda row: row.word_count,
    "empty": lambda row: row.is_empty,
    "refusal": lambda row: row.is_refusal,
}
"""Name -> the value of a row; flags count as 1 and 0."""

Condition: TypeAlias = dict[str, float]
"""sample_id -> value, for the samples whose answer was written."""


def measures_by_condition(rows: Sequence[AnswerText]) -> dict[str, dict[str, Condition]]:
    """Return measure -> condition -> sample_id -> value, for those of MEASURES and for "changed".

    "changed" is 1 where the normalised text differs from that after the plain document, else 0. Conditions are arms
    ("static/quantitative+stripped") and what the router chose ("static/routed"). One that was asked on some samples
    only, such as an arm where the router chose it, is left out: its samples were picked.
    """
    conditions = _rows_by_condition(rows)
    found = {
        name: {condition: _values(of_sample, value) for condition, of_sample in conditions.items()}
        for name, value in MEASURES.items()
    }
    plain = conditions.get(condition_name(*PLAIN_DOCUMENT), {})
    found["changed"] = {
        condition: {
            sample_id: float(row.normalised_text != plain[sample_id].normalised_text)
            for sample_id, row in of_sample.items()
            if row.status == "ok" and sample_id in plain and plain[sample_id].status == "ok"
        }
        for condition, of_sample in conditions.items()
    }
    return found


def _rows_by_condition(rows: Sequence[AnswerText]) -> dict[str, dict[str, AnswerText]]:
    arms: dict[str, dict[str, AnswerText]] = {}
    routed: dict[str, dict[str, AnswerText]] = {}
    sample_ids: set[str] = set()
    routed_ids: dict[str, set[str]] = {}  # by family
    for row in rows:
        sample_ids.add(row.sample_id)
        arms.setdefault(row.condition, {})[row.sample_id] = row
        if row.is_routed:
            routed_ids.setdefault(row.family, set()).add(row.sample_id)
            routed.setdefault(condition_name(row.family, "routed", row.treatment), {})[row.sample_id] = row
    complete = {name: found for name, found in arms.items() if found.keys() == sample_ids}
    return complete | {
        name: found for name, found in routed.items() if found.keys() == routed_ids[next(iter(found.values())).family]
    }


def _values(of_sample: Mapping[str, AnswerText], value: Callable[[AnswerText], float | None]) -> Condition:
    found = {sample_id: value(row) for sample_id, row in of_sample.items()}
    return {sample_id: float(known) for sample_id, known in found.items() if known is not None}
