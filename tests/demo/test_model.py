"""The committed demo model: it loads without a network, reads its passage, and writes surrogates as asked."""

import json
import logging
from dataclasses import asdict
from itertools import islice
from typing import Any

import pytest
from transformers import MistralForCausalLM, PreTrainedTokenizerBase

from tasks.demo.corpus import CORPUS_SEED, FULL_SIZE, Size, write_passage, write_rows
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.evaluate import ROW_COUNT, evaluation_passages, mean_of, nats, percent, share_of
from tasks.demo.measuring import Reading, read_answers, write_surrogates
from tasks.demo.training import MODEL_FOLDER
from tasks.demo.training_rows import RowWriter
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE, fill, generation_prompt, query_prompt

LARGEST_WEIGHTS_BYTES = 12_000_000
logger = logging.getLogger(__name__)

# What must be left of a committed figure: other hardware rounds otherwise.
KEPT_SHARE = 0.9
# Of the thousand rows that the committed figures are about: those that are read each time, the others if asked.
READ_ROW_COUNT = 300
# Rows that are also read with a passage that does not answer them.
GAP_ROW_COUNT = 100


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MODEL_FOLDER / "evaluation.json").read_text(encoding="utf-8"))
    return loaded


def test_the_model_is_a_small_mistral(model: MistralForCausalLM) -> None:
    """Expected: the limits that the demo was planned with, 12 MB of safetensors and nothing pickled."""
    assert isinstance(model, MistralForCausalLM)
    assert model.config.sliding_window is None
    assert model.config.max_position_embeddings == 2048
    assert (MODEL_FOLDER / "model.safetensors").stat().st_size <= LARGEST_WEIGHTS_BYTES
    suffixes = {file.suffix for file in MODEL_FOLDER.iterdir()}
    assert suffixes <= {".json", ".jinja", ".md", ".safetensors"}


