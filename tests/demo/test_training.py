"""How the demo model is trained: rows, batches, guides, the grown model, and processes that share the work."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import MistralForCausalLM

from tasks.demo.branch_attention import HIDDEN, Batch, GuidanceLosses, as_batch, branch_bias, use_branch_attention
from tasks.demo.card import write_card
from tasks.demo.corpus import FULL_SIZE, Size, write_passage
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.growing import GATHERING_HEADS, GATHERING_LAYER, MATCHING_LAYER, grow
from tasks.demo.guides import TokenPlaces, guide_row, locate_facts
from tasks.demo.initial_weights import set_copying_heads
from tasks.demo.measuring import answer_nlls
from tasks.demo.queries import Query
from tasks.demo.schedule import BINDING, COPYING
from tasks.demo.training import MODEL_FOLDER, Plan, batch_loss, first_step_of, new_model, train
from tasks.demo.training_rows import CONTEXT_KINDS, UNPRIMED_KINDS, Branch, Row, RowWriter
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE, fill, query_prompt

SMALL = Size(fact_counts=(2, 3), word_counts=(0, 20))


def untrained(tokenizer: Any, layers: int) -> MistralForCausalLM:
    torch.manual_seed(0)
    ids = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return new_model(len(tokenizer), *ids, layers=layers).eval()


def test_branches_are_computed_as_if_each_stood_alone(model: MistralForCausalLM, tokenizer: Any) -> None:
    """Expected: the loss of one plain causal pass per branch with transformers' own attention, weighted by hand."""
    row = RowWriter(tokenizer, seed=7).passage_row(3, FULL_SIZE)
    alone = Row(row.context_ids, row.branches, trains_on_text=False)
    model.config._attn_implementation = "sdpa"
    nlls, _ = zip(
        *answer_nlls(
            model,
            [[*row.context_ids, *branch.prompt_ids] for branch in row.branches],
            # The end token is a target as well, so it is scored as the last token of the answer.
            [branch.target_ids for branch in row.branches],
        ),
        strict=True,
    )
    use_branch_attention(model)
    with torch.inference_mode():
        together = batch_loss(model, as_batch([alone], tokenizer.pad_token_id), "cpu")
    assert together.item() == pytest.approx(torch.cat(nlls).mean().item(), abs=1e-4)


def test_padding_changes_no_loss(model: MistralForCausalLM, tokenizer: Any) -> None:
    """Expected: the weighted mean of the rows' own losses, computed row by row."""
    use_branch_attention(model)
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
    """Expected: the picture drawn by hand; rows are branch tokens (two branches, padding), columns all tokens."""
    bias = branch_bias(torch.tensor([[0, 0, -1, 1, 1, 2, -1]]), context_length=3)
    seen = (bias != HIDDEN)[0, 0].int().tolist()
    assert seen == [
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 1],
    ]


def test_an_untrained_model_with_copying_heads_already_favours_the_repeat(tokenizer: Any) -> None:
    """Expected: a lower loss on repeated random tokens than the same model without the heads."""
    model = untrained(tokenizer, layers=3)
    source = random_for("test", "repeat")
    ids = [source.randrange(300, len(tokenizer)) for _ in range(40)]
    token_ids = torch.tensor([[tokenizer.bos_token_id, *ids, *ids]])
    with torch.inference_mode():
        before = model(input_ids=token_ids).logits.float()
        set_copying_heads(model)
        after = model(input_ids=token_ids).logits.float()
    places = torch.arange(41, 80)
    targets = torch.tensor(ids[1:])
    gains = (
        after[0, places, targets]
        - after[0, places].mean(-1)
        - (before[0, places, targets] - before[0, places].mean(-1))
    )
    assert gains.mean() > 0


