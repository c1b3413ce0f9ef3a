"""ARM_GROUPS: every condition of the experiment, as data.

A new condition is one entry here (and one function where its surrogates are written); nothing downstream knows
conditions by name. An entry is what is written, scored and remembered on its own: a family whose arms share a template
and a writer, or one control.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.controls import (
    write_actual_query,
    write_blank,
    write_blind,
    write_hidden,
    write_other_document,
    write_random_words,
    write_shuffled,
)
from tasks.priming.arms.generated import write_generated
from tasks.priming.arms.static import write_static
from tasks.priming.arms.writing import Writing
from tasks.priming.prompts import BASELINE_TEMPLATE, GENERATION_INSTRUCTIONS, STATIC_SURROGATES, SURROGATE_TEMPLATE
from tasks.priming.records import Sample, Surrogate

if TYPE_CHECKING:  # which looks here for the names of the controls
    from tasks.priming.settings import ExperimentSettings

Writer = Callable[[Sequence[Sample], Writing], list[Surrogate]]


@dataclass(frozen=True, slots=True)
class ArmGroup:
    """A set of arms that share a template and a way to write their surrogates."""

    contexts: ContextRule
    """Its arms and how their contexts are made."""
    write: Writer | None = None
    """Writes one surrogate a sample and key; None for a family without any."""
    is_routed: bool = False
    """Whether the router chooses among its arms."""
    needs_language_model: bool = False
    """Whether writing uses the language model, so that its identity enters the key."""
    needs_generated: bool = False
    """Whether writing starts from the generated family's surrogates."""
    needs_donors: bool = False
    """Whether writing takes something from another passage."""

    @property
    def writer(self) -> str:
        """The writing function as "module:function"."""
        return f"{self.write.__module__}:{self.write.__name__}" if self.write else ""


def _control(
    key: str,
    write: Writer | None = None,
    *,
    needs_language_model: bool = False,
    needs_generated: bool = False,
    needs_donors: bool = False,
    **rule: Any,  # noqa: ANN401 - fields of ContextRule
) -> ArmGroup:
    """Return the entry of one control; `rule` says how its contexts differ from those of a surrogate."""
    return ArmGroup(
        ContextRule(**{"family": "control", "arm_keys": (key,), "template": SURROGATE_TEMPLATE} | rule),
        write,
        needs_language_model=needs_language_model,
        needs_generated=needs_generated,
        needs_donors=needs_donors,
    )


ARM_GROUPS: dict[str, ArmGroup] = {
    "baseline": ArmGroup(ContextRule(family="baseline", arm_keys=("document",), template=BASELINE_TEMPLATE)),
    "static": ArmGroup(
        ContextRule(
            family="static",
            arm_keys=tuple(STATIC_SURROGATES),
            template=SURROGATE_TEMPLATE,
            fixed_surrogates=tuple(STATIC_SURROGATES.values()),
        ),
        write=write_static,
        is_routed=True,
    ),
    "generated": ArmGroup(
        ContextRule(family="generated", arm_keys=tuple(GENERATION_INSTRUCTIONS), template=SURROGATE_TEMPLATE),
        write=write_generated,
        is_routed=True,
        needs_language_model=True,
    ),
} | {
    f"control/{control.contexts.arm_keys[0]}": control
    for control in (
        _control("bare_document", template="{document}"),
        _control("blank_surrogate", write_blank, fixed_surrogates=("",)),
        _control(
            "random_words", write_random_words, needs_language_model=True, needs_generated=True, needs_donors=True
        ),
        _control("shuffled_surrogate", write_shuffled, needs_generated=True),
        _control("other_document", write_other_document, needs_language_model=True, needs_donors=True),
        _control("actual_query", write_actual_query),
        # The noise floor: the baseline once more, in batches of another size and hence of other company.
        _control("repeated_baseline", template=BASELINE_TEMPLATE, budget_share=0.3),
        _control("hidden_surrogate", write_hidden, visibility="surrogate_hidden", needs_generated=True),
        _control("blind_passage", write_blind, visibility="passage_blind", needs_generated=True),
    )
}


CONTROLS = tuple(name.removeprefix("control/") for name in ARM_GROUPS if name.startswith("control/"))
"""The names of all controls."""


def entries_of(settings: "ExperimentSettings") -> dict[str, ArmGroup]:
    """Return the entries that settings ask for, in the order of ARM_GROUPS: what is generated comes before controls."""
    named = CONTROLS if settings.controls == ("all",) else settings.controls
    controls = named if "control" in settings.families else ()
    wanted = {*settings.families, *(f"control/{control}" for control in controls)}
    return {name: entry for name, entry in ARM_GROUPS.items() if name in wanted}
