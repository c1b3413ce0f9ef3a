"""ARM_GROUPS: every condition of the experiment, as data.

A new condition is one entry here (and one function that writes its surrogates); nothing downstream knows conditions by
name. An entry is written, scored and cached on its own: a family whose arms share a template and a writer, or one
control.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.controls import (
    write_actual_query,
    write_blank,
    write_other_document,
    write_random_words,
    write_shuffled,
)
from tasks.priming.arms.treatments import TREATMENTS
from tasks.priming.arms.writing import Writing, write_generated, write_static
from tasks.priming.prompts import BASELINE_TEMPLATE, GENERATION_INSTRUCTIONS, STATIC_SURROGATES, SURROGATE_TEMPLATE
from tasks.priming.records import KEPT, Sample, Surrogate

if TYPE_CHECKING:  # settings import the names of the controls from here
    from tasks.priming.settings import ExperimentSettings

Writer = Callable[[Sequence[Sample], Writing], list[Surrogate]]


@dataclass(frozen=True, slots=True)
class ArmGroup:
    """Arms that share a template and a writer of surrogates."""

    contexts: ContextRule  # the arms and how their contexts are made
    treatments: tuple[str, ...] = (KEPT,)  # what is done with a computed context: names in TREATMENTS
    # Further treatments of single arms, by key: they explain a gain and are no options themselves.
    diagnostics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    write: Writer | None = None  # writes one surrogate per sample and key; None for a family without surrogates
    is_routed: bool = False  # whether the router chooses among its arms
    # Whether the writer uses the language model, so that its identity is part of the key.
    needs_language_model: bool = False
    needs_generated: bool = False  # whether the writer starts from the generated family's surrogates
    needs_donors: bool = False  # whether the writer uses another passage

    @property
    def writer(self) -> str:
        """The writing function as "module:function"."""
        return f"{self.write.__module__}:{self.write.__name__}" if self.write else ""

    @property
    def treatments_by_key(self) -> dict[str, tuple[str, ...]]:
        """The treatments of each arm, in its order."""
        return {key: (*self.treatments, *self.diagnostics.get(key, ())) for key in self.contexts.arm_keys}


_OF_A_TEXT = (KEPT, "stripped")
"""The treatments of a text before a document: both could be deployed."""


def _control(key: str, write: Writer | None = None, *, needs: Collection[str] = (), **rule: Any) -> ArmGroup:  # noqa: ANN401
    """Return the entry of one control; `rule` holds the fields of ContextRule that differ from a surrogate's."""
    contexts = ContextRule(**{"family": "control", "arm_keys": (key,), "template": SURROGATE_TEMPLATE} | rule)
    return ArmGroup(
        contexts,
        treatments=_OF_A_TEXT if contexts.has_surrogate else (KEPT,),
        write=write,
        needs_language_model="language_model" in needs,
        needs_generated="generated" in needs,
        needs_donors="donors" in needs,
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
        treatments=_OF_A_TEXT,
        write=write_static,
        is_routed=True,
    ),
    "generated": ArmGroup(
        ContextRule(family="generated", arm_keys=tuple(GENERATION_INSTRUCTIONS), template=SURROGATE_TEMPLATE),
        treatments=_OF_A_TEXT,
        diagnostics={"target_question": ("hidden", "blind", "masked")},
        write=write_generated,
        is_routed=True,
        needs_language_model=True,
    ),
} | {
    f"control/{control.contexts.arm_keys[0]}": control
    for control in (
        _control("bare_document", template="{document}"),
        _control("blank_surrogate", write_blank, fixed_surrogates=("",)),
        _control("random_words", write_random_words, needs=("language_model", "generated", "donors")),
        _control("shuffled_surrogate", write_shuffled, needs=("generated",)),
        _control("other_document", write_other_document, needs=("language_model", "donors")),
        _control("actual_query", write_actual_query),
        # The noise floor: the baseline again, in batches of another size and composition.
        _control("repeated_baseline", template=BASELINE_TEMPLATE, budget_share=0.3),
    )
}

CONTROLS = tuple(name.removeprefix("control/") for name in ARM_GROUPS if name.startswith("control/"))
"""The names of all controls."""


def entries_of(settings: "ExperimentSettings") -> dict[str, ArmGroup]:
    """Return the entries that settings select, in the order of ARM_GROUPS: generated ones precede controls.

    Each has those of its treatments that the settings select.
    """
    named = CONTROLS if settings.controls == ("all",) else settings.controls
    controls = named if "control" in settings.families else ()
    wanted = {*settings.families, *(f"control/{control}" for control in controls)}
    treatments = TREATMENTS if settings.treatments == ("all",) else settings.treatments

    def selected(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in treatments)

    return {
        name: replace(
            entry,
            treatments=selected(entry.treatments),
            diagnostics={key: selected(names) for key, names in entry.diagnostics.items()},
        )
        for name, entry in ARM_GROUPS.items()
        if name in wanted
    }
