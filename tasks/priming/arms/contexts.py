"""How the contexts of a family are made: all text before the query."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.priming.prompts import BASELINE_TEMPLATE, fill


class ContextRule(BaseModel):
    """The arms of a family and the template of their contexts; data, so that it is part of scoring's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str  # the family's name
    # Its arms, in the order in which the router breaks ties. (Not named "keys": pydantic takes a model with an
    # attribute of that name for a mapping.)
    arm_keys: tuple[str, ...]
    template: str  # text with {document} and, in families that have surrogates, {surrogate}

    fixed_surrogates: tuple[str, ...] = ()  # the arms' surrogates if they are the same for every sample, else empty
    # Fraction of the usual number of tokens in a batch; another value batches the same arms differently.
    budget_share: float = Field(default=1.0, gt=0, le=1)

    @property
    def name(self) -> str:
        """The family, with the arm if there is only one; for logs."""
        return self.family if len(self.arm_keys) > 1 else f"{self.family}/{self.arm_keys[0]}"

    @property
    def surrogate_start(self) -> int:
        """Where the surrogate begins in a context (characters)."""
        return self.template.index("{surrogate}")

    @property
    def has_surrogate(self) -> bool:
        """Whether a context holds a surrogate."""
        return "{surrogate}" in self.template

    def document_start(self, context: str, passage: str) -> int:
        """Return where the document with its frame begins in a context, in characters.

        Raises:
            ValueError: The template does not end with them.
        """
        if not self.template.endswith(BASELINE_TEMPLATE):
            raise ValueError(
                f"What precedes the document can be dropped only where the template ends with {BASELINE_TEMPLATE!r}, "
                f"got {self.template!r}. End the template with it, or leave out the treatment."
            )
        # Counted from the end: a surrogate may hold the same text.
        return len(context) - len(fill(BASELINE_TEMPLATE, document=passage))

    @property
    def prefix_probes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of contexts that share only what all contexts of an arm begin with.

        The prefix shared by a pair is computed once for all contexts that begin with it. It depends on the arm alone,
        never on what else is computed.
        """
        varied = ("One", "2") if self.has_surrogate else (None, None)
        pairs: list[tuple[str | None, str | None]] = [(text, text) for text in self.fixed_surrogates]
        return tuple((self.context("One", first), self.context("2", second)) for first, second in pairs or [varied])

    def context(self, passage: str, surrogate: str | None) -> str:
        """Return all text before the query; `surrogate` is None for a family without."""
        if not self.template:  # no document either: nothing but the token that every context begins with
            return ""
        values = {"document": passage} if surrogate is None else {"document": passage, "surrogate": surrogate}
        return fill(self.template, **values)
