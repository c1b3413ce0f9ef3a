"""Trains the demo model: `python -m tasks.demo.training` (also `make demo-model`).

In: nothing but the corpus, which is written on the way. Out: the folder `tasks/demo/model/` with weights (float32
safetensors), configuration, tokenizer and model card. Checkpoints replace the folder as a whole, so that an interrupted
or running training always leaves a model that loads.

How it learns to read, in this order: random tokens repeated (which forms the heads that copy what followed a match),
then passages of one to three facts, then passages of full length.
"""

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tasks.demo.card import write_card
from tasks.demo.corpus import CORPUS_SEED
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.initial_weights import set_copying_heads
from tasks.demo.schedule import embedding_rate, learning_rate, size_at
from tasks.demo.tokenizer import WINDOW_TOKENS, train_tokenizer
from tasks.demo.training_rows import BRANCHES_PER_PASSAGE, REPEAT_SHARE, Batch, Row, RowWriter, as_batch

MODEL_FOLDER = Path(__file__).parent / "model"

LAYERS = 3
WIDTH = 256
HEADS = 8
MLP_WIDTH = 512
# Slow rotation: contents can then be compared over the length of a passage.
ROTARY_BASE = 100_000.0

STEPS = 2_600
ROWS_PER_STEP = 12
# Rows are sorted by length within such a group of steps, so that little is padded.
STEPS_PER_GROUP = 8
REPEAT_ONLY_STEPS = 180

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one training run does."""

    steps: int
    """How many steps it takes."""
    seed: int
    """The seed of weights and rows."""
    device: str
    """Where it computes, e.g. cpu or cuda."""
    output: Path
    """The folder that it leaves."""
    checkpoint_steps: int
    """How often the folder is renewed."""


def new_model(vocabulary_size: int, end_id: int, begin_id: int, pad_id: int) -> MistralForCausalLM:
    """Return an untrained model; the seed must have been set before."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=vocabulary_size,
            hidden_size=WIDTH,
            intermediate_size=MLP_WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=WINDOW_TOKENS,
            sliding_window=None,
            rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
            tie_word_embeddings=True,
            bos_token_id=begin_id,
            eos_token_id=end_id,
            pad_token_id=pad_id,
        )
    )


def batches(writer: RowWriter, plan: Plan, pad_id: int) -> Iterator[Batch]:
    """Yield one batch per step, in an order that depends on the seed alone."""
    for first_step in range(0, plan.steps, STEPS_PER_GROUP):
        steps = range(first_step, min(first_step + STEPS_PER_GROUP, plan.steps))
        source = random_for("order", plan.seed, first_step)
        is_repeat = [step < REPEAT_ONLY_STEPS or source.random() < REPEAT_SHARE for step in steps]
        size = size_at(first_step / plan.steps)
        rows: list[Row] = []
        for step, repeats in zip(steps, is_repeat, strict=True):
            if not repeats:
                numbers = range(step * ROWS_PER_STEP, (step + 1) * ROWS_PER_STEP)
                rows.extend(writer.row(number, size) for number in numbers)
        rows.sort(key=lambda row: row.token_count)
        groups = [rows[start : start + ROWS_PER_STEP] for start in range(0, len(rows), ROWS_PER_STEP)]
        source.shuffle(groups)
        for step, repeats in zip(steps, is_repeat, strict=True):
            numbers = range(step * ROWS_PER_STEP, (step + 1) * ROWS_PER_STEP)
            yield as_batch([writer.repeat_row(number) for number in numbers] if repeats else groups.pop(), pad_id)


def batch_loss(model: MistralForCausalLM, batch: Batch, device: str) -> torch.Tensor:
    """Return the weighted mean of the targets' negative log-likelihoods."""
    hidden = model.model(
        input_ids=batch.token_ids.to(device),
        attention_mask=batch.attention_mask.to(device),
        position_ids=batch.position_ids.to(device),
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1)[batch.predictors.to(device)]).float()
    losses = torch.nn.functional.cross_entropy(logits, batch.targets.to(device), reduction="none")
    weights = batch.weights.to(device)
    return (losses * weights).sum() / weights.sum()


def save_folder(
    model: MistralForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: dict[str, float | str]
) -> None:
    """Write a complete model folder beside the old one, then put it in its place."""
    fresh = folder.with_name(f".{folder.name}.new")
    stale = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(stale, ignore_errors=True)
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_card(fresh)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    shutil.rmtree(stale, ignore_errors=True)


def new_optimizer(model: MistralForCausalLM) -> torch.optim.AdamW:
    """Return an optimizer with two groups: all other weights, then the embeddings."""
    embeddings = model.model.embed_tokens.weight
    others = [parameter for parameter in model.parameters() if parameter is not embeddings]
    groups = [{"params": others}, {"params": [embeddings]}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05, fused=True)


def training_facts(
    model: MistralForCausalLM, plan: Plan, steps: int, token_count: int, elapsed_seconds: float
) -> dict[str, float | str]:
    """Return what the model card says about the training."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "domain_count": len(DOMAINS),
        "branches": BRANCHES_PER_PASSAGE,
        "repeat_steps": REPEAT_ONLY_STEPS,
        "steps": steps,
        "planned_steps": plan.steps,
        "tokens": token_count,
        "minutes": round(elapsed_seconds / 60, 1),
        "device": f"one {plan.device} device, {torch.get_num_threads()} thread(s)",
        "seed": plan.seed,
        "torch_version": torch.__version__,
    }


def train(plan: Plan) -> None:
    """Train tokenizer and model and leave the model folder."""
    torch.manual_seed(plan.seed)
    tokenizer = train_tokenizer(plan.seed)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>", "<pad>")}
    model = new_model(len(tokenizer), ids["</s>"], ids["<s>"], ids["<pad>"]).to(plan.device)
    set_copying_heads(model)
    optimizer = new_optimizer(model)
    writer = RowWriter(tokenizer, plan.seed)
    started = time.monotonic()
    token_count = 0
    smooth_loss = math.nan
    for step, batch in enumerate(batches(writer, plan, ids["<pad>"])):
        others, embeddings = optimizer.param_groups
        others["lr"] = learning_rate(step, plan.steps)
        embeddings["lr"] = embedding_rate(step, plan.steps)
        loss = batch_loss(model, batch, plan.device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        token_count += batch.token_count
        smooth_loss = loss.item() if math.isnan(smooth_loss) else 0.98 * smooth_loss + 0.02 * loss.item()
        elapsed_seconds = time.monotonic() - started
        if (step + 1) % 100 == 0:
            rate = token_count / elapsed_seconds
            logger.info("step %d loss %.3f tokens %d seconds %.0f (%.0f/s)", step + 1, smooth_loss, token_count,
                        elapsed_seconds, rate)  # fmt: skip
        if (step + 1) % plan.checkpoint_steps == 0 or step + 1 == plan.steps:
            facts = training_facts(model, plan, step + 1, token_count, elapsed_seconds)
            save_folder(model, tokenizer, plan.output, facts)


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description="Train the demo model and leave it as a folder that loads.")
    parser.add_argument("--steps", type=int, default=STEPS, help="how many steps to train")
    parser.add_argument("--seed", type=int, default=CORPUS_SEED, help="seed of weights and rows")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--output", type=Path, default=MODEL_FOLDER, help="the folder to leave")
    parser.add_argument("--checkpoint-steps", type=int, default=500, help="steps between two checkpoints")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    train(Plan(options.steps, options.seed, options.device, options.output, options.checkpoint_steps))


if __name__ == "__main__":
    main()
