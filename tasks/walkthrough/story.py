"""The walkthrough told from beginning to end, step by step as the notebook does.

In: a walk. Out: blocks, for the terminal and for the UI. Numbers are rounded here and computed elsewhere.
"""

import math
from collections.abc import Iterator

from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, Verbatim, correction, paragraph
from tasks.pages.numbers import in_form
from tasks.pages.texts import clipped
from tasks.priming.answers import TOKEN_LIMIT
from tasks.priming.prompts import query_prompt
from tasks.priming.records import AnswerText, Score, Surrogate
from tasks.walkthrough.walk import BASELINE, Guesses, Walk, read_published

_PASSAGE_CHARACTERS = 120
_DECIMALS = 4


def tell(walk: Walk) -> list[Block]:
    """Return the whole walkthrough."""
    steps = (
        _opening,
        _data_point,
        _surrogates,
        _contexts,
        _caches,
        _scoring,
        _tokens,
        _answers,
        _routing,
        _results,
    )
    return [block for step in steps for block in step(walk)]


def _opening(walk: Walk) -> Iterator[Block]:
    model = walk.language_model
    weights = model["dtype"] if model["quantization"] == "none" else f"{model['quantization']}, {model['dtype']}"
    yield Heading("A walk through one sample")
    yield paragraph(
        "Language model ",
        Quoted(model["language_model"]),
        f" ({walk.inspection.facts.parameter_count:,} parameters, {weights}, on {model['device_name']}); embedding "
        "model ",
        Quoted(walk.embedding_model["embedding_model"]),
        ".",
    )
    if walk.theirs:
        yield paragraph(
            'The sample is the notebook\'s own example. What the notebook printed about it is shown under "notebook", '
            f"next to ours; its model was {read_published().language_model} in 4 bits."
        )
    else:
        yield paragraph(
            f"The sample is number {walk.number} of those that an experiment with profile {walk.profile} draws from ",
            Quoted(walk.settings.data.data),
            f" (seed {walk.settings.seed}).",
        )
    yield paragraph('Where the notebook is wrong, a line says so; it begins with "Corrected".')


def _data_point(walk: Walk) -> Iterator[Block]:
    yield Heading("1. The data point")
    texts = {
        "The passage, whose cache is built": walk.sample.passage,
        "The query, what the user asks": walk.sample.query,
        "The answer, which is scored": walk.sample.answer,
    }
    for caption, text in texts.items():
        count = len(text.split())
        yield paragraph(f"{caption} ({count} {'word' if count == 1 else 'words'}):")
        yield Verbatim(text)


def _surrogates(walk: Walk) -> Iterator[Block]:
    yield Heading("2. Surrogates, and how similar they are to the query")
    yield paragraph(
        "A surrogate is a guess at the query, written before the query is known. The static ones are five phrases, the "
        "same for every passage. The generated ones are written for this passage by the language model, each from an "
        "instruction of its own. Similarity is the cosine of two sentence embeddings."
    )
    yield _surrogate_table(walk.here, "static", "static phrase", is_published=walk.theirs is not None)
    yield _surrogate_table(walk.here, "generated", "generated here", is_published=False)
    everyone = walk.here.surrogates
    if walk.theirs:
        everyone = [*everyone, *walk.theirs.surrogates]
        yield _surrogate_table(walk.theirs, "generated", "the notebook's", is_published=True)
        published = read_published().similarities
        ours = {**walk.here.similarities, **walk.theirs.similarities}
        same = sum(_number(ours[arm]) == _number(value) for arm, value in published.items())
        kept = sum(not surrogate.is_over_word_limit for surrogate in walk.theirs.surrogates)
        yield paragraph(
            f"{same} of {len(published)} similarities are the notebook's to {_DECIMALS} decimals. Of its "
            f"{len(walk.theirs.surrogates)} generated surrogates, {kept} has no more words than its instruction allows."
        )
    if any(map(_remarks, everyone)):
        yield paragraph(
            "Too long: more words than its instruction allows. Cut off: stopped by the limit on tokens. Marks: "
            "quotation marks, or an explanation in brackets, that nobody types into a search box."
        )
    yield correction(
        "The notebook strips quotation marks from everything that the model wrote, and only then takes the first line; "
        "so a mark at the end of that line stays if another line followed. Here the first line is taken first."
    )
    yield correction(
        "The notebook writes BOS twice before an instruction: its chat template does, and the tokenizer adds another. "
        "Here there is one, if the tokenizer has one."
    )
    yield correction(
        "The notebook draws new surrogates whenever it runs. Here a text depends on the seed, the passage and the "
        "instruction alone."
    )


