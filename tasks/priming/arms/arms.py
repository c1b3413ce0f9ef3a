"""ARM_GROUPS: every condition of the experiment, as data.

A new condition is one entry here (and one function that writes its surrogates); nothing downstream knows conditions by
name. An entry is written, scored and cached on its own: a family whose arms share a template and a writer, or one
control.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tasks.priming.arms.contexts import ContextRule, OwnArm, Wording, as_own_template
from tasks.priming.arms.controls import (
    write_actual_query,
    write_answer_given,
    write_blank,
    write_other_document,
    write_random_words,
    write_shuffled,
)
from tasks.priming.arms.treatments import TREATMENTS
from tasks.priming.arms.writing import (
    Writing,
    write_echo,
    write_generated,
    write_instructed,
    write_keywords,
    write_lead,
    write_phrase,
    write_provided,
    write_static,
)
from tasks.priming.prompts import (
    BASELINE_TEMPLATE,
    FREE_PHRASES,
    FREE_TEMPLATE,
    GENERATION_INSTRUCTIONS,
    STATIC_SURROGATES,
    SURROGATE_TEMPLATE,
)
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
    needs_data_texts: bool = False  # whether the writer uses texts that follow from the data
    wording: Wording | None = None  # the text or instruction of its only arm, where it is data

    @property
    def writer(self) -> str:
        """The writing function as "module:function"."""
        return f"{self.write.__module__}:{self.write.__name__}" if self.write else ""

    @property
    def is_written(self) -> bool:
        """Whether the model writes its surrogates; what starts from generated ones has none written."""
        return self.needs_language_model and not self.needs_generated

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


def _free(key: str, write: Writer, text: str | None = None, *, needs_data_texts: bool = False) -> ArmGroup:
    """Return the entry of one free text: a phrase, or what a function makes."""
    wording = None if text is None else Wording(family="free", key=key, text=text)
    fixed = () if text is None else (text,)
    rule = ContextRule(family="free", arm_keys=(key,), template=FREE_TEMPLATE, fixed_surrogates=fixed)
    return ArmGroup(rule, treatments=_OF_A_TEXT, write=write, needs_data_texts=needs_data_texts, wording=wording)


def own_group(arm: OwnArm) -> ArmGroup:
    """Return the entry of a text that is given as data."""
    wording = arm.wording
    is_fixed = wording is not None and wording.word_limit is None
    rule = ContextRule(
        family=arm.family,
        arm_keys=(arm.key,),
        template=arm.rule_template,
        fixed_surrogates=(wording.text,) if wording and is_fixed else (),
    )
    return ArmGroup(
        rule,
        treatments=arm.treatments,
        write=writer_of(f"{arm.family}/{arm.key}", wording) if wording else None,
        is_routed=arm.is_routed,
        needs_language_model=wording is not None and not is_fixed,
        wording=wording,
    )


def writer_of(name: str, wording: Wording | None) -> Writer:
    """Return what writes the surrogates of an entry, by its name and its wording if it has one."""
    if wording is not None:
        return write_phrase if wording.word_limit is None else write_instructed
    write = ARM_GROUPS[name].write if name in ARM_GROUPS else write_provided
    assert write is not None
    return write


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
    f"{entry.contexts.family}/{entry.contexts.arm_keys[0]}": entry
    for entry in (
        *(_free(key, write_phrase, text) for key, text in FREE_PHRASES.items()),
        _free("keywords", write_keywords, needs_data_texts=True),
        _free("lead", write_lead),
        _free("echo", write_echo),
        _control("bare_document", template="{document}"),
        _control("blank_surrogate", write_blank, fixed_surrogates=("",)),
        _control("random_words", write_random_words, needs=("language_model", "generated", "donors")),
        _control("shuffled_surrogate", write_shuffled, needs=("generated",)),
        _control("other_document", write_other_document, needs=("language_model", "donors")),
        _control("actual_query", write_actual_query),
        # Whether a run could have shown a gain at all, and whether the model reads the document.
        _control("answer_given", write_answer_given),
        _control("no_passage", template=""),
        # The noise floor: the baseline again, in batches of another size and composition.
        _control("repeated_baseline", template=BASELINE_TEMPLATE, budget_share=0.3),
    )
}

CONTROLS = tuple(name.removeprefix("control/") for name in ARM_GROUPS if name.startswith("control/"))
"""The names of all controls."""

FREE_TEXTS = tuple(name.removeprefix("free/") for name in ARM_GROUPS if name.startswith("free/"))
"""The names of all texts of the family free."""


def _built_in_arms(group: ArmGroup) -> list[OwnArm]:
    """Return the arms of an entry as they would stand in a file of texts."""
    rule = group.contexts
    texts = dict(zip(rule.arm_keys, rule.fixed_surrogates, strict=bool(rule.fixed_surrogates)))
    arms = []
    for key in rule.arm_keys:
        instruction = GENERATION_INSTRUCTIONS[key] if group.write is write_generated else None
        arms.append(
            OwnArm(
                family=rule.family,
                key=key,
                template=as_own_template(rule.template),
                text=texts.get(key),
                instruction=instruction.text if instruction else None,
                word_limit=instruction.word_limit if instruction else None,
                is_routed=group.is_routed,
                treatments=group.treatments,
            )
        )
    return arms


BUILT_IN_ARMS: tuple[OwnArm, ...] = tuple(
    arm
    for name in ("baseline", "static", "generated", *(f"free/{key}" for key in FREE_PHRASES))
    for arm in _built_in_arms(ARM_GROUPS[name])
)
"""The built-in arms that are data alone: those that no function makes."""


def entries_of(settings: "ExperimentSettings", provided_keys: Sequence[str] = ()) -> dict[str, ArmGroup]:
    """Return the entries that settings select, in the order of ARM_GROUPS: generated ones precede controls.

    Each has those of its treatments that the settings select.

    Args:
        settings: The run's settings; their own arms follow the built-in ones.
        provided_keys: Names of the texts that the data bring, the arms of the last entry.
    """
    named = CONTROLS if settings.controls == ("all",) else settings.controls
    controls = named if "control" in settings.families else ()
    texts = FREE_TEXTS if settings.free_texts == ("all",) else settings.free_texts
    free = texts if "free" in settings.families else ()
    wanted = {*settings.families, *(f"control/{control}" for control in controls), *(f"free/{text}" for text in free)}
    treatments = TREATMENTS if settings.treatments == ("all",) else settings.treatments
    entries = {name: entry for name, entry in ARM_GROUPS.items() if name in wanted}
    entries |= {f"{arm.family}/{arm.key}": own_group(arm) for arm in settings.arms}
    if provided_keys:
        rule = ContextRule(family="provided", arm_keys=tuple(provided_keys), template=SURROGATE_TEMPLATE)
        is_routed = len(provided_keys) > 1
        entries["provided"] = ArmGroup(
            rule, treatments=_OF_A_TEXT, write=write_provided, is_routed=is_routed, needs_data_texts=True
        )

    def selected(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in treatments)

    return {
        name: replace(
            entry,
            treatments=selected(entry.treatments),
            diagnostics={key: selected(names) for key, names in entry.diagnostics.items()},
        )
        for name, entry in entries.items()
    }
