"""What was published of the full run that the notebook introduces, and what is known to differ from it.

In: JSON such as published_numbers.json beside this file, which holds the numbers as they were printed. Out: one
PublishedNumbers, by the published names; tasks/priming/statistics/reference.py computes the same from a run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.priming.errors import UsageError

Percent: TypeAlias = Annotated[float, Field(ge=0, le=100)]

NUMBERS = Path(__file__).with_suffix(".json")
"""The numbers of the full run: 2,500 samples of MS MARCO v1.1, Mistral-7B-Instruct-v0.2 in four bits."""

KNOWN_DIFFERENCES = (
    'Framing: in both, the baseline begins with "Document:", which harms it; that explains most of the published gain. '
    "To agree here is to repeat it, not to show that priming helps: compare with control/bare_document.",
    "Instructions: three of the five that ask for surrogates (symptom_scenario, misconception_negative, "
    "messy_realworld) carry further examples in the published run; here they are the walkthrough's.",
    "Precision: the published weights are NF4 and its logits bf16, so that an answer's summed NLL is rounded to a "
    "quarter of a nat between 32 and 64; here log-softmax is in float32, and the weights are what the profile says.",
    "Quotes: the published run strips them from the whole text and then takes the first line, which leaves strays; "
    "here the first line is taken first.",
    "Sampling: the published surrogates come from one global random state, here each has a seed of its own: the texts "
    "differ.",
)
"""What differs from the published run whatever the settings, or is shared with it and misleads in both."""


class _Frozen(BaseModel):
    # A file may hold more than is compared.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PublishedKey(_Frozen):
    """What was published of one surrogate of a family."""

    win_pct: Percent
    """Samples in which it is strictly better than the baseline (percent)."""
    mean_delta: float
    """Mean improvement over the baseline, nats per answer token."""
    times_routed: int = Field(ge=0)
    """Samples for which the router chose it."""
    times_oracle: int = Field(ge=0)
    """Samples for which it has the lowest NLL of its family."""


class PublishedNumbers(_Frozen):
    """What was published of a run; baseline, gen_routed, gen_oracle, static_routed and static_oracle are conditions."""

    source: str
    """Where it was printed."""
    inputs: dict[str, str | int] = {}
    """What it was computed from: language_model, data, data_config, min_words, max_words."""
    n: int = Field(ge=2)
    """Samples."""
    mean_nll: dict[str, float]
    """Per condition, nats per answer token."""
    std_nll: dict[str, Annotated[float, Field(ge=0)]]
    """Per condition, dividing by n."""
    win_pct_vs_baseline: dict[str, Percent]
    """Per condition (percent)."""
    mean_delta: dict[str, float]
    """Mean improvement over the baseline per condition, nats per answer token."""
    median_delta: dict[str, float]
    """Median improvement over the baseline per condition, nats per answer token."""
    cohens_d: dict[str, float]
    """Per condition: mean / standard deviation of the improvements, dividing by n - 1."""
    t: dict[str, float]
    """Paired t, as "gen_routed_vs_baseline" (positive: better than it) and "gen_vs_static(gen-static)" (negative:
    generated is better)."""
    gen_beats_static_pct: Percent
    """Samples in which generated routed is strictly better than static routed (percent)."""
    additional_improvement_gen_over_static: float
    """Mean NLL(static routed) - NLL(generated routed), nats per answer token."""
    routing_efficiency_pct: dict[str, float]
    """Per family (gen, static): mean improvement of the routed key / that of the best key (percent)."""
    per_template_generated: dict[str, PublishedKey]
    """Per key."""
    per_template_static: dict[str, PublishedKey]
    """Per key."""

    @model_validator(mode="after")
    def _counts_are_within_n(self) -> "PublishedNumbers":
        for key, numbers in (self.per_template_generated | self.per_template_static).items():
            if max(numbers.times_routed, numbers.times_oracle) > self.n:
                raise ValueError(f"{key} is routed or best in more samples than n = {self.n}")
        return self


def parse_numbers(text: str) -> PublishedNumbers:
    """Read published numbers from JSON.

    Raises:
        UsageError: It is no JSON, or a number is missing or impossible.
    """
    try:
        return PublishedNumbers.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(": ".join([*map(str, each["loc"]), each["msg"]]) for each in error.errors())
        raise UsageError(
            f"These are no published numbers: {problems}. "
            "tasks/priming/statistics/reference_numbers.json shows what such a file holds."
        ) from None


def other_inputs(published: PublishedNumbers, found: Mapping[str, object]) -> list[str]:
    """Say in which inputs a run differs from the published one: if in any, to agree says nothing about either.

    Args:
        published: What was published.
        found: The run's inputs, by the names in `published.inputs`.
    """
    if not published.inputs:
        return ["the file of published numbers does not say which model and data they come from"]
    return [
        f"{name} is {found.get(name)}, published {value}"
        for name, value in published.inputs.items()
        if found.get(name) != value
    ]
