"""The controls: what each puts before a passage."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tasks.priming.arms import controls
from tasks.priming.arms.arms import ARM_GROUPS, entries_of
from tasks.priming.arms.contexts import Wording
from tasks.priming.arms.writing import Writing, write_generated, write_instructed
from tasks.priming.engine import forward as packing
from tasks.priming.engine.model import LanguageModel, TokenizerError, encode_continuation, tokens_between
from tasks.priming.prompts import SURROGATE_TEMPLATE
from tasks.priming.records import Sample, Surrogate
from tasks.priming.scoring import encode_arms, score_family
from tasks.priming.settings import GenerationSettings, resolve_settings
from tests.priming.arms.stores import QUESTION, SAMPLES, reader, sample
from tests.tiny_models import plain_token_nlls, reading

DONORS = [*SAMPLES[1:], SAMPLES[0]]


def question(of: Sample, text: str = QUESTION) -> Surrogate:
    return Surrogate(of.sample_id, "generated", "target_question", text, text, 40, 9, "stop", False, False, False)


def writing(language_model: LanguageModel | None = None) -> Writing:
    return Writing(42, language_model, GenerationSettings(max_new_tokens=6), DONORS, [question(s) for s in SAMPLES])


def texts(write: Callable[..., list[Surrogate]], language_model: LanguageModel | None = None) -> list[str]:
    written = write(SAMPLES, writing(language_model))
    assert [surrogate.sample_id for surrogate in written] == [one.sample_id for one in SAMPLES]
    assert {surrogate.family for surrogate in written} == {"control"}
    return [surrogate.text for surrogate in written]


def test_there_are_nine_controls_each_with_an_entry_of_its_own() -> None:
    """Expected: the list of the design."""
    names = [name for name in entries_of(resolve_settings("laptop")) if name.startswith("control/")]
    assert [name.removeprefix("control/") for name in names] == [
        *("bare_document", "blank_surrogate", "random_words", "shuffled_surrogate", "other_document", "actual_query"),
        *("answer_given", "no_passage", "repeated_baseline"),
    ]
    assert list(entries_of(resolve_settings("demo")))[:3] == ["baseline", "static", "generated"]


def test_the_bare_document_is_the_passage_alone_and_blank_the_template_alone() -> None:
    """Expected: written out by hand."""
    bare = ARM_GROUPS["control/bare_document"].contexts
    assert bare.context("A passage {with} braces.", None) == "A passage {with} braces."
    assert texts(controls.write_blank) == [""] * 6
    blank = ARM_GROUPS["control/blank_surrogate"].contexts
    assert blank.context("P.", "") == "This document may be relevant to queries like: \n\nDocument:\nP."


def test_random_words_are_another_passages_and_as_many_tokens_as_the_question(tokenizer: Any) -> None:
    """Expected: each word counted in the donor's passage; token counts by the tokenizer's own call."""
    language_model = reader(tokenizer)
    wanted = len(encode_continuation(tokenizer, QUESTION))
    found = texts(controls.write_random_words, language_model)
    for text, donor in zip(found, DONORS, strict=True):
        left = donor.passage.split()
        for word in text.split():
            left.remove(word)
        assert wanted - 4 <= len(encode_continuation(tokenizer, text)) <= wanted
    assert found == texts(controls.write_random_words, language_model)
    assert len(set(found)) == 6


def test_random_words_of_one_token_each_are_as_many_as_the_questions_tokens(tokenizer: Any) -> None:
    passage = "the of and to in is was for on that by this with from at his an were are which be it as or"
    assert len(encode_continuation(tokenizer, passage)) == len(passage.split())
    donors = [dataclasses.replace(donor, passage=passage) for donor in DONORS]
    wanted = len(encode_continuation(tokenizer, QUESTION))
    assert wanted < len(passage.split())
    written = controls.write_random_words(SAMPLES, dataclasses.replace(writing(reader(tokenizer)), donors=donors))
    assert [len(surrogate.text.split()) for surrogate in written] == [wanted] * len(SAMPLES)


def test_shuffled_words_are_the_questions_own_in_another_order() -> None:
    """Expected: the same words, sorted; and an order that is rarely the question's."""
    found = texts(controls.write_shuffled)
    assert {" ".join(sorted(text.split())) for text in found} == {" ".join(sorted(QUESTION.split()))}
    assert sum(text != QUESTION for text in found) >= 5


def test_the_actual_query_is_the_users_and_flagged() -> None:
    written = controls.write_actual_query(SAMPLES, writing())
    assert [surrogate.text for surrogate in written] == [one.query for one in SAMPLES]
    assert all(surrogate.is_query for surrogate in written)


def test_the_other_documents_question_is_what_the_model_writes_for_it(tokenizer: Any) -> None:
    """Expected: the generated family's target_question of the donors, written as their own."""
    language_model = reader(tokenizer)
    generated = write_generated(SAMPLES, writing(language_model))
    own = {s.sample_id: s for s in generated if s.key == "target_question"}
    donated = [own[donor.sample_id] for donor in DONORS]
    assert texts(controls.write_other_document, language_model) == [one.text for one in donated]
    written = controls.write_other_document(SAMPLES, writing(language_model))
    assert [(s.raw_text, s.prompt_token_count, s.token_count, s.finish) for s in written] == [
        (one.raw_text, one.prompt_token_count, one.token_count, one.finish) for one in donated
    ]
    assert min(s.prompt_token_count for s in written) > 60  # the instruction alone has more


