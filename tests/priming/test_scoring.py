"""Scoring on real small transformers: each property computed two ways."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.treatments import Sight
from tasks.priming.arms.writing import Writing, write_static
from tasks.priming.engine import batches
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.engine.numeric_path import ONEDNN, choose_numeric_path, is_batch_invariant
from tasks.priming.errors import UsageError
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE
from tasks.priming.records import Distractor, Sample, Score
from tasks.priming.scoring import score_family, score_queries
from tests.tiny_models import plain_token_nlls, tiny_mistral

PATH = choose_numeric_path("cpu", "float32")
BASELINE = ContextRule(family="baseline", arm_keys=("document",), template=BASELINE_TEMPLATE)


@pytest.fixture(scope="module")
def tokenizer(mistral_tokenizer_folder: Any) -> Any:
    return transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)


@pytest.fixture(scope="module")
def reader(tokenizer: Any) -> LanguageModel:
    return LanguageModel(tiny_mistral(vocab_size=32_000, hidden_size=64, intermediate_size=96), tokenizer, 256, PATH)


def random_items(count: int) -> list[Request]:
    draw = random.Random(7)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(3, 32_000), k=draw.randint(low, high)))

    items = [Request(ids(20, 120), ids(4, 20), ids(1, 15)) for _ in range(count)]
    return [*items, Request(items[0].context, ids(4, 20), ids(1, 15))]  # two queries on one document


def with_distractors(items: list[Request]) -> list[Request]:
    """Give each item none to three distractors, of one to twelve tokens."""
    draw = random.Random(11)
    lengths = [[draw.choice([1, 1, 2, 5, 12]) for _ in range(number % 4)] for number in range(len(items))]
    return [
        replace(item, distractors=tuple(tuple(draw.choices(range(3, 32_000), k=length)) for length in own))
        for item, own in zip(items, lengths, strict=True)
    ]


def wrong(number: int, *answers: str) -> list[Distractor]:
    return [
        Distractor(f"sample{number}", place, answer, "source", "other_passage") for place, answer in enumerate(answers)
    ]


def sample(number: int, answer: str = "Approximately $15,000 per year.") -> Sample:
    passage = f"Passage {number} says that a cashier earns ${15_000 + number} per year, and a manager more."
    return Sample(f"sample{number}", number, passage, f"cashier pay {number}", answer, None, f"passage{number}")


def test_prefill_and_continue_equals_one_plain_forward_pass(reader: LanguageModel) -> None:
    items = random_items(12)
    cached = score_requests(items, reader)
    for item, nlls in zip(items, cached, strict=True):
        assert nlls is not None
        plain = plain_token_nlls(item, reader)
        assert abs(sum(nlls) / len(nlls) - sum(plain) / len(plain)) <= 1e-5


def test_nlls_equal_a_log_softmax_in_float64_over_every_answer_token(reader: LanguageModel) -> None:
    item = random_items(1)[0]
    with torch.inference_mode():
        logits = reader.model(torch.tensor([item.context + item.query + item.answer])).logits[0].double()
    first = len(item.context) + len(item.query)
    # by hand: the logits at position i - 1 predict token i, and the first answer token counts
    expected = [-torch.log_softmax(logits[first + i - 1], -1)[token].item() for i, token in enumerate(item.answer)]
    assert score_requests([item], reader)[0] == pytest.approx(expected, abs=2e-5)


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
@pytest.mark.parametrize(
    "rearranged",
    [lambda n: [n - 1 - i for i in range(n)], lambda n: random.Random(3).sample(range(n), n), lambda n: range(0, n, 3)],
    ids=["reversed", "shuffled", "every third"],
)
def test_a_sample_has_the_same_bits_in_any_order_and_subset(
    reader: LanguageModel, rearranged: Callable[[int], Any]
) -> None:
    items = with_distractors(random_items(30))
    together = score_requests(items, reader)
    numbers = list(rearranged(len(items)))
    assert score_requests([items[n] for n in numbers], reader) == [together[n] for n in numbers]


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_a_sample_has_the_same_bits_alone_and_on_one_or_two_threads(reader: LanguageModel) -> None:
    items = with_distractors(random_items(12))
    together = score_requests(items, reader)
    assert [score_requests([item], reader)[0] for item in items] == together
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert score_requests(items, reader) == together
    finally:
        torch.set_num_threads(threads)


def test_a_batch_that_does_not_fit_is_halved_without_changing_a_bit(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = with_distractors(random_items(12))
    together = score_requests(items, reader)
    forward = reader.model.forward
    refused = 0

    def with_little_memory(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        if options["input_ids"].shape[1] > 200:
            refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*arguments, **options)

    monkeypatch.setattr(reader.model, "forward", with_little_memory)
    monkeypatch.setattr(reader.model.model, "forward", _limited(reader.model.model.forward, 200))
    assert score_requests(items, reader) == together


def _limited(forward: Any, tokens: int) -> Any:
    def limited(*arguments: Any, **options: Any) -> Any:
        if options["input_ids"].shape[1] > tokens:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return forward(*arguments, **options)

    return limited


def test_a_sample_that_does_not_fit_even_alone_is_set_aside_with_a_reason(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = sample(1), sample(2)
    long = Sample("long", 2, " ".join(["word"] * 150), "query", "answer", None, "p")
    monkeypatch.setattr(reader.model.model, "forward", _limited(reader.model.model.forward, 100))
    scores = {score.sample_id: score for score in score_family(BASELINE, [short, long], [], reader)}
    assert (scores["sample1"].status, scores["long"].status) == ("ok", "out_of_memory")
    assert scores["long"].nll is None


def test_an_error_that_is_not_about_memory_is_not_swallowed(reader: LanguageModel) -> None:
    with pytest.raises(IndexError):
        score_requests([Request((5,) * 20, (6,), (99_999, 5))], reader)  # no such token


def test_a_context_that_exceeds_the_window_is_set_aside_and_never_cut(reader: LanguageModel) -> None:
    long = Sample("long", 0, " ".join(["word"] * 300), "query", "answer", None, "p")
    scores = score_family(BASELINE, [long, sample(1)], [], reader)
    assert [score.status for score in scores] == ["too_long", "ok"]
    assert scores[0].context_token_count > 256
    assert (scores[0].token_nlls, scores[0].nll) == (None, None)


def test_an_answer_of_one_token_is_scored_and_has_no_notebook_value(reader: LanguageModel) -> None:
    """The notebook gives such an answer 0.0, which reads as perfect; 7.9 % of its samples were these."""
    score = score_family(BASELINE, [sample(1, "Yes")], [], reader)[0]
    assert score.answer_token_count == 1
    assert score.nll is not None
    assert score.nll > 0
    assert score.nll_notebook is None


def test_nll_notebook_leaves_out_the_first_answer_token_only(reader: LanguageModel) -> None:
    score = score_family(BASELINE, [sample(1)], [], reader)[0]
    assert score.token_nlls is not None
    assert score.nll == pytest.approx(sum(score.token_nlls) / 13)  # 13 tokens with Mistral's tokenizer, as printed
    assert score.nll_notebook == pytest.approx(sum(score.token_nlls[1:]) / 12)


def test_an_answer_of_no_tokens_is_a_counted_rejection(reader: LanguageModel) -> None:
    assert score_family(BASELINE, [sample(1, "")], [], reader)[0].status == "no_answer_tokens"


def test_logits_that_are_not_finite_give_a_status_and_no_mean(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = reader.model.lm_head.forward
    monkeypatch.setattr(reader.model.lm_head, "forward", lambda hidden: head(hidden) * math.nan)
    score = score_family(BASELINE, [sample(1)], [], reader)[0]
    assert (score.status, score.nll, score.nll_notebook) == ("not_finite", None, None)
    assert score.token_nlls is not None
    assert math.isnan(score.token_nlls[0])


def test_every_arm_of_a_family_is_scored_behind_its_own_surrogate(reader: LanguageModel) -> None:
    samples = [sample(1), sample(2)]
    surrogates = write_static(samples, Writing(seed=42))
    keys = tuple(dict.fromkeys(s.key for s in surrogates))
    rule = ContextRule(family="static", arm_keys=keys, template=SURROGATE_TEMPLATE)
    scores = score_family(rule, samples, surrogates, reader)
    assert [(s.key, s.sample_id) for s in scores] == [(k, s.sample_id) for k in keys for s in samples]
    assert len({s.nll for s in scores}) == 10  # ten contexts, ten numbers
    scrambled = score_family(rule, samples, surrogates[::-1], reader)
    assert scrambled == scores


def test_a_missing_surrogate_is_an_error_and_not_a_baseline(reader: LanguageModel) -> None:
    rule = ContextRule(family="static", arm_keys=("factual",), template=SURROGATE_TEMPLATE)
    with pytest.raises(KeyError):
        score_family(rule, [sample(1)], [], reader)


def test_half_precision_weights_still_give_float32_nlls(reader: LanguageModel) -> None:
    half = LanguageModel(
        transformers.MistralForCausalLM(reader.model.config).eval().to(torch.bfloat16), None, 256, "cpu-bfloat16"
    )
    nlls = [nll for output in score_requests(random_items(6), half) for nll in output or ()]
    # of a bfloat16 loss every value would be its own rounding to 8 bits of mantissa
    assert any(torch.tensor(nll).bfloat16().item() != nll for nll in nlls)


def test_batches_hold_at_most_the_budget_longest_first() -> None:
    counts = [5, 900, 30, 700, 1100, 2, 64]
    parts = batches.split_by_tokens(counts, 1000)
    assert sorted(n for part in parts for n in part) == list(range(7))
    assert all(sum(counts[n] for n in part) <= 1000 or len(part) == 1 for part in parts)
    assert [counts[n] for part in parts for n in part] == sorted(counts, reverse=True)


# --- distractors ---


def split(item: Request, nlls: tuple[float, ...] | None) -> list[tuple[float, ...]]:
    """Return the NLLs of the answer's tokens and those of each distractor's."""
    assert nlls is not None
    left = iter(nlls)
    parts = [tuple(next(left) for _ in ids) for ids in (item.answer, *item.distractors)]
    assert next(left, None) is None
    return parts


def test_a_distractors_nll_equals_one_plain_pass_over_context_query_and_distractor(reader: LanguageModel) -> None:
    items = with_distractors(random_items(12))
    for item, nlls in zip(items, score_requests(items, reader), strict=True):
        for ids, found in zip(item.distractors, split(item, nlls)[1:], strict=True):
            plain = plain_token_nlls(replace(item, answer=ids), reader)
            assert len(found) == len(ids)  # all tokens, the first included
            assert abs(sum(found) - sum(plain)) / len(ids) <= 1e-5


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_distractors_do_not_change_a_bit_of_the_answers_nlls(reader: LanguageModel) -> None:
    items = random_items(30)
    accompanied = with_distractors(items)
    pairs = zip(accompanied, score_requests(accompanied, reader), strict=True)
    assert [split(item, nlls)[0] for item, nlls in pairs] == score_requests(items, reader)


def test_a_distractor_has_the_same_nll_alone_and_beside_others(reader: LanguageModel) -> None:
    for item in with_distractors(random_items(12)):
        together = split(item, score_requests([item], reader)[0])[1:]
        alone = [replace(item, distractors=(ids,)) for ids in item.distractors]
        for one, found in zip(alone, together, strict=True):
            assert split(one, score_requests([one], reader)[0])[1] == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize(
    "sight",
    [
        Sight(hidden_from_query=(4, 11)),
        Sight(hidden_from_passage=(4, 11)),
        Sight(hidden_from_query=(1, 11), closes_gap=True),
    ],
)
def test_a_distractor_sees_what_the_answer_sees(reader: LanguageModel, sight: Sight) -> None:
    """Expected: the NLLs of the distractor as an answer, which a masked pass verifies (test_treatments)."""
    for plain in with_distractors(random_items(12)):
        item = replace(plain, sight=sight)
        for ids, found in zip(item.distractors, split(item, score_requests([item], reader)[0])[1:], strict=True):
            expected = score_requests([replace(item, answer=ids, distractors=())], reader)[0]
            assert found == pytest.approx(expected, abs=2e-5)
            unhidden = score_requests([replace(plain, answer=ids, distractors=())], reader)[0]
            assert found != pytest.approx(unhidden, abs=1e-4)


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The token counts of the segments of every pass that scoring makes."""
    from tasks.priming.engine import forward as packing
    from tasks.priming.engine import kv_cache
    from tasks.priming.engine import nll as items

    found: list[list[int]] = []

    def counted(model: Any, segments: Any, **options: Any) -> Any:
        found.append([len(segment.all_ids) for segment in segments])
        return forward(model, segments, **options)

    forward = packing.forward_packed
    for module in (kv_cache, items):
        monkeypatch.setattr(module, "forward_packed", counted)
    return found


