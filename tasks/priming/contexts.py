"""How the contexts of a family are made: all text before the query."""

from pydantic import BaseModel, ConfigDict

from tasks.priming.prompts import fill


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

    @property
    def has_surrogate(self) -> bool:
        """Whether a context holds a surrogate."""
        return "{surrogate}" in self.template

    def context(self, passage: str, surrogate: str | None) -> str:
        """Return all text before the query; `surrogate` is None for a family without."""
        values = {"document": passage} if surrogate is None else {"document": passage, "surrogate": surrogate}
        return fill(self.template, **values)
