"""Trains the demo model: `python -m tasks.demo.training` (also `make demo-model`).

In: nothing but the corpus, which is written on the way. Out: the folder `tasks/demo/model/` with weights (float16
safetensors), configuration, tokenizer and model card. Checkpoints replace the folder as a whole, so that an interrupted
or running training always leaves a model that loads.

How it learns to read, in this order: random tokens repeated (which forms the heads that copy what followed a match),
then passages of one to three facts, then passages of full length; with two more layers and guided heads it then learns
whose fact is asked for, again from short passages to full ones.
"""

import argparse
import copy
import json
import logging
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing
from transformers import AutoTokenizer, GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tasks.demo.branch_attention import Batch, GuidanceLosses, as_batch, use_branch_attention
from tasks.demo.card import write_card
from tasks.demo.corpus import CORPUS_SEED
from tasks.demo.drawing import random_for
from tasks.demo.growing import grow
from tasks.demo.initial_weights import set_copying_heads
from tasks.demo.optimizing import Stepper
from tasks.demo.schedule import STAGES, Stage
from tasks.demo.tokenizer import WINDOW_TOKENS, train_tokenizer
from tasks.demo.training_rows import CONTEXT_KINDS, UNPRIMED_KINDS, Row, RowWriter
from tasks.guard import guarded

MODEL_FOLDER = Path(__file__).parent / "model"

WIDTH = 256
HEADS = 8
MLP_WIDTH = 512
# Slow rotation: contents can then be compared over the length of a passage.
ROTARY_BASE = 100_000.0

PROCESSES = 2
# Rows are sorted by length within such a group of steps, so that little is padded.
STEPS_PER_GROUP = 8
CHECKPOINT_STEPS = 250

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one training run does."""

    stages: tuple[Stage, ...]
    """What is learnt, in order."""
    seed: int
    """The seed of weights and rows."""
    device: str
    """Where it computes, e.g. cpu or cuda."""
    processes: int
    """How many processes share the rows of each step, each with one thread."""
    precision: str
    """float32, or bfloat16 for matrix products in bfloat16 (weights and their steps stay float32)."""
    output: Path
    """The folder that it leaves."""
    start: Path | None = None
    """A model folder that has learnt the stages before the first one here; None to start from nothing."""
    context_kinds: tuple[str, ...] = CONTEXT_KINDS
    """The ways in which passages are primed."""


def new_model(vocabulary_size: int, end_id: int, begin_id: int, pad_id: int, layers: int) -> MistralForCausalLM:
    """Return an untrained model; the seed must have been set before."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=vocabulary_size,
            hidden_size=WIDTH,
            intermediate_size=MLP_WIDTH,
            num_hidden_layers=layers,
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


def first_step_of(stage: Stage) -> int:
    """Return how many steps all stages before this one take; a row's number follows from it."""
    return sum(each.steps for each in STAGES[: [each.name for each in STAGES].index(stage.name)])


def batches(writer: RowWriter, stage: Stage, pad_id: int, rank: int, process_count: int) -> Iterator[tuple[Batch, int]]:
    """Yield this process's part of each step's rows and the tokens of all, in an order that the seed alone decides."""
    count = stage.rows_per_step
    offset = first_step_of(stage)
    for first_step in range(0, stage.steps, STEPS_PER_GROUP):
        steps = range(first_step, min(first_step + STEPS_PER_GROUP, stage.steps))
        source = random_for("order", writer.seed, offset + first_step)
        is_repeat = [
            step < stage.repeat_only_steps or (stage.repeat_share > 0 and source.random() < stage.repeat_share)
            for step in steps
        ]
        size = stage.size_at(first_step)
        numbers = {step: range((offset + step) * count, (offset + step + 1) * count) for step in steps}
        rows = [
            writer.row(number, size)
            for step, repeats in zip(steps, is_repeat, strict=True)
            if not repeats
            for number in numbers[step]
        ]
        rows.sort(key=lambda row: (row.is_generation, len(row.context_ids)))
        groups = [rows[start : start + count] for start in range(0, len(rows), count)]
        source.shuffle(groups)
        for step, repeats in zip(steps, is_repeat, strict=True):
            chosen: list[Row] = [writer.repeat_row(number) for number in numbers[step]] if repeats else groups.pop()
            yield as_batch(chosen[rank::process_count], pad_id), sum(row.token_count for row in chosen)


def arithmetic(precision: str, device: str) -> AbstractContextManager[Any]:
    """Return the context in which forward passes are computed."""
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def batch_loss(
    model: MistralForCausalLM, batch: Batch, device: str, guidance: GuidanceLosses | None = None
) -> torch.Tensor:
    """Return the weighted mean of the targets' negative log-likelihoods.

    Args:
        model: A model that attends by `use_branch_attention`.
        batch: The rows.
        device: Where the model lies.
        guidance: Where the losses of guided heads go; None where they are not wanted.
    """
    hidden = model.model(
        input_ids=batch.token_ids.to(device),
        position_ids=batch.position_ids.to(device),
        use_cache=False,
        batch=batch,
        guidance=guidance,
    ).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1)[batch.predictors.to(device)]).float()
    losses = torch.nn.functional.cross_entropy(logits, batch.targets.to(device), reduction="none")
    weights = batch.weights.to(device)
    return (losses * weights).sum() / weights.sum()


def save_folder(
    model: MistralForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: dict[str, Any]
) -> None:
    """Write a complete model folder beside the old one, then put it in its place."""
    fresh = folder.with_name(f".{folder.name}.new")
    stale = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(stale, ignore_errors=True)
    halved = copy.deepcopy(model).half()
    halved.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    halved.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_card(fresh)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    shutil.rmtree(stale, ignore_errors=True)


