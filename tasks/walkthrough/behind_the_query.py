"""What happens when a query comes, told: scoring, the answer token by token, routing, and the three results.

In: a walk. Out: blocks. Numbers are rounded here and computed elsewhere.
"""

import math
from collections.abc import Iterator

from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, Verbatim, correction, paragraph
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Score
from tasks.walkthrough.published import read_published
from tasks.walkthrough.walk import BASELINE, Walk

_DECIMALS = 4


def tell_scoring(walk: Walk) -> Iterator[Block]:
    """Tell what scoring is, the NLLs of the three caches, and what the notebook's function does."""
    yield Heading("5. Scoring: how likely the answer is behind each cache")
    yield paragraph("Behind a cache come the query and the cue for the answer,")
    yield Verbatim(query_prompt(walk.sample.query))
    yield paragraph(
        "and then the answer. The NLL of a token is -ln of the probability that the model gives it, in nats; that of "
        "the answer is the mean over its tokens, the first included. Lower is better; an improvement is the baseline's "
        "NLL minus this one."
    )
    scores = [score for arm in routed_arms(walk) if (score := walk.here.score(arm)) is not None]
    rows: list[tuple[Part, ...]] = [
        (arm_of(score), _number(score.nll), improvement(walk, score), _number(score.nll_notebook)) for score in scores
    ]
    yield Table(("cache", "NLL", "improvement", "first token left out"), tuple(rows))
    yield from _missing(scores)
    yield correction(
        "The notebook leaves out the first answer token: it reads the logits of the answer's pass, which predict the "
        "second token on. The last column is its reading. An answer of one token is perfect by it, 0.0000."
    )
    yield from _rounding(walk)
    yield from _second_use(walk)


def tell_tokens(walk: Walk) -> Iterator[Block]:
    """Tell the probability of every answer token behind the three caches."""
    yield Heading("6. The answer, token by token")
    scores = {arm: walk.here.score(arm) for arm in routed_arms(walk)}
    known = {arm: score.token_nlls for arm, score in scores.items() if score.status == "ok" and score.token_nlls}
    if not known:
        yield paragraph("No cache has a score for this answer.")
        return
    rows: list[tuple[Part, ...]] = []
    for number, token in enumerate(walk.here.score(BASELINE).answer_tokens):
        nlls = {arm: values[number] for arm, values in known.items()}
        cells = (f"{_probability(nll)} ({nll:.3f})" for nll in nlls.values())
        rows.append((Quoted(token), *cells, _lowest(nlls)))
    means = {arm: sum(values) / len(values) for arm, values in known.items()}
    rows.append(("mean NLL", *(_number(mean) for mean in means.values()), _lowest(means)))
    names = ", ".join(known)
    yield paragraph(f"Behind {names}: each token's probability, and in brackets its NLL.")
    yield Table(("token", *(arm.partition("/")[0] for arm in known), "best"), tuple(rows))
    yield correction(
        "The notebook's table lacks the first token, and ends with mean probabilities, which are not what is compared. "
        "It comes from caches that had been scored before, so its numbers are not set beside these."
    )


def tell_routing(walk: Walk) -> Iterator[Block]:
    """Tell which arm the router takes in each family, and how all arms turn out."""
    yield Heading("7. Routing: which cache a query is sent to")
    yield paragraph(
        "In each family the query goes to the cache whose surrogate is most similar to it. What the others would have "
        "given is known here, since all are scored:"
    )
    scored = [score for score in walk.here.scores if score.nll is not None]
    best = {
        family: min((s for s in scored if s.family == family), key=lambda s: s.nll or 0.0, default=None)
        for family in ("static", "generated")
    }
    rows: list[tuple[Part, ...]] = []
    for score in walk.here.scores:
        arm = arm_of(score)
        marks = {"routed": arm == walk.here.routed(score.family), "lowest NLL": score is best.get(score.family)}
        mark = ", ".join(name for name, applies in marks.items() if applies)
        rows.append((arm, mark, _number(walk.here.similarities.get(arm)), _number(score.nll), improvement(walk, score)))
    yield Table(("arm", "", "similarity", "NLL", "improvement"), tuple(rows), text_columns=2)
    yield correction(
        'The notebook marks two static phrases as "ROUTE HERE": it compares each with the highest similarity so far. '
        "It routes rightly all the same."
    )


def tell_results(walk: Walk) -> Iterator[Block]:
    """Tell the three results, and what one sample does not say."""
    yield Heading("8. Three results")
    names = {"Baseline": BASELINE, "Static, routed": walk.here.routed("static")}
    names |= {"Generated, routed": walk.here.routed("generated")}
    rows: list[tuple[Part, ...]] = []
    nlls: dict[str, float] = {}
    for name, arm in names.items():
        score = walk.here.score(arm) if arm else None
        key = "-" if arm in (None, BASELINE) else str(arm).partition("/")[2]
        rows.append((name, key, _number(score.nll if score else None), improvement(walk, score) if score else "-"))
        if score and score.nll is not None:
            nlls[name] = score.nll
    yield Table(("condition", "routed to", "NLL", "improvement"), tuple(rows), text_columns=2)
    yield from _beside_the_notebook(walk)
    if nlls:
        yield paragraph(f"The lowest NLL here: {min(nlls, key=lambda name: nlls[name])}.")
    yield paragraph(
        "One sample says nothing about whether priming helps, or whether generating pays. An experiment compares many, "
        "in pairs, with controls and intervals:"
    )
    yield Verbatim(f"python -m flows.experiment --profile {walk.profile}")