def test_a_grown_model_is_the_smaller_one_but_for_what_its_guided_heads_write(tokenizer: Any) -> None:
    """Expected: the smaller model's own logits once those heads are silenced, and others once they are not."""
    small = untrained(tokenizer, layers=3)
    large = untrained(tokenizer, layers=5)
    grow(small, large)
    token_ids = torch.randint(300, len(tokenizer), (1, 30))
    with torch.inference_mode():
        wanted = small(input_ids=token_ids).logits
        assert (large(input_ids=token_ids).logits - wanted).abs().max() > 1e-2
        for layer in (GATHERING_LAYER, MATCHING_LAYER):
            large.model.layers[layer].self_attn.o_proj.weight.zero_()
        assert (large(input_ids=token_ids).logits - wanted).abs().max() < 1e-5


def test_facts_are_found_in_their_context(tokenizer: Any) -> None:
    """Expected: the text under each fact's tokens, decoded, holds its key and its value."""
    for number, domain in enumerate(DOMAINS):
        passage = write_passage(domain, FULL_SIZE, "training", random_for("test", "guides", number))
        context = TokenPlaces(tokenizer, fill(BASELINE_TEMPLATE, document=passage.text))
        for fact, tokens in zip(passage.facts, locate_facts(context, passage), strict=True):
            if fact.key:
                assert fact.key.lower() in tokenizer.decode([context.ids[token] for token in tokens.key]).lower()
            if fact.value not in ("Yes", "No"):
                assert fact.value.lower() in tokenizer.decode([context.ids[token] for token in tokens.value]).lower()
            assert set(tokens.key + tokens.value) <= set(tokens.sentence)


def test_guides_lead_from_answers_to_their_source(tokenizer: Any) -> None:
    """Expected: each guided token of an answer is led to the same token in the passage, or to the fact's key."""
    guided = 0
    for number in range(12):
        source = random_for("test", "answers", number)
        passage = write_passage(DOMAINS[number], SMALL, "training", source, contrast_share=1.0)
        fact = passage.facts[0]
        query = Query(text=f"What about {fact.key}?", style="", answer=fact.value, is_long=False, fact=fact)
        context = TokenPlaces(tokenizer, passage.text, first=1)
        context_ids = [tokenizer.bos_token_id, *context.ids]
        guide = guide_row(context, context_ids, passage, [query], tokenizer).branches[0]
        prompt = tokenizer(query_prompt(query.text), add_special_tokens=False)["input_ids"]
        branch = [*prompt, *tokenizer(query.answer, add_special_tokens=False)["input_ids"]]
        if fact.value in ("Yes", "No"):
            assert list(guide.value_in_context) == [len(prompt) - 1]
            continue
        for looker, seen in guide.value_in_context.items():
            assert [context_ids[token] for token in seen] == [branch[looker + 1]]
            guided += 1
        assert bool(guide.key_in_context) == (fact.order == "value_first")
        for key in guide.key_in_query.values():
            assert (fact.key or "").lower() in tokenizer.decode([branch[token] for token in key]).lower()
    assert guided > 20


def test_contrasting_passages_say_one_kind_of_thing_under_all_keys() -> None:
    """Expected: three facts of one attribute, by the corpus' three keys a list."""
    for number in range(20):
        source = random_for("test", "contrast", number)
        passage = write_passage(DOMAINS[0], Size((3, 3), (0, 0)), "training", source, contrast_share=1.0)
        assert len({fact.attribute.name for fact in passage.facts}) == 1
        assert len({fact.key for fact in passage.facts}) == 3


def test_a_guide_costs_nothing_where_all_attention_is_on_its_target(tokenizer: Any) -> None:
    """Expected: -log(1) = 0 for a context of one token, which can look at nothing but itself; log(2) for two."""
    model = untrained(tokenizer, layers=5)
    use_branch_attention(model)
    model.model.layers[GATHERING_HEADS.layer].self_attn.q_proj.weight.data.zero_()  # all that is seen gets equal parts
    row = RowWriter(tokenizer, seed=7, guides=True).passage_row(1, SMALL)
    assert row.guide is not None
    for token, expected in ((0, 0.0), (1, 0.693147)):
        guide = dataclasses.replace(row.guide, within_sentence={token: [token]})
        losses = GuidanceLosses()
        with torch.inference_mode():
            batch = as_batch([dataclasses.replace(row, guide=guide)], tokenizer.pad_token_id)
            batch_loss(model, batch, "cpu", losses)
        assert losses.losses[GATHERING_HEADS, True].item() == pytest.approx(expected, abs=1e-4)


