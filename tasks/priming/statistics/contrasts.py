"""Which conditions are compared, and the question that each comparison answers, declared before any score is seen.

In: the names of what was routed and scored. Out: the contrasts. Those of one question are a family: their p-values and
intervals are adjusted for its size, and the question's answer rests on nothing else. Families of arms and their keys
are read from the rows; what is compared with what stands in the tables below.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, TypeAlias

from tasks.priming.statistics.run_data import RunData


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a run answers. Its key is the name of its view, too."""

    title: str
    """The question in a few words."""
    rows: str
    """What it asks exactly, and what each row of its view stands for."""


QUESTIONS = {
    "should_i_prime": Question(
        "Should I prime?",
        "Which condition should be deployed? One row per condition that could be, the cheapest first. The answer is "
        "the first that is close to the best, if it is shown to beat the document alone.",
    ),
    "does_priming_help": Question(
        "Does priming help?",
        "Does a routed surrogate beat no surrogate? One row per family and treatment. Yes only if it beats the "
        "baseline, the bare document and random words, and prefers the answer to wrong ones more than before: a gain "
        "over the baseline alone may be repaired framing.",
    ),
    "do_answers_and_likelihood_agree": Question(
        "Do written answers and likelihood agree?",
        "Do the answers that the model writes change as the likelihood of the known answer does? One row per "
        "comparison of a routed family with the document alone; F1 and recall in percentage points.",
    ),
    "is_generated_better_than_static": Question(
        "Is generated better than static?",
        "Does the surrogate that a language model wrote beat the fixed phrase, each routed within its family, and the "
        "best single phrase? One row per treatment and opponent.",
    ),
    "is_generation_worth_its_compute": Question(
        "Is generation worth its compute?",
        "Do routed surrogates that a language model wrote beat the best of the conditions for which nothing is "
        "written, by more than the margin? One row per treatment. Yes if the whole interval lies above the margin, no "
        "if it lies below, else undecided.",
    ),
    "does_the_content_matter": Question(
        "Does the content of the surrogate matter?",
        "Is it the content of the surrogate that helps: its words, their order, the passage they are about? One row "
        "per question that a control answers; asked only where a gain over the document alone is shown.",
    ),
    "does_the_framing_matter": Question(
        "Does the framing of the document matter?",
        'Does "Document:" before the passage help a document without a surrogate? One row.',
    ),
    "where_does_a_gain_arise": Question(
        "Where does a gain arise?",
        "Does a gain arise in the passage's representations or in reading the surrogate? One row per cell of the two "
        "by two of what sees the surrogate; asked only where a gain over the document alone is shown.",
    ),
    "should_the_surrogate_be_dropped": Question(
        "Should the surrogate be dropped from the cache?",
        "Is a cache better from which the surrogate was dropped? One row per family.",
    ),
    "does_reading_twice_help": Question(
        "Does reading the passage twice help?",
        "Does the passage before itself help? One row per treatment.",
    ),
    "does_routing_help": Question(
        "Does routing by similarity help?",
        "Does routing by similarity beat a key drawn at random, and the family's best single key? One row per family, "
        "treatment and alternative.",
    ),
    "could_a_gain_be_seen": Question(
        "Could this run have shown a gain?",
        "Could this run have shown a gain? Where the answer is given it must be more probable by more than the "
        "margin, and without the passage less probable; without that, no answer is a plain no.",
    ),
}
"""Key -> question, in the order in which answers are shown. The first is the one that the run as a whole answers."""

HEADLINE = "should_i_prime"

BASELINE = "baseline/document"
"""The condition that every surrogate must beat: the document's plain cache."""

BARE_DOCUMENT = "control/bare_document"
PLAIN = (BASELINE, BARE_DOCUMENT)
"""The document with nothing before it, with and without "Document:"."""

BLANK_SURROGATE = "control/blank_surrogate"
RANDOM_WORDS = "control/random_words"
ACTUAL_QUERY = "control/actual_query"
TARGET_QUESTION = "generated/target_question"
REPEATED_BASELINE = "control/repeated_baseline"
"""The baseline's context, scored once more in other batches."""

ANSWER_GIVEN = "control/answer_given"
"""The query and its answer in the surrogate's place: what a run that can show a gain must find better."""

NO_PASSAGE = "control/no_passage"
"""The query without a document: what a model that reads must find worse."""

HIDDEN, BLIND, MASKED = (f"{TARGET_QUESTION}+{treatment}" for treatment in ("hidden", "blind", "masked"))
TWO_BY_TWO = (HIDDEN, BLIND, MASKED)
"""Only the passage sees the surrogate; only the query does; neither does. Both see it in TARGET_QUESTION."""

ADDED_UP = f"{TARGET_QUESTION}+added_up"
"""What hiding the surrogate from the query and from the passage would give together if the two did not interact."""