def _contexts(walk: Walk) -> Iterator[Block]:
    yield Heading("3. Contexts: what a cache is built from")
    yield paragraph("The baseline, and the surrogates that the router will take; of the passage only the beginning:")
    for arm, context in walk.here.contexts(clipped(walk.sample.passage, _PASSAGE_CHARACTERS)).items():
        yield paragraph(f"{arm}:")
        yield Verbatim(context)
    yield correction(
        'The notebook compares with a baseline that begins with "Document:". That framing alone can cost the baseline '
        "what surrogates then seem to gain. An experiment also scores the bare passage, and further controls; a "
        "walkthrough does not."
    )


def _caches(walk: Walk) -> Iterator[Block]:
    yield Heading("4. KV caches")
    yield paragraph(
        "The keys and values of a context are computed once, when the document is indexed, and read by every query. "
        "With all surrogates a document has eleven caches."
    )
    scores = [*walk.here.scores, *(walk.theirs.scores if walk.theirs else [])]
    per_token, printed = walk.inspection.facts.cache_bytes_per_token, read_published().context_tokens
    rows: list[tuple[Part, ...]] = []
    for score in scores:
        arm, count = _arm(score), score.context_token_count
        size = f"{count:,}", f"{count * per_token:,}"
        # What was written here is not what the notebook counted.
        writer = "" if score.family != "generated" else "here" if score in walk.here.scores else "notebook"
        theirs = "" if writer == "here" else str(printed.get(arm))
        rows.append((arm, writer, *size, theirs) if walk.theirs else (arm, *size))
    if walk.theirs:
        yield Table(("cache", "written", "tokens", "bytes", "notebook's tokens"), tuple(rows), text_columns=2)
        yield _published_tokens(walk, scores)
    else:
        yield Table(("cache", "tokens", "bytes"), tuple(rows))
    yield paragraph(
        "Layer by layer: the shape of the baseline's keys, and of its values (heads, tokens, dimension), and the bytes "
        "of both together, also for the two caches that the router will take:"
    )
    yield _layer_table(walk)
    yield correction(
        'The notebook\'s look into its cache fails ("Cannot access cache internals") and shows no shape: the class of '
        "the cache had changed."
    )


def _scoring(walk: Walk) -> Iterator[Block]:
    yield Heading("5. Scoring: how likely the answer is with each cache")
    yield paragraph("A cache is continued with the query and the cue for the answer,")
    yield Verbatim(query_prompt(walk.sample.query))
    yield paragraph(
        "and then the answer. The NLL of a token is -ln of the probability that the model gives it, in nats; that of "
        "the answer is the mean over its tokens, the first included. What an experiment compares is the probability of "
        "an answer's token, exp(-NLL), in %; next to each measure stands what is gained on the baseline, in points and "
        "in nats."
    )
    scores = list(_routed(walk).values())
    rows = [(_arm(s), *_measured(walk, s), _number(s.nll_notebook)) for s in scores]
    yield Table(("cache", *_MEASURED, "without first"), tuple(rows))
    for score in scores:
        if score.status != "ok":
            yield paragraph(f"{_arm(score)} has no score: {score.status.replace('_', ' ')}.")
    yield correction(
        "The notebook leaves out the first answer token: it reads the logits of the answer's pass, which predict the "
        "second token on. The last column is its reading. By it, an answer of one token is perfect, 0.0000."
    )
    yield from _rounding(walk)
    yield from _second_use(walk)


def _tokens(walk: Walk) -> Iterator[Block]:
    yield Heading("6. The answer, token by token")
    known = {arm: s.token_nlls for arm, s in _routed(walk).items() if s.status == "ok" and s.token_nlls}
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
    yield paragraph(f"With {', '.join(known)}: each token's probability, and in brackets its NLL.")
    yield Table(("token", *(arm.partition("/")[0] for arm in known), "best"), tuple(rows))
    yield correction(
        "The notebook's table lacks the first token, and ends with mean probabilities, which are not what is compared. "
        "It comes from caches that had been scored before, so its numbers are not shown next to these."
    )


def _answers(walk: Walk) -> Iterator[Block]:
    yield Heading("7. What the model answers")
    yield paragraph(
        "From each cache the model answers the query itself: the likeliest token each time, to the end of the line or "
        f"of {TOKEN_LIMIT} tokens. F1 and recall compare its words with those of the known answer; 1 is best:"
    )
    rows: list[tuple[Part, ...]] = []
    for found in walk.inspection.answers:
        text: Part = f"({found.status.replace('_', ' ')})" if found.text is None else Quoted(found.text)
        rows.append((_arm(found), text, *(in_form(value, ".2f") for value in (found.f1, found.recall))))
    yield Table(("cache", "answer", "F1", "recall"), tuple(rows), text_columns=2)
    yield correction(
        "The notebook never lets the model answer. A cache may make the known answer more probable and change nothing "
        "of what is written."
    )