def short_plan(output: Path, processes: int, start: Path | None = None) -> Plan:
    copying = dataclasses.replace(COPYING, steps=1, rows_per_step=2)
    binding = dataclasses.replace(BINDING, steps=2, rows_per_step=2)
    stages = (binding,) if start else (copying, binding)
    return Plan(stages, seed=3, device="cpu", processes=processes, precision="float32", output=output, start=start)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that a very short training left."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(short_plan(folder, processes=1))
    return folder


def test_training_is_deterministic_and_leaves_a_folder_that_loads(trained: Path, tmp_path: Path) -> None:
    """Expected: two runs of the same plan leave the same bytes, in float16, and a model card."""
    train(short_plan(tmp_path / "again", processes=1))
    first, second = trained / "model.safetensors", tmp_path / "again" / "model.safetensors"
    assert first.read_bytes() == second.read_bytes()
    assert {weight.dtype for weight in load_file(first).values()} == {torch.float16}
    assert not list(tmp_path.glob(".*"))
    assert "Not measured yet" in (trained / "README.md").read_text(encoding="utf-8")
    stages = json.loads((trained / "training.json").read_text(encoding="utf-8"))["stages"]
    assert [stage["name"] for stage in stages] == ["copying", "binding"]


@pytest.mark.long  # four processes load torch
def test_two_processes_agree_on_one_model(trained: Path, tmp_path: Path) -> None:
    """Expected: the same bytes twice; each process computes half of the rows and half of Muon's matrices."""
    for name in ("first", "second"):
        train(short_plan(tmp_path / name, processes=2, start=trained))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second
    assert first != (trained / "model.safetensors").read_bytes()


def test_no_two_stages_share_a_row() -> None:
    """Expected: the row numbers by hand: 2,600 steps of 12 rows, then from step 2,600 on 16 rows a step."""
    assert first_step_of(COPYING) == 0
    assert first_step_of(BINDING) * BINDING.rows_per_step >= COPYING.steps * COPYING.rows_per_step


def test_only_passage_rows_with_queries_are_guided(tokenizer: Any) -> None:
    """Expected: surrogates, which nothing is known of, have no guide; and no row has one unless asked for."""
    guided = RowWriter(tokenizer, seed=7, guides=True)
    assert guided.generation_row(5, SMALL).guide is None
    assert guided.passage_row(5, SMALL).guide is not None
    assert RowWriter(tokenizer, seed=7).passage_row(5, SMALL).guide is None
    assert not as_batch([Row([1], (Branch([], [5]),), False)], 0).guides


def test_without_primes_a_passage_stands_bare_or_framed(tokenizer: Any) -> None:
    """Expected: BOS, then the passage or "Document:" before it; with primes the template is met as well."""
    frames = {True: set[bool](), False: set[bool]()}
    for primed in frames:
        writer = RowWriter(tokenizer, seed=7, context_kinds=CONTEXT_KINDS if primed else UNPRIMED_KINDS)
        for number in range(40):
            context = tokenizer.decode(writer.passage_row(number, SMALL).context_ids[1:])
            frames[primed].add(context.startswith(SURROGATE_TEMPLATE.split("{")[0]))
    assert frames == {True: {True, False}, False: {False}}


def test_the_card_shows_the_model_without_primes_where_it_was_measured(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    measured = json.loads((MODEL_FOLDER / "evaluation.json").read_text(encoding="utf-8"))
    measured["reading"]["all"]["exact"]["share"] = 0.123
    (folder / "evaluation_without_primes.json").write_text(json.dumps(measured), encoding="utf-8")
    write_card(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Beside a model that never saw a prime" in card
    assert "12.3%" in card
    assert "bare, framed, blank, random words, mismatched, matched, static" in card
