"""The committed demo model: it loads without a network, reads its passage, and writes surrogates as asked."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralForCausalLM, PreTrainedTokenizerBase

from tasks.demo.corpus import CORPUS_SEED, FULL_SIZE, Size, write_passage, write_rows
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.evaluate import evaluation_passages
from tasks.demo.initial_weights import set_copying_heads
from tasks.demo.measuring import answer_nlls, read_answers, write_surrogates
from tasks.demo.training import MODEL_FOLDER, Plan, batch_loss, new_model, train
from tasks.demo.training_rows import Batch, Branch, Row, RowWriter, as_batch, branch_mask
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE, fill, generation_prompt, query_prompt

LARGEST_WEIGHTS_BYTES = 12_000_000
# A committed figure may be missed by so much before a test fails: other hardware, fewer rows.
KEPT_SHARE = 0.8


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)
    return loaded


@pytest.fixture(scope="module")
def model() -> MistralForCausalLM:
    loaded: MistralForCausalLM = AutoModelForCausalLM.from_pretrained(MODEL_FOLDER, local_files_only=True)
    return loaded.eval()


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


def test_branches_are_computed_as_if_each_stood_alone(model: MistralForCausalLM, tokenizer: Any) -> None:
    """Expected: the loss of one plain causal pass per branch, weighted by hand."""
    writer = RowWriter(tokenizer, seed=7)
    row = writer.passage_row(3, FULL_SIZE)
    alone = Row(row.context_ids, row.branches, trains_on_text=False)
    nlls, _ = zip(
        *answer_nlls(
            model,
            [[*row.context_ids, *branch.prompt_ids] for branch in row.branches],
            # The end token is a target as well, so it is scored as the last token of the answer.
            [branch.target_ids for branch in row.branches],
        ),
        strict=True,
    )
    expected = torch.cat(nlls).mean()
    with torch.inference_mode():
        together = batch_loss(model, as_batch([alone], tokenizer.pad_token_id), "cpu")
    assert together.item() == pytest.approx(expected.item(), abs=1e-4)


def test_padding_changes_no_loss(model: MistralForCausalLM, tokenizer: Any) -> None:
    """Expected: the weighted mean of the rows' own losses, computed row by row."""
    writer = RowWriter(tokenizer, seed=7)
    rows = [writer.row(number, FULL_SIZE) for number in range(4)]
    batches = [as_batch([row], tokenizer.pad_token_id) for row in rows]

    def loss(batch: Batch) -> float:
        with torch.inference_mode():
            return batch_loss(model, batch, "cpu").item()

    weights = [batch.weights.sum().item() for batch in batches]
    weighted = sum(loss(batch) * weight for batch, weight in zip(batches, weights, strict=True))
    assert loss(as_batch(rows, tokenizer.pad_token_id)) == pytest.approx(weighted / sum(weights), abs=1e-4)


def test_no_branch_sees_another() -> None:
    """Expected: the picture drawn by hand; rows see columns."""
    seen = branch_mask(torch.tensor([[0, 0, 1, 2, -1]]))[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_an_untrained_model_with_copying_heads_already_favours_the_repeat(tokenizer: Any) -> None:
    """Expected: a lower loss on repeated random tokens than the same model without the heads."""
    torch.manual_seed(0)
    model = new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    source = random_for("test", "repeat")
    ids = [source.randrange(300, len(tokenizer)) for _ in range(40)]
    batch = as_batch([Row([tokenizer.bos_token_id, *ids], (Branch([], ids),), trains_on_text=False)], 0)
    model.eval()
    with torch.inference_mode():
        before = model(input_ids=batch.token_ids, output_attentions=False).logits.float()
        set_copying_heads(model)
        after = model(input_ids=batch.token_ids, output_attentions=False).logits.float()
    places = torch.arange(41, 80)
    targets = torch.tensor(ids[1:])
    gains = (
        after[0, places, targets]
        - after[0, places].mean(-1)
        - (before[0, places, targets] - before[0, places].mean(-1))
    )
    assert gains.mean() > 0


def test_training_is_deterministic_and_leaves_a_folder_that_loads(tmp_path: Path) -> None:
    """Expected: two runs of the same plan leave the same bytes."""
    for name in ("first", "second"):
        train(Plan(steps=1, seed=3, device="cpu", output=tmp_path / name, checkpoint_steps=1))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second
    assert not list(tmp_path.glob(".*"))
    assert "Not measured yet" in (tmp_path / "first" / "README.md").read_text(encoding="utf-8")


def test_the_model_reads_its_own_passage(model: MistralForCausalLM, tokenizer: Any, figures: dict[str, Any]) -> None:
    """Expected: a gap of a good part of the committed one, on rows beyond the first thousand."""
    rows = list(islice(write_rows("evaluation", CORPUS_SEED), 1_030))[1_000:]
    readings = list(read_answers(model, tokenizer, rows, arms=("baseline", "other_passage")))
    nll = {
        arm: sum(each.answer_nll_sum / each.answer_token_count for each in readings if each.arm == arm) / len(rows)
        for arm in ("baseline", "other_passage")
    }
    committed = figures["reading"]["all"]["nll"]
    committed_gap = committed["other_passage"]["mean"] - committed["baseline"]["mean"]
    assert nll["other_passage"] - nll["baseline"] > KEPT_SHARE * committed_gap * 0.8


def test_generated_surrogates_are_as_asked(model: MistralForCausalLM, tokenizer: Any, figures: dict[str, Any]) -> None:
    """Expected: shares near the committed ones, on a few passages."""
    written = list(write_surrogates(model, tokenizer, evaluation_passages(6), seed=1))
    assert len(written) == 30
    committed = figures["surrogates"]["all"]
    assert sum(each.is_as_asked for each in written) / 30 > KEPT_SHARE * committed["as_asked"]["share"]
    assert sum(each.names_subject for each in written) / 30 > KEPT_SHARE * committed["names_subject"]["share"] - 0.1


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