def _routing(walk: Walk) -> Iterator[Block]:
    yield Heading("8. Routing: which cache a query is sent to")
    yield paragraph(
        "In each family the query goes to the cache whose surrogate is most similar to it. What the others would have "
        "given is known here, since all are scored; the best has the lowest NLL:"
    )
    best = {
        family: min(
            (s for s in walk.here.scores if s.family == family and s.nll is not None),
            key=lambda s: s.nll or 0.0,
            default=None,
        )
        for family in ("static", "generated")
    }
    rows: list[tuple[Part, ...]] = []
    for score in walk.here.scores:
        arm = _arm(score)
        marks = {"routed": arm == walk.here.routed(score.family), "best": score is best.get(score.family)}
        mark = ", ".join(name for name, applies in marks.items() if applies)
        similarity = _number(walk.here.similarities.get(arm))
        rows.append((arm, mark, similarity, *_measured(walk, score)[:3]))
    yield Table(("arm", "", "similarity", *_MEASURED[:3]), tuple(rows), text_columns=2)
    yield correction(
        'The notebook marks two static phrases as "ROUTE HERE": it compares each with the highest similarity so far. '
        "It routes correctly all the same."
    )


def _results(walk: Walk) -> Iterator[Block]:
    yield Heading("9. Three results")
    names = {
        "Baseline": BASELINE,
        "Static, routed": walk.here.routed("static"),
        "Generated, routed": walk.here.routed("generated"),
    }
    rows: list[tuple[Part, ...]] = []
    nlls: dict[str, float] = {}
    for name, arm in names.items():
        score = walk.here.score(arm) if arm else None
        key = "-" if arm is None or arm == BASELINE else arm.partition("/")[2]
        rows.append((name, key, *_measured(walk, score)))
        if score and score.nll is not None:
            nlls[name] = score.nll
    yield Table(("condition", "routed to", *_MEASURED), tuple(rows), text_columns=2)
    yield from _next_to_the_notebook(walk)
    if nlls:
        yield paragraph(f"The lowest NLL here: {min(nlls, key=lambda name: nlls[name])}.")
    yield paragraph(
        "One sample says nothing about whether priming helps, or whether generating pays. An experiment compares many, "
        "in pairs, with controls and intervals:"
    )
    yield Verbatim(f"python -m flows run --profile {walk.profile}")


def _surrogate_table(guesses: Guesses, family: str, heading: str, *, is_published: bool) -> Table:
    members = guesses.of(family)
    has_remarks = any(map(_remarks, members))
    rows: list[tuple[Part, ...]] = []
    for surrogate in members:
        arm = f"{family}/{surrogate.key}"
        text: Part = Quoted(surrogate.text) if surrogate.text else "(nothing)"
        remarks = [_remarks(surrogate)] if has_remarks else []
        printed = [_number(read_published().similarities[arm])] if is_published else []
        rows.append((surrogate.key, text, *remarks, _number(guesses.similarities[arm]), *printed))
    names = ["remarks"] * has_remarks, ["notebook"] * is_published
    return Table(("key", heading, *names[0], "similarity", *names[1]), tuple(rows), text_columns=2 + has_remarks)


def _remarks(surrogate: Surrogate) -> str:
    remarks = {
        "too long": surrogate.is_over_word_limit,
        "marks": surrogate.has_stray_marks,
        "is the query": surrogate.is_query,
        "cut off": surrogate.finish == "length",
    }
    return ", ".join(remark for remark, applies in remarks.items() if applies)


def _published_tokens(walk: Walk, scores: list[Score]) -> Block:
    """Say how many token counts are the notebook's, or that its tokenizer is another one."""
    published, answer_tokens = read_published(), walk.here.score(BASELINE).answer_tokens
    if [token.strip() for token in answer_tokens[1:]] != published.answer_tokens:
        return paragraph(
            f"The notebook's counts are those of another tokenizer, which makes {len(published.answer_tokens) + 1} "
            f"tokens of the answer; this one makes {len(answer_tokens)}."
        )
    ours = {_arm(score): score.context_token_count for score in scores}
    same = sum(ours[arm] == count for arm, count in published.context_tokens.items())
    return paragraph(f"{same} of {len(published.context_tokens)} token counts are the notebook's.")