def test_every_token_is_computed_once(reader: LanguageModel, packs: list[list[int]]) -> None:
    """Expected, by hand: the context 20, query 4, answer 5 - 1, distractors 3 - 1 and 1 - 1; a second query 6 + 1."""
    ids = tuple(range(10, 60))
    item = Request(ids[:20], ids[20:24], ids[24:29], distractors=(ids[29:32], ids[40:41]))
    other = Request(ids[:20], ids[30:36], ids[36:38])
    score_requests([item, other], reader)
    assert packs == [[20, 4 + 4 + 2 + 0, 6 + 1]]
    assert item.computed_count == 4 + 4 + 2


def test_a_shared_prefix_is_computed_once_and_changes_no_number(reader: LanguageModel, packs: list[list[int]]) -> None:
    prefix = tuple(range(500, 530))
    items = [replace(item, context=prefix + item.context) for item in random_items(8)]
    apart = score_requests(items, reader)
    packs.clear()
    shared = score_requests(items, reader, prefixes=[prefix, prefix[:4]])
    assert packs[0] == [30]  # fewer than eight tokens are not worth sharing
    assert sum(map(sum, packs)) == 30 + sum(len(context) - 30 for context in {item.context for item in items}) + sum(
        item.computed_count for item in items
    )
    # MKL, which computes attention on other CPUs, sums by the number of rows, of which a shared prefix leaves fewer.
    if PATH == ONEDNN and is_batch_invariant(PATH) and torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert shared == apart
    for one, other in zip(shared, apart, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_batches_count_the_tokens_of_distractors(
    reader: LanguageModel, packs: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected, by hand: 20 + 4 + 4 tokens and 9 more with the distractor, so that two no longer fit into 60."""
    monkeypatch.setattr("tasks.priming.engine.nll.token_budget", lambda device: 60)
    ids = tuple(range(10, 60))
    items = [Request(ids[start : start + 20], ids[20:24], ids[24:29]) for start in (0, 1)]
    score_requests(items, reader)
    score_requests([replace(item, distractors=(ids[30:40],)) for item in items], reader)
    assert packs == [[20, 8, 20, 8], [20, 17], [20, 17]]


def test_more_queries_than_a_batch_holds_share_a_context_batch_by_batch(
    reader: LanguageModel, packs: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.priming.engine.nll.token_budget", lambda device: 60)
    ids = tuple(range(10, 60))
    items = [Request(ids[:20], ids[20 + n : 28 + n], ids[28 + n : 37 + n]) for n in range(5)]  # 16 tokens after 20
    together = score_requests(items, reader)
    assert packs == [[20, 16, 16], [20, 16, 16], [20, 16]]
    if is_batch_invariant(PATH):
        assert together == [score_requests([item], reader)[0] for item in items]


def test_many_queries_on_one_document_equal_each_scored_alone(reader: LanguageModel, packs: list[list[int]]) -> None:
    context = BASELINE.context(sample(1).passage, None)
    questions = [(f"cashier pay {number}", f"${number} per year") for number in range(5)]
    found = score_queries(context, questions, reader)
    assert len(packs) == 2  # the document once, then all questions
    assert len(packs[1]) == 5
    for (query, answer), nlls in zip(questions, found, strict=True):
        one = replace(sample(1), query=query, answer=answer)
        assert nlls == pytest.approx(score_family(BASELINE, [one], [], reader)[0].token_nlls, abs=1e-5)


def test_a_question_without_an_answer_is_refused(reader: LanguageModel) -> None:
    with pytest.raises(UsageError, match="'pay' cannot be scored with this context: no_answer_tokens"):
        score_queries("Document:\nA text.", [("pay", "")], reader)


def scored(reader: LanguageModel, one: Sample, distractors: list[Distractor]) -> Score:
    (found,) = score_family(BASELINE, [one], [], reader, distractors)
    return found


def test_the_margin_is_the_distractors_mean_nll_less_the_answers(reader: LanguageModel) -> None:
    """Expected: the scores of the distractors as answers of their own."""
    answers = ("It is $12,000 per year.", "no", "Perhaps a little more than that.")
    found = scored(reader, sample(1), wrong(1, *answers))
    expected = [scored(reader, sample(1, answer), []).nll for answer in answers]
    assert found.distractor_nlls == pytest.approx(expected, abs=1e-5)
    assert found.distractor_nlls is not None
    assert found.nll is not None
    assert found.margin == pytest.approx(sum(found.distractor_nlls) / 3 - found.nll)


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_a_score_without_distractors_differs_in_nothing_else(reader: LanguageModel) -> None:
    alone = scored(reader, sample(1), [])
    assert (alone.distractor_nlls, alone.margin) == (None, None)
    accompanied = scored(reader, sample(1), wrong(1, "no", "ten dollars an hour"))
    assert replace(accompanied, distractor_nlls=None, margin=None) == alone


def test_distractors_belong_to_their_sample_whatever_their_order(reader: LanguageModel) -> None:
    samples = [sample(1), sample(2), sample(3)]
    distractors = [*wrong(1, "no", "ten dollars"), *wrong(3, "a manager")]
    found = score_family(BASELINE, samples, [], reader, distractors)
    assert [score.distractor_nlls and len(score.distractor_nlls) for score in found] == [2, None, 1]
    assert score_family(BASELINE, samples, [], reader, distractors[::-1]) == found


@pytest.mark.parametrize("unfit", ["word " * 250, ""], ids=["too long", "no tokens"])
def test_a_distractor_that_cannot_be_scored_leaves_the_answers_score_alone(reader: LanguageModel, unfit: str) -> None:
    found = scored(reader, sample(1), wrong(1, "no", unfit))
    assert found == scored(reader, sample(1), [])
    assert found.status == "ok"


def test_a_distractor_that_just_fits_into_the_window_is_scored(reader: LanguageModel) -> None:
    context, query, answer = tuple(range(3, 203)), (5, 6, 7), (8, 9)
    for length, count in ((53, 1), (54, 0)):  # 200 + 3 + 53 = 256, the window
        item = Request(context, query, answer, distractors=(tuple(range(300, 300 + length)),))
        assert len(item.without_unfit_distractors(256).distractors) == count


def test_a_distractor_that_is_not_finite_takes_the_margin_and_nothing_else(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scored(reader, sample(1), [])
    token = reader.tokenizer("no", add_special_tokens=False)["input_ids"][0]
    head = reader.model.lm_head.forward

    def never_no(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = head(hidden)
        logits[..., token] = -math.inf
        return logits

    monkeypatch.setattr(reader.model.lm_head, "forward", never_no)
    found = scored(reader, sample(1), wrong(1, "ten dollars", "no"))
    assert (found.status, found.distractor_nlls, found.margin) == ("ok", None, None)
    assert found.nll == pytest.approx(plain.nll, abs=1e-3)  # one token of 32,000 fewer to choose from
    certain = scored(reader, sample(1, "no"), wrong(1, "ten dollars"))
    assert (certain.status, certain.distractor_nlls, certain.margin) == ("not_finite", None, None)
    assert certain.token_nlls == (math.inf,)


def test_the_window_holds_exactly_as_many_tokens_as_it_says(reader: LanguageModel) -> None:
    """Expected: by the rows' own counts, a window of all tokens of a sample holds it, and of one less does not."""
    one = sample(0)
    (free,) = score_family(BASELINE, [one], [], reader)
    count = free.context_token_count + free.query_token_count + free.answer_token_count
    (fits,), (misses,) = (score_family(BASELINE, [one], [], replace(reader, window=w)) for w in (count, count - 1))
    assert (fits.status, misses.status) == ("ok", "too_long")
    assert fits.token_nlls == pytest.approx(free.token_nlls, abs=1e-5)
    assert misses.token_nlls is None


def test_the_window_holds_a_distractor_to_its_last_token(reader: LanguageModel) -> None:
    """Expected: the room that a longer answer of the same words takes is what the distractor takes."""
    one, long = sample(0), "Approximately $15,000 per year, and a bonus of $2,000."
    (as_answer,) = score_family(BASELINE, [replace(one, answer=long)], [], reader)
    count = as_answer.context_token_count + as_answer.query_token_count + as_answer.answer_token_count
    for window, is_scored in ((count, True), (count - 1, False)):
        (found,) = score_family(BASELINE, [one], [], replace(reader, window=window), wrong(0, long))
        assert found.status == "ok"
        assert (found.distractor_nlls is not None) == is_scored
