"""The notebook's method, kept as it was published, and what its mistakes do to a cache.

In: texts or token ids, and a model. Out: what the notebook's functions return. The benchmark measures them, the
walkthrough shows on any model what they do; what an experiment stores is computed elsewhere (scoring.py).

Source: the notebook's cells 9 (`generate_surrogate`), 11 (`compute_similarity`), 14 (`build_kv_cache`) and 20
(`score_answer_with_cache`).
"""

from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.model import LanguageModel, encode_answer, encode_context, encode_continuation
from tasks.priming.engine.nll import score_requests
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import Segment
from tasks.priming.prompts import generation_prompt, query_prompt
from tasks.priming.records import Sample
from tasks.priming.scoring import encode_arms


@dataclass(frozen=True, slots=True)
class NotebookScore:
    """What the notebook's function makes of one answer, and of the cache that it is given."""

    nll: float  # mean NLL in nats of all answer tokens but the first; 0.0 for a one-token answer, as in the notebook
    first_nll: float  # of the first token, from the logits of the query's pass, which the notebook does not read
    token_count: int  # tokens of the answer
    tokens_before: int  # tokens in the cache when the function was called
    tokens_after: int  # tokens in the cache when it returned

    @property
    def mean_nll(self) -> float:
        """Mean NLL in nats of all answer tokens, the first included."""
        return (self.first_nll + self.nll * (self.token_count - 1)) / self.token_count


def notebook_ids(text: str, language_model: LanguageModel, *, add_special_tokens: bool) -> torch.Tensor:
    """Return the ids of a text as the notebook tokenises it, (1, tokens)."""
    encoding = language_model.tokenizer(
        text, return_tensors="pt", add_special_tokens=add_special_tokens, padding=False, truncation=False
    )
    ids: torch.Tensor = encoding["input_ids"]
    return ids.to(language_model.model.device)


def build_kv_cache(context_ids: torch.Tensor, model: Any) -> tuple[int, Any]:  # noqa: ANN401 - a transformers model
    """Return the token count of a context and its cache (cell 14)."""
    with torch.no_grad():
        outputs = model(
            input_ids=context_ids, attention_mask=torch.ones_like(context_ids), use_cache=True, return_dict=True
        )
    return context_ids.shape[1], outputs.past_key_values


def score_answer_with_cache(
    past_key_values: Any,  # noqa: ANN401 - a transformers cache
    context_length: int,
    *,
    query_ids: torch.Tensor,
    answer_ids: torch.Tensor,
    model: Any,  # noqa: ANN401
) -> NotebookScore:
    """Score an answer with the cache of a context, to which the query and the answer are appended (cell 20).

    transformers appends to a cache that it is given, even with `use_cache=False`, so that the cache is longer
    afterwards and gives other numbers the next time. The loss is taken in the model's own number format.

    Args:
        past_key_values: What build_kv_cache returned; give a copy to keep it.
        context_length: Tokens of the context.
        query_ids: Of the query prompt, template included, (1, tokens).
        answer_ids: Of the answer, (1, tokens).
        model: The transformers model that reads.
    """
    before = past_key_values.get_seq_length()
    length = context_length + query_ids.shape[1]
    with torch.no_grad():
        query_outputs = model(
            input_ids=query_ids,
            attention_mask=torch.ones((1, length), device=model.device),
            past_key_values=past_key_values,
            use_cache=True,
            return_dict=True,
        )
        answer_outputs = model(
            input_ids=answer_ids,
            attention_mask=torch.ones((1, length + answer_ids.shape[1]), device=model.device),
            past_key_values=query_outputs.past_key_values,
            use_cache=False,
            return_dict=True,
        )
    # The logits predict the next token: the last answer token's predict nothing, the first answer token is predicted
    # by the query's last logits.
    logits = answer_outputs.logits[:, :-1, :].contiguous().view(-1, answer_outputs.logits.size(-1))
    labels = answer_ids[:, 1:].contiguous().view(-1)
    nll = torch.nn.CrossEntropyLoss(reduction="sum")(logits, labels).item()
    first = torch.nn.functional.cross_entropy(query_outputs.logits[0, -1].float(), answer_ids[0, 0])
    return NotebookScore(
        nll=nll / len(labels) if len(labels) else 0.0,
        first_nll=float(first),
        token_count=answer_ids.shape[1],
        tokens_before=before,
        tokens_after=past_key_values.get_seq_length(),
    )


