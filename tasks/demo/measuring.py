"""Measures a causal language model on the demo corpus: does it read, and do its surrogates obey their instructions?

In: a model folder's model and tokenizer, rows of the evaluation split. Out: one record per row and per surrogate. Plain
forward passes and `generate` only, so that these figures do not rest on the engine that the experiment uses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from tasks.demo.drawing import random_for
from tasks.demo.queries import STYLES, is_within_word_limits, obeys_style
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE, fill, generation_prompt, query_prompt

ROWS_PER_BATCH = 16
# The experiment's sampling of surrogates (walkthrough notebook): temperature 0.3, top-k 50, at most 45 new tokens.
TEMPERATURE = 0.3
TOP_K = 50
MOST_NEW_TOKENS = 45

# How the passage is primed in each arm; "other_passage" is the baseline with a passage that does not hold the answer.
ARMS = ("baseline", "actual_query", "random_query", "bare_document", "other_passage")


@dataclass(frozen=True, slots=True)
class Reading:
    """How well one answer is predicted in one arm."""

    row_number: int
    """Which evaluation row."""
    arm: str
    """How the context was built."""
    fact_order: str
    """key_first or value_first."""
    answer_type: str
    """numeric, entity, location, person, description or yes_no."""
    answer_nll_sum: float
    """The negative log-likelihood of all answer tokens, in nats."""
    answer_token_count: int
    """How many tokens the answer has."""
    is_exact: bool
    """Whether each answer token and the end of the text is the likeliest one: greedy decoding gives just the answer."""


@dataclass(frozen=True, slots=True)
class WrittenSurrogate:
    """One generated surrogate and whether it is as asked for."""

    style: str
    """Which of the five instructions."""
    text: str
    """The surrogate."""
    subject: str
    """The subject of its passage."""
    is_as_asked: bool
    """Whether word limits and style are obeyed."""
    names_subject: bool
    """Whether it names the passage's subject."""


def selected_passage(row: dict[str, Any]) -> str:
    """Return the passage that answers the row's query."""
    passages = row["passages"]
    text: str = passages["passage_text"][passages["is_selected"].index(1)]
    return text


def gold_answer(row: dict[str, Any]) -> str:
    """Return the first well-formed answer, or the first answer if there is none."""
    answer: str = (row["wellFormedAnswers"] or row["answers"])[0]
    return answer


def context_of(rows: Sequence[dict[str, Any]], number: int, arm: str) -> str:
    """Return the text before the query in an arm; strangers are drawn from rows about other subjects."""
    row = rows[number]
    source = random_for("stranger", number)
    stranger = row
    while selected_passage(stranger) == selected_passage(row):
        stranger = source.choice(rows)
    if arm == "baseline":
        return fill(BASELINE_TEMPLATE, document=selected_passage(row))
    if arm == "bare_document":
        return selected_passage(row)
    if arm == "other_passage":
        return fill(BASELINE_TEMPLATE, document=selected_passage(stranger))
    surrogate = row["query"] if arm == "actual_query" else stranger["query"]
    return fill(SURROGATE_TEMPLATE, surrogate=surrogate, document=selected_passage(row))


def read_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    arms: Sequence[str] = ARMS,
) -> Iterator[Reading]:
    """Yield one reading per row and arm, batch by batch."""
    jobs = [(number, arm) for arm in arms for number in range(len(rows))]
    for start in range(0, len(jobs), ROWS_PER_BATCH):
        part = jobs[start : start + ROWS_PER_BATCH]
        contexts: list[list[int]] = []
        answers: list[list[int]] = []
        for number, arm in part:
            context = tokenizer(context_of(rows, number, arm))["input_ids"]
            query = tokenizer(query_prompt(rows[number]["query"]), add_special_tokens=False)["input_ids"]
            contexts.append(context + query)
            answers.append(tokenizer(gold_answer(rows[number]), add_special_tokens=False)["input_ids"])
        for (number, arm), (nlls, is_exact) in zip(part, answer_nlls(model, contexts, answers), strict=True):
            answer_type, _, _ = rows[number]["query_type"].removesuffix("_first").rpartition("_")
            yield Reading(
                row_number=number,
                arm=arm,
                fact_order=rows[number]["fact_order"],
                answer_type=answer_type,
                answer_nll_sum=float(nlls.sum()),
                answer_token_count=len(nlls),
                is_exact=is_exact,
            )


@torch.inference_mode()
def answer_nlls(
    model: PreTrainedModel, contexts: list[list[int]], answers: list[list[int]]
) -> list[tuple[torch.Tensor, bool]]:
    """Return for each context the NLL of each answer token, and whether greedy decoding gives the answer and ends.

    Padding stands behind the answer, where a causal model cannot see it.
    """
    end_id = model.config.eos_token_id
    texts = [[*context, *answer, end_id] for context, answer in zip(contexts, answers, strict=True)]
    length = max(len(text) for text in texts)
    token_ids = torch.tensor([text + [end_id] * (length - len(text)) for text in texts], device=model.device)
    logits = model(input_ids=token_ids, use_cache=False).logits.float()
    results: list[tuple[torch.Tensor, bool]] = []
    for number, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        # The token at position p is predicted by the logits at p - 1.
        predicting = logits[number, len(context) - 1 : len(context) + len(answer)]
        targets = torch.tensor([*answer, end_id], device=model.device)
        log_probabilities = predicting.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        is_exact = bool((predicting.argmax(-1) == targets).all())
        results.append((-log_probabilities[:-1].cpu(), is_exact))
    return results


@torch.inference_mode()
def write_surrogates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, passages: Sequence[tuple[str, str]], seed: int
) -> Iterator[WrittenSurrogate]:
    """Yield a sampled surrogate of each kind for each (passage, subject)."""
    set_seed(seed)
    for style in STYLES:
        for start in range(0, len(passages), ROWS_PER_BATCH):
            part = passages[start : start + ROWS_PER_BATCH]
            messages = [[{"role": "user", "content": generation_prompt(style, passage)}] for passage, _ in part]
            rendered = [
                tokenizer.apply_chat_template(each, add_generation_prompt=True, tokenize=False) for each in messages
            ]
            inputs = tokenizer(
                rendered, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
            ).to(model.device)
            written = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=TOP_K,
                max_new_tokens=MOST_NEW_TOKENS,
            )
            for (_, subject), ids in zip(part, written[:, inputs["input_ids"].shape[1] :], strict=True):
                text = tokenizer.decode(ids, skip_special_tokens=True).strip().split("\n")[0]
                yield WrittenSurrogate(
                    style=style,
                    text=text,
                    subject=subject,
                    is_as_asked=is_within_word_limits(text, style) and obeys_style(text, style),
                    names_subject=subject.lower() in text.lower(),
                )
