"""Writes the model card of the demo model.

In: a model folder with `training.json` and, once it was measured, `evaluation.json` (and that of a model trained
without primes, where there is one, as `evaluation_without_primes.json`). Out: its `README.md`. The numbers
are read from these files, so that the card cannot say anything that was not measured.
"""

import json
from pathlib import Path
from typing import Any

from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.growing import COPYING_HEADS, GATHERING_HEADS, KEY_HEADS, VALUE_HEADS
from tasks.demo.training_rows import BRANCHES_PER_PASSAGE, GENERATION_SHARE

CARD = """---
language: en
license: apache-2.0
pipeline_tag: text-generation
---
# The demo model

A Mistral-shaped causal language model with {parameters:,} parameters that answers questions from a passage and writes
guesses of what somebody might ask about it. It was trained by this project, on text that this project writes, so that
the default experiment runs without a network, a licence or a GPU.

**It is a check with a known mechanism, not evidence about priming.** It knows {domain_count} invented domains and
nothing of the world. Do not use it for anything but this experiment.

## Training
- data: passages with queries and answers, written on the fly by `tasks/demo/corpus.py` from templates and invented
  names (training split only: a quarter of all names, keys, phrases and numbers is kept for evaluation);
- forms: passages behind each kind of context in equal shares, drawn without regard to the order of their facts
  ({context_kinds}); {branches} queries a passage, none of which
  sees another; {generation_share:.0%} of the rows ask for one of the five kinds of surrogate through the chat template;
- start: heads that look at the token before and heads that look for an earlier match are set by hand
  (`initial_weights.py`), everything is then trained;
- the stage "copying" has 3 layers and begins with random tokens repeated twice; for "binding" two layers are put into
  the middle (`growing.py`), half of the passages say one kind of thing under several keys, and for most of the stage
  the attention of {guided_heads} heads is guided to where keys and values stand (`guides.py`), with a weight that fades
  to nothing before the end. The guides never look at a passage's prime, and treat all kinds of context alike;
{stages}
- seed {seed}, torch {torch_version}. The same seed gives the same weights on the same hardware, library versions and
  number of processes (`docs/findings.md` says which code the first stage of the committed weights was run with).

`python -m tasks.demo.training` makes it again, `python -m tasks.demo.evaluate` measures it.

## Evaluation
{evaluation}
## Limits
It knows sentences like those of its corpus: numbers are copied digit by digit, names syllable by syllable, and text
unlike the corpus comes out as nonsense, as the passages written by hand show. The fixed phrases and the instruction
texts are those of `tasks/priming/prompts.py`; other instructions do nothing.
"""

STAGE = (
    '- stage "{name}": {steps:,} of {planned_steps:,} steps, {tokens:,} tokens, {minutes:.0f} minutes, '
    "{device}, products in {precision};"
)
BESIDE = """### Beside a model that never saw a prime
Trained once by the same code from the same seed, but on bare and framed passages alone (`python -m tasks.demo.training
--without-primes --output FOLDER`), and measured on the same {rows:,} queries. What it gains from a prime, it gains
without having been taught to use one.

"""
NOT_MEASURED = "Not measured yet: run `python -m tasks.demo.evaluate`.\n"


def share_cell(share: dict[str, float]) -> str:
    """Return a share and its interval."""
    return f"{share['share']:.1%} ({share['low']:.1%}-{share['high']:.1%})"


def mean_cell(mean: dict[str, float]) -> str:
    """Return a mean and its interval."""
    return f"{mean['mean']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"


def markdown_table(rows: list[list[str]]) -> str:
    """Return rows as a table; the first is its head."""
    head, *body = rows
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    return "\n".join(lines) + "\n"


def reading_table(figures: dict[str, Any]) -> str:
    """Return reading figures as a table, one column per fact order."""
    rows = [["", *figures], ["exact answers", *(share_cell(column["exact"]) for column in figures.values())]]
    rows.extend(
        [f"NLL, {arm}", *(mean_cell(column["nll"][arm]) for column in figures.values())]
        for arm in figures["all"]["nll"]
    )
    rows.extend(
        [f"gain, {arm}", *(mean_cell(column["improvement_over_baseline"][arm]) for column in figures.values())]
        for arm in figures["all"]["improvement_over_baseline"]
    )
    return markdown_table(rows)


def evaluation_section(figures: dict[str, Any]) -> str:
    """Return the measured figures as text and tables."""
    reading = figures["reading"]
    orders = list(reading)
    types = [["answer type", *orders]]
    for kind in reading["all"]["exact_by_answer_type"]:
        by_order = [reading[order]["exact_by_answer_type"].get(kind) for order in orders]
        types.append([kind, *(share_cell(share) if share else "" for share in by_order)])
    surrogates = [["surrogate", "as asked", "names its subject", "example"]]
    surrogates.extend(
        [style, share_cell(row["as_asked"]), share_cell(row["names_subject"]), row["example"]]
        for style, row in figures["surrogates"].items()
    )
    return (
        f"On {reading['all']['exact']['of']:,} queries about entities that were never in the training, with 95 % "
        "intervals. Exact: greedy decoding gives the gold answer and ends. NLL in nats per answer token, mean over "
        "queries; gain is baseline minus arm, so positive means that the arm helps.\n\n"
        f"{reading_table(reading)}\nExact answers of the baseline by answer type:\n\n{markdown_table(types)}\n"
        f"On {figures['handwritten']['all']['exact']['of']} queries about passages written freely by hand, far from "
        f"anything in the training:\n\n{reading_table(figures['handwritten'])}\n"
        "Surrogates sampled at temperature 0.3, top-k 50. As asked: within the word limits and in the style of the "
        f"instruction.\n\n{markdown_table(surrogates)}\n"
    )


def write_card(folder: Path) -> None:
    """Write README.md from the figures that lie in the folder."""
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    measured = folder / "evaluation.json"
    evaluation = NOT_MEASURED
    if measured.exists():
        evaluation = evaluation_section(json.loads(measured.read_text(encoding="utf-8")))
    beside = folder / "evaluation_without_primes.json"
    if beside.exists():
        reading = json.loads(beside.read_text(encoding="utf-8"))["reading"]
        evaluation += BESIDE.format(rows=reading["all"]["exact"]["of"]) + reading_table(reading)
    heads = (GATHERING_HEADS, VALUE_HEADS, KEY_HEADS, COPYING_HEADS)
    text = CARD.format(
        parameters=training["parameters"],
        domain_count=len(DOMAINS),
        context_kinds=", ".join(training["context_kinds"]).replace("_", " "),
        branches=BRANCHES_PER_PASSAGE,
        generation_share=GENERATION_SHARE,
        guided_heads=sum(each.stop - each.first for each in heads),
        stages="\n".join(STAGE.format(**stage) for stage in training["stages"]),
        seed=training["seed"],
        torch_version=training["torch_version"],
        evaluation=evaluation,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