def first_model(plan: Plan, tokenizer: PreTrainedTokenizerBase) -> MistralForCausalLM:
    """Return the model that the first stage of a plan starts from."""
    if plan.start is None:
        torch.manual_seed(plan.seed)
        end_id, begin_id, pad_id = (tokenizer.convert_tokens_to_ids(name) for name in ("</s>", "<s>", "<pad>"))
        model = new_model(len(tokenizer), end_id, begin_id, pad_id, layers=plan.stages[0].layers)
        set_copying_heads(model)
        return model
    started: MistralForCausalLM = MistralForCausalLM.from_pretrained(plan.start, dtype="float32", local_files_only=True)
    return started


def model_for(stage: Stage, model: MistralForCausalLM, seed: int) -> MistralForCausalLM:
    """Return the model with as many layers as a stage wants."""
    if model.config.num_hidden_layers == stage.layers:
        return model
    torch.manual_seed(seed)
    config = model.config
    larger = new_model(
        config.vocab_size, config.eos_token_id, config.bos_token_id, config.pad_token_id, layers=stage.layers
    )
    grow(model, larger)
    return larger


def train(plan: Plan) -> None:
    """Train tokenizer and model and leave the model folder."""
    if plan.processes == 1:
        work(0, plan, "")
        return
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, args=(plan, f"file://{folder}/meeting"), nprocs=plan.processes)  # type: ignore[attr-defined,no-untyped-call]


def work(rank: int, plan: Plan, meeting: str) -> None:
    """Do one process's part of a training."""
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    if plan.processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.processes)
    tokenizer = AutoTokenizer.from_pretrained(plan.start) if plan.start else train_tokenizer(plan.seed)
    model = first_model(plan, tokenizer)
    facts: dict[str, Any] = {
        "seed": plan.seed,
        "torch_version": torch.__version__,
        "context_kinds": plan.context_kinds,
        "stages": [],
    }
    if plan.start:
        facts["stages"] = json.loads((plan.start / "training.json").read_text(encoding="utf-8"))["stages"]
    for stage in plan.stages:
        model = model_for(stage, model, plan.seed).to(plan.device)
        use_branch_attention(model)
        facts["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        for done in train_stage(model, tokenizer, stage, plan, rank):
            if rank == 0:
                save_folder(model, tokenizer, plan.output, facts | {"stages": [*facts["stages"], done]})
        facts["stages"].append(done)
    if plan.processes > 1:
        distributed.destroy_process_group()


def train_stage(
    model: MistralForCausalLM, tokenizer: PreTrainedTokenizerBase, stage: Stage, plan: Plan, rank: int
) -> Iterator[dict[str, Any]]:
    """Train one stage, and yield what the model card says about it at every checkpoint and at its end."""
    writer = RowWriter(tokenizer, plan.seed, stage.contrast_share, stage.guide_weight > 0, plan.context_kinds)
    stepper = Stepper(model, stage, rank, plan.processes)
    pad_id = tokenizer.convert_tokens_to_ids("<pad>")
    started = time.monotonic()
    token_count = 0
    smooth_loss = math.nan
    for step, (batch, tokens) in enumerate(batches(writer, stage, pad_id, rank, plan.processes)):
        guide_weight = stage.guide_weight_at(step)
        guidance = GuidanceLosses() if guide_weight else None
        with arithmetic(plan.precision, plan.device):
            loss = batch_loss(model, batch, plan.device, guidance)
        reading_loss = loss.item()
        if guidance is not None:
            loss = loss + guide_weight * sum(guidance.losses.values())
        loss.backward()  # type: ignore[no-untyped-call]
        stepper.step(step)
        token_count += tokens
        smooth_loss = reading_loss if math.isnan(smooth_loss) else 0.98 * smooth_loss + 0.02 * reading_loss
        elapsed_seconds = time.monotonic() - started
        if (step + 1) % 50 == 0:
            logger.info("%s, step %d: loss %.3f, %d tokens in %.0f s", stage.name, step + 1, smooth_loss, token_count,
                        elapsed_seconds)  # fmt: skip
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == stage.steps:
            yield {
                "name": stage.name,
                "steps": step + 1,
                "planned_steps": stage.steps,
                "tokens": token_count,
                "minutes": round(elapsed_seconds / 60, 1),
                "device": f"{plan.processes} process(es) of {torch.get_num_threads()} thread(s) on {plan.device}",
                "precision": plan.precision,
            }


def best_precision(device: str) -> str:
    """Return bfloat16 where the hardware multiplies in it, else float32."""
    has_bfloat16 = device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if has_bfloat16 else "float32"


@guarded()
def main() -> int:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description="Train the demo model and leave it as a folder that loads.")
    parser.add_argument("--seed", type=int, default=CORPUS_SEED, help="seed of weights and rows")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="processes that share each step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="default: what the hardware multiplies in")
    parser.add_argument("--output", type=Path, default=MODEL_FOLDER, help="the folder to leave")
    parser.add_argument("--start", type=Path, help="a folder of the first stage's model: train the last stage alone")
    parser.add_argument("--without-primes", action="store_true", help="show no surrogates: for a model to compare with")
    options = parser.parse_args()
    train(
        Plan(
            stages=STAGES[1:] if options.start else STAGES,
            seed=options.seed,
            device=options.device,
            processes=options.processes,
            precision=options.precision or best_precision(options.device),
            output=options.output,
            start=options.start,
            context_kinds=UNPRIMED_KINDS if options.without_primes else CONTEXT_KINDS,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