def test_the_answer_given_is_the_query_with_its_answer() -> None:
    written = controls.write_answer_given(SAMPLES, writing())
    assert [surrogate.text for surrogate in written] == [f"{one.query} {one.answer}" for one in SAMPLES]
    assert {(s.family, s.key, s.is_query) for s in written} == {("control", "answer_given", False)}


def test_a_line_by_ones_own_instruction_depends_on_its_text_and_not_on_its_name(tokenizer: Any) -> None:
    language_model = reader(tokenizer)
    first, renamed, other = (
        write_instructed(SAMPLES, dataclasses.replace(writing(language_model), wording=Wording(**given, word_limit=2)))
        for given in (
            {"family": "mine", "key": "a", "text": "Write a word."},
            {"family": "yours", "key": "b", "text": "Write a word."},
            {"family": "mine", "key": "a", "text": "Write two words."},
        )
    )
    assert [s.raw_text for s in first] == [s.raw_text for s in renamed] != [s.raw_text for s in other]
    assert {(s.family, s.key, s.finish) for s in renamed} == {("yours", "b", renamed[0].finish)}
    assert all(s.is_over_word_limit == (len(s.text.split()) > 2) for s in first)
    assert min(s.prompt_token_count for s in first) > 20


def test_no_passage_is_the_query_after_nothing_but_the_first_token(tokenizer: Any) -> None:
    """Expected: one plain pass over the first token, the query and the answer."""
    language_model = reader(tokenizer)
    entry = ARM_GROUPS["control/no_passage"]
    assert entry.contexts.context("A passage.", None) == ""
    scores = score_family(entry.contexts, SAMPLES, [], language_model)
    arms = encode_arms(entry.contexts, SAMPLES, [], language_model)
    assert {arm.request.context for arm in arms} == {(tokenizer.bos_token_id,)}
    for score, arm in zip(scores, arms, strict=True):
        assert (score.status, score.context_token_count, score.key) == ("ok", 1, "no_passage")
        assert score.token_nlls == pytest.approx(plain_token_nlls(arm.request, language_model), abs=2e-5)


def test_no_passage_has_no_score_where_contexts_have_no_first_token(tokenizer: Any) -> None:
    """Nothing precedes the query then, whose first token nothing predicts: the status says so."""
    language_model = dataclasses.replace(reader(tokenizer), first_token="none")
    scores = score_family(ARM_GROUPS["control/no_passage"].contexts, SAMPLES[:2], [], language_model)
    assert [(score.status, score.nll) for score in scores] == [("no_context_tokens", None)] * 2


@pytest.mark.parametrize(
    "write",
    [
        *(controls.write_blank, controls.write_random_words, controls.write_shuffled),
        controls.write_actual_query,
        controls.write_answer_given,
    ],
)
def test_a_control_that_nothing_is_written_for_has_no_tokens(
    write: Callable[..., list[Surrogate]], tokenizer: Any
) -> None:
    """The question that some start from is counted once, where the generated family has it: 40 read, 9 written."""
    written = write(SAMPLES, writing(reader(tokenizer)))
    assert {(s.prompt_token_count, s.token_count, s.finish) for s in written} == {(0, 0, "fixed")}


def test_the_surrogates_tokens_are_those_that_hold_its_characters(tokenizer: Any) -> None:
    """Expected: decoded, the tokens hold the whole question, and those around them none of its words."""
    text = SURROGATE_TEMPLATE.format(surrogate=QUESTION, document="A passage.")
    start, stop = tokens_between(reading(tokenizer), text, text.index(QUESTION), text.index(QUESTION) + len(QUESTION))
    ids = tokenizer(text)["input_ids"]
    assert QUESTION in tokenizer.decode(ids[start:stop])
    assert tokenizer.decode(ids[:start]).endswith("queries like:")
    assert tokenizer.decode(ids[stop:]).startswith("\n\nDocument:")
    assert tokens_between(reading(tokenizer), text, 5, 5) == (0, 0)


def test_a_tokenizer_without_places_is_refused() -> None:
    slow = type("Slow", (), {"is_fast": False})()
    with pytest.raises(TokenizerError, match="keep every text in sight: --treatments kept"):
        tokens_between(reading(slow), "text", 0, 4)


def test_a_batch_variant_engine_is_found_by_the_repeated_baseline(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: exactly equal scores; and a difference once the engine adds what depends on the batch's size."""
    language_model = reader(tokenizer)
    baseline, repeated = (ARM_GROUPS[name].contexts for name in ("baseline", "control/repeated_baseline"))
    monkeypatch.setattr("tasks.priming.engine.nll.token_budget", lambda device: 120)
    many = [sample(number) for number in range(12)]

    def differences() -> list[float]:
        pairs = zip(*(score_family(rule, many, [], language_model) for rule in (baseline, repeated)), strict=True)
        return [abs((first.nll or 0.0) - (second.nll or 0.0)) for first, second in pairs]

    assert differences() == [0.0] * 12
    plain = packing.forward_packed

    def variant(model: Any, segments: Any, **options: Any) -> Any:
        output = plain(model, segments, **options)
        assert output.logits is not None
        return dataclasses.replace(output, logits=output.logits * (1 + 1e-3 * len(segments)))

    monkeypatch.setattr("tasks.priming.engine.nll.forward_packed", variant)
    assert max(differences()) > 1e-5