def routed_arms(walk: Walk) -> list[str]:
    """Return the baseline and the arm that the router takes in each family."""
    routed = (walk.here.routed("static"), walk.here.routed("generated"))
    return [BASELINE, *(arm for arm in routed if arm)]


def arm_of(score: Score) -> str:
    """Return the arm of a score, written family/key."""
    return f"{score.family}/{score.key}"


def improvement(walk: Walk, score: Score) -> str:
    """Return how much lower an NLL is than the baseline's."""
    baseline = walk.here.score(BASELINE).nll
    if baseline is None or score.nll is None or arm_of(score) == BASELINE:
        return "-"
    return f"{baseline - score.nll:+.{_DECIMALS}f}"


def _missing(scores: list[Score]) -> Iterator[Block]:
    for score in scores:
        if score.status != "ok":
            yield paragraph(f"{arm_of(score)} has no score: {score.status.replace('_', ' ')}.")


def _rounding(walk: Walk) -> Iterator[Block]:
    """Tell what the sum of NLLs becomes in the notebook's number format."""
    from tasks.priming.notebook import in_bfloat16

    nlls = walk.here.score(BASELINE).token_nlls
    if not nlls or len(nlls) < 2:
        return
    count = len(nlls) - 1
    exact = sum(nlls[1:])
    rounded = in_bfloat16(exact)
    yield correction(
        "The notebook's losses came out in bfloat16, which keeps 8 binary digits: its three sums are 35.5, 29.5 and "
        "32.75 exactly, in steps of 0.25 or 0.02 per token, half of the gap that its full run finds between generated "
        f"and static. Here NLLs are float32 whatever the model's format. The baseline's sum of {exact:.4f} would have "
        f"become {rounded:g}, its mean {rounded / count:.4f} instead of {exact / count:.4f}."
    )


def _second_use(walk: Walk) -> Iterator[Block]:
    """Tell what scoring does to a cache: nothing here, in the notebook a great deal."""
    theirs = walk.inspection.notebook_scores
    ours = [None if nlls is None else sum(nlls) / len(nlls) for nlls in walk.inspection.scored_twice]
    published = read_published()
    yield correction(
        "The notebook's function changes the cache that it scores: transformers appends to a cache even with "
        "use_cache=False. The second time, the query stands behind the first one and the whole gold answer. On the "
        f"notebook's model this turned {_number(published.nll[BASELINE])} into {_number(published.second_use_nll)}, in "
        "the cells that explain the metric. The same function on this model, and ours, behind one cache of the "
        "baseline each:"
    )
    rows: list[tuple[Part, ...]] = []
    for number, nll in enumerate(ours):
        cells = ("-", "-")
        if number < len(theirs):
            cells = f"{theirs[number].tokens_before} to {theirs[number].tokens_after}", _number(theirs[number].nll)
        rows.append((f"{number + 1}.", *cells, _number(nll)))
    yield Table(("use", "notebook's cache, tokens", "its NLL (no first token)", "ours (all tokens)"), tuple(rows))


def _beside_the_notebook(walk: Walk) -> Iterator[Block]:
    """Set our NLLs beside the notebook's, where the model is the same."""
    if walk.notebook is None:
        return
    published, theirs = walk.notebook.published, walk.notebook.guesses
    if not published.has_its_model(walk.models.language_model["language_model"]):
        yield paragraph(
            f"The notebook's three NLLs are those of {published.language_model} and are not set beside these: NLLs of "
            "two models cannot be compared."
        )
        return
    yield paragraph(
        "With the notebook's own surrogates, and as it counts (the first token left out, each cache fresh):"
    )
    scores = {arm_of(score): score for score in (*walk.here.scores, *theirs.scores)}
    rows: list[tuple[Part, ...]] = [
        (arm, _number(scores[arm].nll_notebook), _number(nll)) for arm, nll in published.nll.items()
    ]
    yield Table(("condition", "NLL", "notebook"), tuple(rows))
    quantization = walk.models.language_model["quantization"]
    if quantization != published.quantization:
        yield paragraph(f"The notebook's weights were in 4 bits ({published.quantization}), these: {quantization}.")


def _lowest(values: dict[str, float]) -> str:
    """Return the family of the lowest value; of none where two are equally low."""
    low = min(values.values())
    found = [arm.partition("/")[0] for arm, value in values.items() if value == low]
    return found[0] if len(found) == 1 else "equal"


def _probability(nll: float) -> str:
    probability = math.exp(-nll)
    return f"{probability:.{_DECIMALS}f}" if probability >= 10**-_DECIMALS else f"{probability:.0e}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{_DECIMALS}f}"
