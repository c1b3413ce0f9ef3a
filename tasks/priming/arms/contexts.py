"""How the contexts of a family are made: all text before the query."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from tasks.priming.prompts import fill

Visibility: TypeAlias = Literal["all", "surrogate_hidden", "passage_blind"]
"""Who sees the surrogate: all tokens behind it; the passage but not the query (its keys and values are dropped once
the passage is computed); or the query but not the passage."""


class ContextRule(BaseModel):
    """The arms of a family and the template of their contexts; as data, so that it enters the key of scoring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    """The family's name."""
    arm_keys: tuple[str, ...]
    """Its arms, in the order that breaks ties of the router. (Not "keys": a model with an attribute of that name is
    taken for a mapping.)"""
    template: str
    """Text with {document} and, in families that have surrogates, {surrogate}."""

    visibility: Visibility = "all"
    """Who sees the surrogate."""
    fixed_surrogates: tuple[str, ...] = ()
    """The arms' surrogates where they are the same for every sample; empty where they are not."""
    budget_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the usual tokens in a batch: another share batches the same arms otherwise."""

    @property
    def name(self) -> str:
        """The family, and the arm where there is only one: what a reader of logs knows it by."""
        return self.family if len(self.arm_keys) > 1 else f"{self.family}/{self.arm_keys[0]}"

    @property
    def surrogate_start(self) -> int:
        """Where in a context the surrogate begins (characters)."""
        return self.template.index("{surrogate}")

    @property
    def has_surrogate(self) -> bool:
        """Whether a context holds a surrogate."""
        return "{surrogate}" in self.template

    @property
    def prefix_probes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of contexts that have in common only what all contexts of an arm begin with.

        What the two of a pair share is computed once for all rows that begin with it: a rule that looks at the arm and
        the row, never at what else is computed.
        """
        varied = ("One", "2") if self.has_surrogate else (None, None)
        pairs: list[tuple[str | None, str | None]] = [(text, text) for text in self.fixed_surrogates]
        return tuple((self.context("One", first), self.context("2", second)) for first, second in pairs or [varied])

    def context(self, passage: str, surrogate: str | None) -> str:
        """Return all text before the query; `surrogate` is None for a family without."""
        values = {"document": passage} if surrogate is None else {"document": passage, "surrogate": surrogate}
        return fill(self.template, **values)