def _layer_table(walk: Walk) -> Table:
    caches = walk.inspection.caches
    rows: list[tuple[Part, ...]] = []
    for number, layer in enumerate(next(iter(caches.values()))):
        keys, values = (", ".join(map(str, shape[1:])) for shape in (layer.keys, layer.values))
        sizes = (f"{layers[number].byte_count:,}" for layers in caches.values())
        rows.append((str(number), keys if keys == values else f"{keys}; {values}", layer.number_format, *sizes))
    totals = (sum(layer.byte_count for layer in layers) for layers in caches.values())
    rows.append(("all", "", "", *(f"{total:,}" for total in totals)))
    return Table(("layer", "keys, values", "format", *(arm.partition("/")[0] for arm in caches)), tuple(rows))


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
    theirs, published = walk.inspection.notebook_scores, read_published()
    yield correction(
        "The notebook's function changes the cache that it scores: transformers appends to a cache even with "
        "use_cache=False. The second time, the query comes after the first one and the whole gold answer. On the "
        f"notebook's model this turned {_number(published.nll[BASELINE])} into {_number(published.second_use_nll)}, in "
        "the cells that explain the metric. The same function on this model, and ours, each with one cache of the "
        "baseline:"
    )
    rows: list[tuple[Part, ...]] = []
    for number, nlls in enumerate(walk.inspection.scored_twice):
        cells = ("-", "-")
        if number < len(theirs):
            cells = f"{theirs[number].tokens_before} to {theirs[number].tokens_after}", _number(theirs[number].nll)
        rows.append((f"{number + 1}.", *cells, _number(None if nlls is None else sum(nlls) / len(nlls))))
    yield Table(("use", "notebook's cache, tokens", "its NLL (no first token)", "ours (all tokens)"), tuple(rows))


def _next_to_the_notebook(walk: Walk) -> Iterator[Block]:
    """Show our NLLs next to the notebook's, if the model is the same."""
    if walk.theirs is None:
        return
    published, model = read_published(), walk.language_model
    if model["language_model"] != published.language_model:
        yield paragraph(
            f"The notebook's three NLLs are those of {published.language_model} and are not shown next to these: NLLs "
            "of two models cannot be compared."
        )
        return
    yield paragraph(
        "With the notebook's own surrogates, and as it counts (the first token left out, each cache fresh):"
    )
    scores = {_arm(score): score for score in (*walk.here.scores, *walk.theirs.scores)}
    rows = tuple((arm, _number(scores[arm].nll_notebook), _number(nll)) for arm, nll in published.nll.items())
    yield Table(("condition", "NLL", "notebook"), rows)
    if model["quantization"] != published.quantization:
        yield paragraph(
            f"The notebook's weights were in 4 bits ({published.quantization}), these: {model['quantization']}."
        )


def _routed(walk: Walk) -> dict[str, Score]:
    """Return arm -> score for the baseline and the arm that the router takes in each family."""
    arms = BASELINE, walk.here.routed("static"), walk.here.routed("generated")
    return {arm: walk.here.score(arm) for arm in arms if arm}


def _arm(row: Score | AnswerText) -> str:
    return f"{row.family}/{row.key}"


_MEASURED = ("%", "points", "NLL", "nats")


def _measured(walk: Walk, score: Score | None) -> tuple[str, ...]:
    """Return the probability of an answer's token and the NLL, each with what is gained on the baseline."""
    baseline, nll = walk.here.score(BASELINE).nll, score.nll if score else None
    if score is None or nll is None:
        return ("-",) * len(_MEASURED)
    points = nats = None
    if baseline is not None and _arm(score) != BASELINE:
        points, nats = 100 * (math.exp(-nll) - math.exp(-baseline)), baseline - nll
    return f"{100 * math.exp(-nll):.2f}", in_form(points, "+.2f"), _number(nll), in_form(nats, f"+.{_DECIMALS}f")


def _lowest(values: dict[str, float]) -> str:
    """Return the family of the lowest value; none where two are equally low."""
    low = min(values.values())
    found = [arm.partition("/")[0] for arm, value in values.items() if value == low]
    return found[0] if len(found) == 1 else "equal"


def _probability(nll: float) -> str:
    probability = math.exp(-nll)
    return f"{probability:.{_DECIMALS}f}" if probability >= 10**-_DECIMALS else f"{probability:.0e}"


def _number(value: float | None) -> str:
    return in_form(value, f".{_DECIMALS}f")