DEPLOYED_TREATMENTS = ("", "+stripped")
"""How the names of conditions end that somebody could deploy; the other treatments tell where a gain arises."""

WRITTEN_FAMILY = "generated"
"""The routed family whose surrogates a language model writes: what has to be worth its compute."""

STATIC_FAMILY = "static"
"""The routed family whose surrogates are fixed phrases."""

BEST_FREE = "free/best_arm"
"""The best of the conditions for which nothing is written."""

Kind: TypeAlias = Literal[
    "routed", "between_families", "best_of", "single", "routing", "treatment", "control", "assay", "oracle"
]

_ROUTED = f"{WRITTEN_FAMILY}/routed{{t}}"
_TARGET = f"{TARGET_QUESTION}{{t}}"

_PAIRS: dict[str | None, tuple[tuple[Kind, str, str, str], ...]] = {
    "does_priming_help": (
        ("routed", "{family}/routed{t}", BASELINE, "{family}{t}"),
        ("routed", "{family}/routed{t}", BARE_DOCUMENT, "{family}{t}"),
    ),
    "is_generated_better_than_static": (
        ("between_families", _ROUTED, f"{STATIC_FAMILY}/routed{{t}}", "generated{t}"),
        ("best_of", _ROUTED, f"{STATIC_FAMILY}/best_key{{t}}", "generated{t} over the best single phrase"),
    ),
    "is_generation_worth_its_compute": (("best_of", _ROUTED, BEST_FREE, "generated{t}"),),
    "does_the_content_matter": (
        ("routed", "{family}/routed{t}", f"{RANDOM_WORDS}{{t}}", "Does {family}{t} routed do more than random words?"),
        ("control", _TARGET, f"{BLANK_SURROGATE}{{t}}", "Does a surrogate help the template without one?"),
        ("control", _TARGET, f"{RANDOM_WORDS}{{t}}", "Does it do more than random words?"),
        ("control", _TARGET, "control/shuffled_surrogate{t}", "Does the order of its words help?"),
        ("control", _TARGET, "control/other_document{t}", "Does it help that it is about this passage?"),
    ),
    "does_the_framing_matter": (
        ("control", BASELINE, BARE_DOCUMENT, "Does the framing help a document without a surrogate?"),
    ),
    "where_does_a_gain_arise": (  # two by two: does the passage see the surrogate, does the query?
        ("control", HIDDEN, MASKED, "Do the passage's representations gain from it, if the query does not see it?"),
        ("control", BLIND, MASKED, "Does the query gain from reading it, if the passage does not see it?"),
        ("control", TARGET_QUESTION, HIDDEN, "Does the query's sight of it add to the passage's?"),
        ("control", TARGET_QUESTION, BLIND, "Does the passage's sight of it add to the query's?"),
        ("control", TARGET_QUESTION, ADDED_UP, "Do the two gains do more together than added up? (their interaction)"),
    ),
    "should_the_surrogate_be_dropped": (
        ("treatment", "{family}/routed+stripped", "{family}/routed", "{family}, routed"),
    ),
    "does_reading_twice_help": (("control", "free/echo{t}", BARE_DOCUMENT, "the passage before itself"),),
    "does_routing_help": (
        ("routing", "{family}/routed{t}", "{family}/mean_of_keys{t}", "{family}{t} over a key drawn at random"),
        ("best_of", "{family}/routed{t}", "{family}/best_key{t}", "{family}{t} over its best single key"),
    ),
    "could_a_gain_be_seen": (
        ("assay", f"{ANSWER_GIVEN}{{t}}", BARE_DOCUMENT, "Is an answer more probable where it is given?"),
        ("assay", NO_PASSAGE, BASELINE, "Is it less probable without the passage?"),
    ),
    None: (  # explored: no answer rests on these
        ("control", _TARGET, f"{ACTUAL_QUERY}{{t}}", "How far does it fall short of a perfect guess?"),
        ("control", REPEATED_BASELINE, BASELINE, "Does scoring the same again, in other batches, change anything?"),
        ("oracle", "{family}/oracle{t}", BASELINE, "{family}{t}: its best key, known afterwards"),
    ),
}  # fmt: skip
"""Question -> kind, arm, reference and subject of its comparisons. {family} stands for each routed family, {t} for each
deployed treatment. A comparison is made where both sides were scored."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two conditions that are compared, declared before any score is seen."""

    question: str | None
    """The question that rests on it, a key of QUESTIONS; None where it is explored, or an oracle's."""
    kind: Kind
    """routed, between_families, best_of (the reference is the best of several conditions), single (one deployable
    condition), routing, treatment, control, assay (whether the run could show anything) or oracle."""
    arm: str
    """The condition in question."""
    reference: str
    """The condition it is compared with."""
    subject: str
    """What it asks, or of what its question is asked."""
    among: tuple[str, ...] = ()
    """Of kind best_of: the conditions of which the best is the reference."""

    @property
    def comparison(self) -> str:
        """Its readable name, unique in a run."""
        return f"{_shown(self.arm)} vs {_shown(self.reference)}"


