"""The notebook's method: one context, one query, one answer at a time, all logits computed.

In: a model, its tokenizer and texts. Out: what the notebook's functions return. They are written here as the notebook
has them (cells 9, 11, 14 and 20), so that a comparison with them is a comparison with what was published, but for one
thing: a cache is copied before it is scored. The notebook's own is not, and transformers appends to it, so that a cache
that is scored twice gives other numbers the second time.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.arms.arms import ArmGroup
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, GENERATION_TEMPLATE, fill, query_prompt
from tasks.priming.records import Sample, Surrogate


@dataclass(frozen=True, slots=True)
class NotebookScore:
    """What the notebook's method finds for one answer."""

    nll: float | None
    """Mean NLL in nats of all tokens but the first, which the notebook does not score; None for a one-token answer
    (the notebook: 0)."""
    first_nll: float
    """NLL of the first token, from the logits of the query's pass, which the notebook computes and does not read."""
    token_count: int
    """Tokens of the answer."""

    @property
    def mean_nll(self) -> float:
        """Mean NLL in nats of all tokens, the first included."""
        return (self.first_nll + (self.nll or 0.0) * (self.token_count - 1)) / self.token_count


def build_kv_cache(context: str, language_model: LanguageModel) -> tuple[int, Any]:
    """Return the token count of a context and its cache (cell 14)."""
    ids = _ids(context, language_model, add_special_tokens=True)
    with torch.no_grad():
        outputs = language_model.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, return_dict=True
        )
    return ids.shape[1], outputs.past_key_values


def score_answer_with_cache(
    cache: Any,  # noqa: ANN401 - a transformers cache
    context_count: int,
    *,
    query: str,
    answer: str,
    language_model: LanguageModel,
) -> NotebookScore:
    """Score an answer from a context's cache, to which the query and the answer are appended (cell 20).

    Args:
        cache: What build_kv_cache returned. It is longer afterwards: give a copy.
        context_count: Tokens of the context.
        query: The query prompt, template included.
        answer: The answer.
        language_model: The model and its tokenizer.
    """
    model = language_model.model
    query_ids = _ids(query, language_model, add_special_tokens=False)
    answer_ids = _ids(answer, language_model, add_special_tokens=False)
    behind_query = context_count + query_ids.shape[1]
    with torch.no_grad():
        query_outputs = model(
            input_ids=query_ids,
            attention_mask=torch.ones((1, behind_query), device=model.device),
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        )
        answer_outputs = model(
            input_ids=answer_ids,
            attention_mask=torch.ones((1, behind_query + answer_ids.shape[1]), device=model.device),
            past_key_values=query_outputs.past_key_values,
            use_cache=False,
            return_dict=True,
        )
    # The logits predict the next token: the last answer token's predict nothing, the first answer token is predicted
    # by the query's last logits.
    logits = answer_outputs.logits[:, :-1, :].contiguous().view(-1, answer_outputs.logits.size(-1))
    labels = answer_ids[:, 1:].contiguous().view(-1)
    nll = torch.nn.CrossEntropyLoss(reduction="sum")(logits, labels).item() / len(labels) if len(labels) else None
    first = torch.nn.functional.cross_entropy(query_outputs.logits[0, -1].float(), answer_ids[0, 0])
    return NotebookScore(nll, float(first), answer_ids.shape[1])


def generate_surrogate(passage: str, key: str, language_model: LanguageModel, *, token_count: int = 45) -> str:
    """Return the first line of what the model writes for an instruction (cell 9), with the notebook's one BOS too many.

    Args:
        passage: The document.
        key: A name in GENERATION_INSTRUCTIONS.
        language_model: The model that writes.
        token_count: Tokens to generate; the notebook has no stop but EOS.
    """
    model, tokenizer = language_model.model, language_model.tokenizer
    message = fill(GENERATION_TEMPLATE, instruction=GENERATION_INSTRUCTIONS[key].text, document=passage)
    messages = [{"role": "user", "content": message}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    with torch.no_grad():
        outputs = model.generate(
            **inputs,
            max_new_tokens=token_count,
            temperature=0.3,
            do_sample=True,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    text: str = tokenizer.decode(outputs[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip().strip("\"'").split("\n")[0].strip()


def compute_similarity(left: str, right: str, embedding_model: Any) -> float:  # noqa: ANN401 - no types
    """Return the cosine similarity of two texts, both embedded for it (cell 11)."""
    from sklearn.metrics.pairwise import cosine_similarity

    vectors = embedding_model.encode([left, right], show_progress_bar=False)
    return float(cosine_similarity([vectors[0]], [vectors[1]])[0][0])


def score_family(
    family: ArmGroup, samples: Sequence[Sample], surrogates: Sequence[Surrogate], language_model: LanguageModel
) -> list[NotebookScore]:
    """Score every arm of a family on every sample, arm by arm as the project's scoring does."""
    texts = {(surrogate.sample_id, surrogate.key): surrogate.text for surrogate in surrogates}
    scores = []
    for key in family.contexts.arm_keys:
        for sample in samples:
            surrogate = texts[sample.sample_id, key] if family.contexts.has_surrogate else None
            count, cache = build_kv_cache(family.contexts.context(sample.passage, surrogate), language_model)
            scores.append(
                score_answer_with_cache(
                    copy.deepcopy(cache),
                    count,
                    query=query_prompt(sample.query),
                    answer=sample.answer,
                    language_model=language_model,
                )
            )
    return scores


def score_with_rebuilt_caches(
    context: str, questions: Sequence[tuple[str, str]], language_model: LanguageModel
) -> list[NotebookScore]:
    """Score many questions about one document, its cache built anew for each."""
    return [_score(*build_kv_cache(context, language_model), question, language_model) for question in questions]


def score_with_copied_caches(
    context: str, questions: Sequence[tuple[str, str]], language_model: LanguageModel
) -> list[NotebookScore]:
    """Score many questions about one document, its cache built once and copied for each."""
    count, cache = build_kv_cache(context, language_model)
    return [_score(count, copy.deepcopy(cache), question, language_model) for question in questions]


def _score(
    count: int,
    cache: Any,  # noqa: ANN401
    question: tuple[str, str],
    language_model: LanguageModel,
) -> NotebookScore:
    query, answer = question
    return score_answer_with_cache(
        cache, count, query=query_prompt(query), answer=answer, language_model=language_model
    )


def _ids(text: str, language_model: LanguageModel, *, add_special_tokens: bool) -> torch.Tensor:
    """Return the token ids of a text, (1, tokens)."""
    encoding = language_model.tokenizer(
        text, return_tensors="pt", add_special_tokens=add_special_tokens, padding=False, truncation=False
    )
    ids: torch.Tensor = encoding["input_ids"]
    return ids.to(language_model.model.device)
