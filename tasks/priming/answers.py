"""The answers themselves: what the model writes after a query, read from a context's KV cache.

In: samples, the contexts of one family's arms, what is done with them, and which arms are asked. Out: one AnswerText
per sample and condition that is asked, with its measures. A text depends on the model, the context and the query alone:
the likeliest token is taken each time, until the line or the text ends. Which arms are asked is declared here; of a
routed family that is also what the router chose, before anything was scored.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tasks.priming.answer_measures import PLAIN_DOCUMENT, measure_text
from tasks.priming.arms.arms import ArmGroup
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import AnswerText, Sample, Surrogate

if TYPE_CHECKING:  # imports torch
    from tasks.priming.engine.generation import Completion
    from tasks.priming.scoring import Arm, Treatments

TOKEN_LIMIT = 32
"""The longest answer (tokens)."""

MAIN_ARMS = (
    PLAIN_DOCUMENT,
    ("control", "bare_document"),
    ("control", "actual_query"),
    ("control", "random_words"),
    ("static", "quantitative"),
    ("generated", "target_question"),
    ("free", "extract"),
    ("free", "echo"),
)
"""Family and key of the built-in arms that are asked on every sample, unless all are or none is."""


def keys_to_ask(group: ArmGroup, which: str) -> tuple[str, ...]:
    """Return the keys of a group's arms that are asked on every sample.

    Of families that are not built in these are all arms, unless the router chooses among them.

    Args:
        group: The arms.
        which: main, or all.
    """
    rule = group.contexts
    is_built_in = rule.family in {family for family, _ in MAIN_ARMS}
    if which == "all" or not (is_built_in or group.is_routed):
        return rule.arm_keys
    return tuple(key for key in rule.arm_keys if (rule.family, key) in MAIN_ARMS)


def answer_family(
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    language_model: LanguageModel,
    keys: Sequence[str],
    routed_keys: Sequence[str | None] = (),
    treatments: "Treatments | None" = None,
) -> list[AnswerText]:
    """Let the model answer every sample's query after the contexts that are asked, in the order of score_family.

    Args:
        contexts: The family's arms and the template of their contexts.
        samples: The samples.
        surrogates: Theirs, in any order.
        language_model: The model that answers.
        keys: The arms that are asked on every sample.
        routed_keys: For each sample the arm that the router chose, which is asked as well; None where it chose none.
            Empty in families that are not routed.
        treatments: What is done with the contexts of each arm; None: they are kept as they are.

    Raises:
        KeyError: A sample lacks a surrogate of the family.
    """
    from tasks.priming.engine.generation import answer_requests
    from tasks.priming.scoring import encode_arms, shared_prefixes, status_of

    known = {sample.sample_id: sample for sample in samples}
    routed = dict(zip(known, routed_keys, strict=True)) if routed_keys else {}
    arms = [
        arm
        for arm in encode_arms(contexts, samples, surrogates, language_model, treatments=treatments)
        if arm.key in keys or routed.get(arm.sample_id) == arm.key
    ]
    # As long as the longest answer: whether that fits into the window.
    requests = [replace(arm.request, answer=(0,) * TOKEN_LIMIT) for arm in arms]
    statuses = [status_of(request, language_model) for request in requests]
    feasible = [request for request, status in zip(requests, statuses, strict=True) if status == "ok"]
    prefixes = shared_prefixes(contexts, language_model)
    completions = iter(answer_requests(feasible, language_model, TOKEN_LIMIT, prefixes=prefixes))
    return [
        _answer(
            arm,
            known[arm.sample_id],
            status,
            next(completions) if status == "ok" else None,
            is_routed=routed.get(arm.sample_id) == arm.key,
        )
        for arm, status in zip(arms, statuses, strict=True)
    ]


def first_line(completion: str) -> str:
    """Return the first line that has text, without surrounding space."""
    return completion.strip().partition("\n")[0].strip()


def _answer(arm: "Arm", sample: Sample, status: str, completion: "Completion | None", *, is_routed: bool) -> AnswerText:
    if completion is None:
        status = "out_of_memory" if status == "ok" else status
        return AnswerText(arm.sample_id, arm.family, arm.key, arm.treatment, is_routed, status)
    text = first_line(completion.text)
    return AnswerText(
        arm.sample_id,
        arm.family,
        arm.key,
        arm.treatment,
        is_routed,
        status,
        text=text,
        token_count=completion.token_count,
        finish=completion.finish,
        **asdict(measure_text(text, sample.answers)),
    )
