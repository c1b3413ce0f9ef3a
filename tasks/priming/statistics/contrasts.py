"""Which conditions are compared, declared by the names of families and keys alone, before any score is seen.

In: which arms were routed and scored. Out: the contrasts, and which of them are adjusted together. Families and their
keys are read from the rows; the controls are named here, each with the question that it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from tasks.priming.records import Route, Score, condition_name

BASELINE = "baseline/document"
"""The condition that every surrogate must beat: the document's plain cache."""

BARE_DOCUMENT = "control/bare_document"
BLANK_SURROGATE = "control/blank_surrogate"
RANDOM_WORDS = "control/random_words"
TARGET_QUESTION = "generated/target_question"
REPEATED_BASELINE = "control/repeated_baseline"
"""The baseline's context, scored once more in other batches."""

ADDED_UP = condition_name("generated", "target_question", "hidden_and_blind_added_up")
"""What hiding the surrogate from the query and from the passage would give together if the two did not interact."""

HIDDEN_SURROGATE = condition_name("generated", "target_question", "hidden")
BLIND_PASSAGE = condition_name("generated", "target_question", "blind")
MASKED_SURROGATE = condition_name("generated", "target_question", "masked")

TWO_BY_TWO = (HIDDEN_SURROGATE, BLIND_PASSAGE, MASKED_SURROGATE)
"""Only the passage sees the surrogate; only the query does; neither does. Both see it in TARGET_QUESTION."""

CONTROL_CONTRASTS: dict[tuple[str, str], str] = {
    (BASELINE, BARE_DOCUMENT): "Does the framing help a document without a surrogate?",
    (REPEATED_BASELINE, BASELINE): (
        "Does scoring the same again, in other batches, change anything? (exactly 0 where scores do not depend on the "
        "batch)"
    ),
    (TARGET_QUESTION, BLANK_SURROGATE): "Does a surrogate help the template without one?",
    (TARGET_QUESTION, RANDOM_WORDS): "Does it do more than random words?",
    (TARGET_QUESTION, "control/shuffled_surrogate"): "Does the order of its words help?",
    (TARGET_QUESTION, "control/other_document"): "Does it help that it is about this passage?",
    (TARGET_QUESTION, "control/actual_query"): "Is it better than a perfect guess? (negative: how far it falls short)",
    # Two by two: does the passage see the surrogate, does the query?
    (HIDDEN_SURROGATE, MASKED_SURROGATE): (
        "Do the passage's representations gain from it, if the query does not see it?"
    ),
    (BLIND_PASSAGE, MASKED_SURROGATE): "Does the query gain from reading it, if the passage does not see it?",
    (TARGET_QUESTION, HIDDEN_SURROGATE): "Does the query's sight of it add to the passage's?",
    (TARGET_QUESTION, BLIND_PASSAGE): "Does the passage's sight of it add to the query's?",
    (TARGET_QUESTION, ADDED_UP): "Do the two gains do more together than added up? (their interaction)",
}
"""(arm, reference) of the comparisons that tell a gain from its causes -> the question that each answers. A comparison
is made where both sides were scored."""

WRITTEN_FAMILY = "generated"
"""The routed family whose surrogates a language model writes: what has to be worth its compute."""

FREE_FAMILY = "static"
"""The routed family whose surrogates cost nothing."""

BEST_FREE_ARM = "free/best_arm"
"""The arm that is best on other passages among those for which nothing is written."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two conditions that are compared, declared before any score is seen."""

    comparison: str
    """Readable name; with the seed it fixes the bootstrap's resamples."""
    kind: str
    """routed, between_families, fixed_arm, routing, control, worth or oracle."""
    arm: str
    """The condition in question."""
    reference: str
    """The condition it is compared with."""
    is_primary: bool = False
    """Whether the experiment was made for it: Holm's adjustment covers these; the others are exploratory."""

    @property
    def adjustment(self) -> str | None:
        """How its p-value is adjusted; None for an oracle, which is no test."""
        if self.kind == "oracle":
            return None
        return "holm" if self.is_primary else "benjamini_hochberg"


def declare_contrasts(routes: Iterable[Route], scores: Iterable[Score] = ()) -> list[Contrast]:
    """List the contrasts that the routed families and the controls call for, from the names of families and keys alone.

    With the families and controls of the experiment, five are primary: each routed family against the baseline and the
    bare document, and generated routed against the best single static key. Names are in alphabetical order, so that the
    order of rows decides neither the list nor which of two families is the reference.
    """
    arms = sorted({(route.family, route.key) for route in routes})
    families = sorted({family for family, _ in arms})
    pairs = list(combinations(families, 2))
    scored = {score.condition for score in scores}
    scored |= {ADDED_UP} if scored >= set(TWO_BY_TWO) else set()

    def routed(name: str, reference: str, shown: str, *, is_primary: bool = False, kind: str = "routed") -> Contrast:
        return Contrast(f"{name} routed vs {shown}", kind, f"{name}/routed", reference, is_primary)

    return [
        *(routed(name, BASELINE, "baseline", is_primary=True) for name in families),
        *(
            routed(name, control, control.split("/")[1], is_primary=control == BARE_DOCUMENT)
            for control in (BARE_DOCUMENT, RANDOM_WORDS)
            for name in families
            if control in scored
        ),
        *(
            routed(name, f"{other}/{condition}", f"{other} {condition}", is_primary=primary, kind="between_families")
            for name, other in pairs
            for condition, primary in (("routed", False), ("best_key", True))
        ),
        *(routed(name, BEST_FREE_ARM, "best free arm", kind="worth") for name in families if name == WRITTEN_FAMILY),
        *(Contrast(f"{name}/{key} vs baseline", "fixed_arm", f"{name}/{key}", BASELINE) for name, key in arms),
        *(
            routed(name, f"{name}/{condition}", condition, kind="routing")
            for name in families
            for condition in ("mean_of_keys", "best_key")
        ),
        *(
            Contrast(f"{arm} vs {reference}", "control", arm, reference)
            for arm, reference in CONTROL_CONTRASTS
            if {arm, reference} <= scored
        ),
        *(Contrast(f"{name} oracle vs baseline", "oracle", f"{name}/oracle", BASELINE) for name in families),
    ]


def free_arms(scored: Iterable[str]) -> list[str]:
    """Return the given conditions for which nothing is written: fixed phrases, routed or not, and no surrogate."""
    names = set(scored)
    without = [name for name in (BASELINE, BARE_DOCUMENT, BLANK_SURROGATE) if name in names]
    derived = {f"{FREE_FAMILY}/{name}" for name in ("oracle", "mean_of_keys", "best_key")}
    return without + sorted(name for name in names - derived if name.startswith(f"{FREE_FAMILY}/"))