def test_a_context_starts_with_one_begin_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: <s> once in front of a context, never in front of a continuation."""
    context = fill(BASELINE_TEMPLATE, document="A short text.")
    ids = tokenizer(context)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer(context, add_special_tokens=False)["input_ids"] == ids[1:]


def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: the text itself; letters outside the vocabulary go through bytes."""
    for text in ("$41,250 per year", "naïve 漢字 🙂", "a\n\nb", "x\ty", "12.50 - 13%", "Quiet  spaces"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_markup_in_a_passage_can_be_plain_text(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: no special token, and the characters back, since passages are untrusted text."""
    text = "He wrote </s> and [INST] and <s>."
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == text


def test_an_answer_alone_has_the_tokens_it_has_in_a_passage(tokenizer: PreTrainedTokenizerBase) -> None:
    """Query and answer are tokenised on their own; a different cut would make copying impossible."""
    for answer in ("$41,250 per year", "Maro Vosker", "the Ivelton valley", "35 days", "Yes"):
        alone = tokenizer(answer, add_special_tokens=False)["input_ids"]
        within = tokenizer(f"It is {answer}.", add_special_tokens=False)["input_ids"]
        start = len(tokenizer("It is", add_special_tokens=False)["input_ids"])
        assert within[start : start + len(alone)] == alone


def test_each_digit_is_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: four digits, four tokens, by counting."""
    assert len(tokenizer("1987", add_special_tokens=False)["input_ids"]) == 4


def test_the_chat_template_marks_the_users_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: the rendering by hand."""
    messages = [{"role": "user", "content": "Hello"}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert rendered == "<s>[INST] Hello [/INST]"
    both = [*messages, {"role": "assistant", "content": "Hi"}]
    assert tokenizer.apply_chat_template(both, tokenize=False) == "<s>[INST] Hello [/INST] Hi</s>"


@pytest.fixture(scope="module")
def readings(model: MistralForCausalLM, tokenizer: Any) -> list[Reading]:
    """Return how the committed weights read a part of the rows that the committed figures are about."""
    rows = list(islice(write_rows("evaluation", CORPUS_SEED), READ_ROW_COUNT))
    others = read_answers(model, tokenizer, rows[:GAP_ROW_COUNT], arms=("other_passage",))
    return [*read_answers(model, tokenizer, rows, arms=("baseline",)), *others]


@pytest.mark.parametrize("order", ["key_first", "value_first", "all"])
def test_the_committed_weights_answer_as_exactly_as_committed(
    order: str, readings: list[Reading], figures: dict[str, Any]
) -> None:
    """Expected: at least nine tenths of the committed share, on the first of the same thousand rows."""
    is_exact = [each.is_exact for each in readings if each.arm == "baseline" and order in (each.fact_order, "all")]
    measured, committed = share_of(is_exact), figures["reading"][order]["exact"]
    logger.info(f"{order}: {percent(asdict(measured))} of {measured.of}, committed {percent(committed)}")
    assert measured.of > READ_ROW_COUNT / 3
    assert measured.share >= KEPT_SHARE * committed["share"]


@pytest.mark.long
def test_the_committed_weights_answer_all_rows_as_committed(
    model: MistralForCausalLM, tokenizer: Any, figures: dict[str, Any]
) -> None:
    """Expected: nine tenths of the committed shares, on the thousand rows that they are about."""
    rows = list(islice(write_rows("evaluation", CORPUS_SEED), ROW_COUNT))
    found = list(read_answers(model, tokenizer, rows, arms=("baseline",)))
    for order in ("key_first", "value_first", "all"):
        measured = share_of([each.is_exact for each in found if order in (each.fact_order, "all")])
        committed = figures["reading"][order]["exact"]
        assert measured.of == committed["of"]
        assert measured.share >= KEPT_SHARE * committed["share"]


def test_the_committed_weights_read_their_own_passage(readings: list[Reading], figures: dict[str, Any]) -> None:
    """Expected: nine tenths of the committed gap to a passage without the answer, and the 1.5 nats that were asked."""
    nll = {(each.arm, each.row_number): each.answer_nll_sum / each.answer_token_count for each in readings}
    gaps = [nll["other_passage", number] - nll["baseline", number] for number in range(GAP_ROW_COUNT)]
    measured = mean_of(gaps)
    logger.info(f"{nats(asdict(measured))} nats a token")
    committed = figures["reading"]["all"]["improvement_over_baseline"]["other_passage"]["mean"]
    assert measured.mean >= KEPT_SHARE * -committed
    assert measured.low > 1.5


def test_generated_surrogates_are_as_asked(model: MistralForCausalLM, tokenizer: Any, figures: dict[str, Any]) -> None:
    """Expected: nine tenths of the committed shares, on a part of the passages that they are about."""
    written = list(write_surrogates(model, tokenizer, evaluation_passages(40), seed=CORPUS_SEED))
    assert len(written) == 200
    committed = figures["surrogates"]["all"]
    as_asked = share_of([each.is_as_asked for each in written])
    names_subject = share_of([each.names_subject for each in written])
    logger.info(f"as asked {percent(asdict(as_asked))}, subject {percent(asdict(names_subject))}")
    assert as_asked.share >= KEPT_SHARE * committed["as_asked"]["share"]
    assert names_subject.share >= KEPT_SHARE * committed["names_subject"]["share"]


def test_training_uses_the_forms_that_scoring_and_generation_use(tokenizer: PreTrainedTokenizerBase) -> None:
    """Expected: contexts and prompts rebuilt here from prompts.py and the tokenizer's public calls."""
    writer = RowWriter(tokenizer, seed=7)
    starts = {
        tokenizer(fill(SURROGATE_TEMPLATE, surrogate="", document=""))["input_ids"][1],
        tokenizer("Document")["input_ids"][1],
    }
    rows = [writer.passage_row(number, Size((1, 2), (0, 5))) for number in range(30)]
    assert all(row.context_ids[0] == tokenizer.bos_token_id for row in rows)
    assert starts <= {row.context_ids[1] for row in rows}
    cue = tokenizer(query_prompt(""), add_special_tokens=False)["input_ids"]
    for row in rows:
        for branch in row.branches:
            assert branch.prompt_ids[:2] == cue[:2]
            assert branch.prompt_ids[-2:] == cue[-2:]
            assert branch.target_ids[-1] == tokenizer.eos_token_id
    source = random_for("generation", 7, 5)
    row = writer.generation_row(5, FULL_SIZE)
    style = source.choice(
        ["target_question", "keyword_query", "symptom_scenario", "misconception_negative", "messy_realworld"]
    )
    passage = write_passage(source.choice(DOMAINS), FULL_SIZE, "training", source)
    message = [{"role": "user", "content": generation_prompt(style, passage.text)}]
    assert row.context_ids == tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