def generate_surrogate(passage: str, key: str, language_model: LanguageModel, *, token_count: int = 45) -> str:
    """Return the first line of what the model writes for an instruction (cell 9), with the notebook's one BOS too many.

    Args:
        passage: The document.
        key: A name in GENERATION_INSTRUCTIONS.
        language_model: The model that writes.
        token_count: Tokens to generate; the notebook has no stop but EOS.
    """
    model, tokenizer = language_model.model, language_model.tokenizer
    messages = [{"role": "user", "content": generation_prompt(key, passage)}]
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


# --- what the walkthrough shows ---


def score_repeatedly(sample: Sample, language_model: LanguageModel, *, times: int) -> list[NotebookScore]:
    """Score a sample's answer several times with one cache of its plain document, by the notebook's function.

    It changes the cache: from the second time on, the query is appended after the first query and the whole gold
    answer, under an attention mask that is too short. The token ids are those of an experiment, which are the
    notebook's own with its tokenizer.

    Returns:
        One score per use; fewer where the model's window is full, or where the model refuses a mask that is shorter
        than its cache.
    """
    model, tokenizer, prompt = language_model.model, language_model.tokenizer, query_prompt(sample.query)
    context = encode_context(language_model, ARM_GROUPS["baseline"].contexts.context(sample.passage, None))
    query, answer = encode_continuation(tokenizer, prompt), encode_answer(tokenizer, prompt, sample.answer)
    appended = len(query) + len(answer)
    scores: list[NotebookScore] = []
    if not answer or len(context) + appended > language_model.window:
        return scores
    context_ids, query_ids, answer_ids = (torch.tensor([ids], device=model.device) for ids in (context, query, answer))
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        length, cache = build_kv_cache(context_ids, model)
        while len(scores) < times and cache.get_seq_length() + appended <= language_model.window:
            try:
                scores.append(
                    score_answer_with_cache(cache, length, query_ids=query_ids, answer_ids=answer_ids, model=model)
                )
            except RuntimeError:
                if not scores:
                    raise
                break  # some models refuse the short mask of a second time
    return scores


def in_bfloat16(nll_sum: float) -> float:
    """Return a sum of NLLs as bfloat16 holds it, in steps of 0.25 from 32 to 64: what the notebook's losses became."""
    return float(torch.tensor(nll_sum, dtype=torch.bfloat16))


def score_twice(sample: Sample, language_model: LanguageModel) -> tuple[tuple[float, ...] | None, ...]:
    """Return the NLLs of the answer's tokens as an experiment computes them, twice with one cache of the document.

    None where memory does not hold it.
    """
    (arm,) = encode_arms(ARM_GROUPS["baseline"].contexts, [sample], [], language_model)
    return tuple(score_requests([arm.request, arm.request], language_model))


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer of a KV cache holds."""

    keys: tuple[int, ...]  # shape of the keys: (1, heads, tokens, dimension)
    values: tuple[int, ...]  # shape of the values, likewise
    number_format: str  # of both, e.g. float32
    byte_count: int  # bytes of both together


def describe_cache(context: str, language_model: LanguageModel) -> list[LayerShape]:
    """Compute a context's KV cache and return what each of its layers holds, from the first."""
    with numeric_path(language_model.numeric_path):
        (cache,) = prefill(language_model.model, [Segment(encode_context(language_model, context))])
    return [
        LayerShape(
            tuple(keys.shape), tuple(values.shape), str(keys.dtype).removeprefix("torch."), keys.nbytes + values.nbytes
        )
        for keys, values in cache.layers
    ]
