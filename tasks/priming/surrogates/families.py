"""FAMILIES: every condition of the experiment, as data.

A new condition is one entry here (and one function where its surrogates are written); nothing downstream knows
conditions by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.priming.contexts import ContextRule
from tasks.priming.prompts import BASELINE_TEMPLATE, GENERATION_INSTRUCTIONS, STATIC_SURROGATES, SURROGATE_TEMPLATE
from tasks.priming.records import Sample, Surrogate
from tasks.priming.surrogates.generated import write_generated
from tasks.priming.surrogates.static import write_static
from tasks.priming.surrogates.writing import Writing


@dataclass(frozen=True, slots=True)
class Family:
    """A set of arms that share a template and a way to write their surrogates."""

    contexts: ContextRule
    """Its arms and how their contexts are made."""
    write: Callable[[Sequence[Sample], Writing], list[Surrogate]] | None = None
    """Writes one surrogate a sample and key; None for a family without any, which is not routed either."""
    needs_language_model: bool = False
    """Whether writing calls the language model, so that its identity enters the key."""

    @property
    def writer(self) -> str:
        """The writing function as "module:function"."""
        return f"{self.write.__module__}:{self.write.__name__}" if self.write else ""


FAMILIES: dict[str, Family] = {
    family.contexts.family: family
    for family in (
        Family(ContextRule(family="baseline", arm_keys=("document",), template=BASELINE_TEMPLATE)),
        Family(
            ContextRule(family="static", arm_keys=tuple(STATIC_SURROGATES), template=SURROGATE_TEMPLATE),
            write=write_static,
        ),
        Family(
            ContextRule(family="generated", arm_keys=tuple(GENERATION_INSTRUCTIONS), template=SURROGATE_TEMPLATE),
            write=write_generated,
            needs_language_model=True,
        ),
    )
}
