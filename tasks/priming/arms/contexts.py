"""How the contexts of a family are made, all text before the query, and what may be given for them as data."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks.priming.prompts import BASELINE_TEMPLATE, fill
from tasks.priming.records import KEPT

_DERIVED = ("routed", "oracle", "mean_of_keys", "best_key", "best_arm")
"""Names of conditions that are derived from others, which no text may have."""

WITHOUT_TEXT = "document"
"""The key of the only arm of a template that has no text."""


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


def as_own_template(template: str) -> str:
    """Return the template of a ContextRule with the names that are used in files of texts."""
    return template.replace("{surrogate}", "{text}").replace("{document}", "{passage}")


def is_text_name(name: object) -> bool:
    """Tell whether a text or family may have this name: small letters, digits and _, a letter first, at most 40."""
    return isinstance(name, str) and bool(re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name)) and name not in _DERIVED


def _named(name: str) -> str:
    if not is_text_name(name):
        raise ValueError(
            f"A text or family cannot be named {name!r:.100}. Allowed are up to 40 small letters, digits and _, a "
            f"letter first, but not {', '.join(_DERIVED)}. Give it another name."
        )
    return name


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError(f"A text must not be empty, got {text!r:.100}. Write something, or remove it.")
    return text


TextName = Annotated[str, AfterValidator(_named)]
Text = Annotated[str, Field(max_length=20_000), AfterValidator(_written)]


class Wording(BaseModel):
    """The text of one arm, or the instruction by which a model writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: TextName
    key: TextName
    text: Text
    word_limit: Annotated[int, Field(ge=1, le=1000)] | None = None  # of what is written; None: a text, no instruction


class OwnArm(BaseModel):
    """A condition of one's own: a template, and the text in it or the instruction by which a model writes one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: TextName
    key: TextName
    template: Text  # with one {passage}, and one {text} unless there is none
    text: Text | None = None
    instruction: Text | None = None
    word_limit: Annotated[int, Field(ge=1, le=1000)] | None = None  # of what is written by the instruction (words)
    is_routed: bool = False  # whether the router chooses it among the others of its family
    treatments: tuple[str, ...] = (KEPT,)  # what is done with a computed context

    @model_validator(mode="after")
    def _fits_together(self) -> "OwnArm":
        if (self.instruction is None) != (self.word_limit is None) or (self.text and self.instruction):
            raise ValueError(
                f"`{self.family}/{self.key}` must have a text, an instruction with a word_limit, or neither. Leave out "
                "what is too much."
            )
        wanted = ["{passage}"] if self.wording is None else ["{text}", "{passage}"]
        rest = self.template
        for field in wanted:
            rest = rest.replace(field, "", 1)
        if re.search("[{}]", rest) or not all(field in self.template for field in wanted):
            raise ValueError(
                f"The template of `{self.family}/{self.key}` must hold {' and '.join(wanted)} once and no other "
                f"braces, got {self.template!r:.200}. Correct the template."
            )
        end = as_own_template(BASELINE_TEMPLATE)
        if set(self.treatments) != {KEPT} and (self.wording is None or not self.template.endswith(end)):
            raise ValueError(
                f"Treatments other than kept need a template that holds {{text}} and ends with {end!r}, got "
                f"{self.template!r:.200} for `{self.family}/{self.key}`. Correct the template, or leave the treatments "
                "out."
            )
        return self

    @property
    def rule_template(self) -> str:
        """The template with the names that a ContextRule has for the two texts."""
        return self.template.replace("{text}", "{surrogate}").replace("{passage}", "{document}")

    @property
    def wording(self) -> Wording | None:
        """The text or the instruction; None for a template without a text."""
        text = self.text or self.instruction
        if text is None:
            return None
        return Wording(family=self.family, key=self.key, text=text, word_limit=self.word_limit)
