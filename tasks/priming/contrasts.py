"""Which conditions are compared, declared by the names of families and keys alone, before any score is seen.

In: which arms were routed and scored. Out: the contrasts, and which of them are adjusted together. Families and their
keys are read from the rows; the controls are named here, each with the question that it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from tasks.priming.records import Route, Score

BASELINE = "baseline/document"
"""The condition that every surrogate must beat: the document's plain cache."""

BARE_DOCUMENT = "control/bare_document"
RANDOM_WORDS = "control/random_words"
ADDED_UP = "control/hidden_and_blind_added_up"
"""What hiding the surrogate from the query and from the passage would give together if the two did not interact."""

TWO_BY_TWO = ("control/hidden_surrogate", "control/blind_passage", "control/blank_surrogate")
"""The passage alone sees the surrogate, the query alone does, there is none to see; both see target_question."""

CONTROL_CONTRASTS: tuple[tuple[str, str], ...] = (
    (BASELINE, BARE_DOCUMENT),  # what the framing does
    ("control/repeated_baseline", BASELINE),  # what is noise
    ("generated/target_question", "control/blank_surrogate"),  # what any text adds to the template
    ("generated/target_question", RANDOM_WORDS),  # what its content adds to any text
    ("generated/target_question", "control/shuffled_surrogate"),  # what the order of its words adds
    ("generated/target_question", "control/other_document"),  # what its being about this passage adds
    ("generated/target_question", "control/actual_query"),  # how far it is from a perfect guess
    # Two by two: does the passage see the surrogate, does the query?
    ("control/hidden_surrogate", "control/blank_surrogate"),  # what the passage's representations gain
    ("control/blind_passage", "control/blank_surrogate"),  # what the query gains from reading it
    ("generated/target_question", "control/hidden_surrogate"),
    ("generated/target_question", "control/blind_passage"),
    ("generated/target_question", ADDED_UP),  # their interaction
)
"""(arm, reference) of the comparisons that tell a gain from its causes; each is made where both were scored."""

HOLM_FAMILIES = {
    "routed": "primary",
    "between_families": "primary",
    "fixed_arm": "fixed arms",
    "routing": "routing",
    "control": "controls",
}
"""Kind of comparison -> the declared set that Holm's adjustment is over. An oracle is in none: it is no test."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two conditions that are compared, declared before any score is seen."""

    comparison: str
    """Readable name; with the seed it fixes the bootstrap's resamples."""
    kind: str
    """routed, between_families, fixed_arm, routing, control or oracle."""
    arm: str
    """The condition in question."""
    reference: str
    """The condition it is compared with."""


def declare_contrasts(routes: Iterable[Route], scores: Iterable[Score] = ()) -> list[Contrast]:
    """List the contrasts that the routed families and the controls call for, by the names of families and keys alone.

    Names are in alphabetical order, so that the order of rows decides neither the list nor which of two families is
    the reference: "generated routed vs static routed".
    """
    arms = sorted({(route.family, route.key) for route in routes})
    families = sorted({family for family, _ in arms})
    scored = {f"{score.family}/{score.key}" for score in scores}
    scored |= {ADDED_UP} if scored >= set(TWO_BY_TWO) else set()
    return [
        *(Contrast(f"{name} routed vs baseline", "routed", f"{name}/routed", BASELINE) for name in families),
        *(
            Contrast(f"{name} routed vs {control.split('/')[1]}", "routed", f"{name}/routed", control)
            for control in (BARE_DOCUMENT, RANDOM_WORDS)
            for name in families
            if control in scored
        ),
        *(
            Contrast(f"{arm} routed vs {reference} routed", "between_families", f"{arm}/routed", f"{reference}/routed")
            for arm, reference in combinations(families, 2)
        ),
        *(Contrast(f"{name}/{key} vs baseline", "fixed_arm", f"{name}/{key}", BASELINE) for name, key in arms),
        *(
            Contrast(f"{name} routed vs {other} {condition}", "routing", f"{name}/routed", f"{other}/{condition}")
            for name in families
            for other, condition in [(name, "mean_of_keys"), *((each, "best_key") for each in families)]
        ),
        *(
            Contrast(f"{arm} vs {reference}", "control", arm, reference)
            for arm, reference in CONTROL_CONTRASTS
            if {arm, reference} <= scored
        ),
        *(Contrast(f"{name} oracle vs baseline", "oracle", f"{name}/oracle", BASELINE) for name in families),
    ]