def declare_contrasts(run: RunData) -> list[Contrast]:
    """List the contrasts that a run's conditions call for, from their names alone, by question.

    Every deployable condition is compared with the document alone, with and without its framing: for should_i_prime,
    unless another question holds that pair. Two routed families that no question names are compared as explored. Names
    are in alphabetical order, so that the order of rows decides neither the list nor which of two families is the
    reference.
    """
    families, known = [*run.keys], _known_conditions(run)
    could_be_deployed = deployable(run)
    single = [
        Contrast(HEADLINE, "single", arm, reference, arm)
        for arm in could_be_deployed
        for reference in PLAIN
        if arm not in PLAIN and reference in known
    ]
    between = [
        Contrast(None, "between_families", f"{name}/routed{t}", f"{other}/routed{t}", f"{name}{t}")
        for name, other in combinations(families, 2)
        for t in treatments_of(run)
        if {f"{name}/routed{t}", f"{other}/routed{t}"} <= known
    ]
    best = {BEST_FREE: tuple(name for name in could_be_deployed if _is_free(name))}
    for family, t in product(families, treatments_of(run)):
        best[f"{family}/best_key{t}"] = tuple(f"{family}/{key}{t}" for key in run.keys[family])
    asked = [
        Contrast(question, kind, arm, reference, subject, best.get(reference, ()))
        for question, pairs in _PAIRS.items()
        for kind, *texts in pairs
        for arm, reference, subject in _filled(texts, families, treatments_of(run))
        if arm in known and (set(best[reference]) if reference in best else {reference}) <= known
        if best.get(reference) != ()
    ]
    declared = {(contrast.arm, contrast.reference): contrast for contrast in [*single, *between, *asked]}
    order = [*QUESTIONS, None]
    return sorted(declared.values(), key=lambda contrast: order.index(contrast.question))


def deployable(run: RunData) -> list[str]:
    """Return the conditions that can be built for a document before any query is known, the document alone first.

    Other controls than these need the query, withhold a text that was paid for, or are the baseline once more.
    """
    known = _known_conditions(run)
    controls = {f"{name}{t}" for name in (BLANK_SURROGATE, RANDOM_WORDS) for t in DEPLOYED_TREATMENTS}
    others = [
        name
        for name in sorted(known)
        if (name in controls or not name.startswith(("baseline/", "control/")))
        and not re.search("/(mean_of_keys|oracle)", name)
        and treatment_of(name) in treatments_of(run)
    ]
    return [*(name for name in PLAIN if name in known), *others]


def treatments_of(run: RunData) -> tuple[str, ...]:
    """Return the deployed treatments of a run: without a first token, stripping drops the attention sink as well."""
    has_first_token = run.model is None or run.model.first_token is not None
    return DEPLOYED_TREATMENTS if has_first_token else DEPLOYED_TREATMENTS[:1]


def treatment_of(condition: str) -> str:
    """Return how a condition's name ends: nothing where the whole context is kept, else e.g. "+stripped"."""
    return "".join(condition.partition("+")[1:])


def _is_free(condition: str) -> bool:
    """Return whether nothing is written for a deployable condition: no surrogate, a fixed phrase, or a free text."""
    return condition in PLAIN or condition.startswith((BLANK_SURROGATE, f"{STATIC_FAMILY}/", "free/"))


def _known_conditions(run: RunData) -> set[str]:
    """Return the names of what was scored and of what can be made of it."""
    known = set(run.scored_conditions)
    for (family, keys), t in product(run.keys.items(), treatments_of(run)):
        if {f"{family}/{key}{t}" for key in keys} <= known:
            known |= {f"{family}/{name}{t}" for name in ("routed", "mean_of_keys", "oracle")}
    return known | ({ADDED_UP} if known >= {TARGET_QUESTION, *TWO_BY_TWO} else set())


def _filled(texts: Sequence[str], families: Sequence[str], treatments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield arm, reference and subject for each family and treatment that they name."""
    told = "".join(texts)
    for family in families if "{family}" in told else ("",):
        for t in treatments if "{t}" in told else ("",):
            arm, reference, subject = (text.format(family=family, t=t) for text in texts)
            yield arm, reference, subject if t in subject else f"{subject} ({t[1:]})"


def _shown(condition: str) -> str:
    """Return a condition as comparisons name it."""
    if condition in _NAMES:
        return _NAMES[condition]
    family, _, name = condition.removeprefix("control/").rpartition("/")
    is_chosen = name.startswith(("routed", "mean_of_keys", "best_key", "oracle"))
    return f"{family} {name}" if is_chosen else condition.removeprefix("control/")


_NAMES = {BASELINE: "baseline", BEST_FREE: "best free condition"}
