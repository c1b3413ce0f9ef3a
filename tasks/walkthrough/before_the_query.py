"""What happens before a query comes, told: the sample, its surrogates, the contexts that they make, and the KV caches.

In: a walk. Out: blocks. Numbers are rounded here and computed elsewhere.
"""

from collections.abc import Iterator

from tasks.pages.blocks import (
    Block,
    Heading,
    Part,
    Quoted,
    Table,
    Verbatim,
    clipped,
    correction,
    paragraph,
)
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE, fill
from tasks.priming.records import Surrogate
from tasks.walkthrough.walk import BASELINE, Guesses, Notebook, Walk

_PASSAGE_CHARACTERS = 120
_DECIMALS = 4


def tell_data_point(walk: Walk) -> Iterator[Block]:
    """Tell what the sample is."""
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


def tell_surrogates(walk: Walk) -> Iterator[Block]:
    """Tell which surrogates there are, and how similar each is to the query."""
    yield Heading("2. Surrogates, and how similar they are to the query")
    yield paragraph(
        "A surrogate is a guess of the query, written before the query is known. The static ones are five phrases, the "
        "same for every passage. The generated ones are written for this passage by the language model, each by an "
        "instruction of its own. Similarity is the cosine of two sentence embeddings."
    )
    yield _surrogate_table(walk, walk.here, "static", "static phrase", is_published=True)
    yield _surrogate_table(walk, walk.here, "generated", "generated here", is_published=False)
    if walk.notebook:
        theirs = walk.notebook.guesses
        yield _surrogate_table(walk, theirs, "generated", "the notebook's", is_published=True)
        yield paragraph(_agreement(walk.here, walk.notebook))
    everyone = [*walk.here.surrogates, *(walk.notebook.guesses.surrogates if walk.notebook else [])]
    if any(map(_remarks, everyone)):
        yield paragraph(
            "Too long: more words than its instruction allows. Cut off: ended by the limit on tokens. Marks: quotation "
            "marks, or an explanation in brackets, that nobody types into a search box."
        )
    yield correction(
        "The notebook takes quotation marks off all that the model wrote, and then the first line; so the mark at that "
        "line's end stays where another line followed. Here the first line is taken first."
    )
    yield correction(
        "The notebook writes BOS twice before an instruction: its chat template does, and the tokenizer adds another. "
        "Here there is one, where the tokenizer has one."
    )
    yield correction(
        "The notebook draws its surrogates anew whenever it runs. Here a text follows from the seed, the passage and "
        "the instruction, whatever else is written."
    )


def tell_contexts(walk: Walk) -> Iterator[Block]:
    """Tell what stands before the query: with the surrogates that the router will take, and without."""
    yield Heading("3. Contexts: what a cache is built from")
    yield paragraph("The baseline, and the surrogates that the router will take; of the passage only the beginning:")
    passage = clipped(walk.sample.passage, _PASSAGE_CHARACTERS)
    for arm, context in routed_contexts(passage, walk.here).items():
        yield paragraph(f"{arm}:")
        yield Verbatim(context)
    yield correction(
        'The notebook compares with a baseline that begins with "Document:". That framing alone can cost the baseline '
        "what surrogates then seem to gain. An experiment also scores the bare passage, and further controls; a "
        "walkthrough does not."
    )


def tell_caches(walk: Walk) -> Iterator[Block]:
    """Tell how large the caches are, arm by arm and layer by layer."""
    yield Heading("4. KV caches")
    yield paragraph(
        "The keys and values of a context are computed once, when the document is indexed, and read by every query. "
        "With all surrogates a document has eleven caches."
    )
    yield _cache_table(walk)
    yield from _published_tokens(walk)
    yield paragraph(
        "Layer by layer: the shape of the baseline's keys, and of its values (heads, tokens, dimension), and the bytes "
        "of both together, also for the two caches that the router will take:"
    )
    yield _layer_table(walk)
    yield correction(
        'The notebook\'s look into its cache fails ("Cannot access cache internals") and shows no shape: the class of '
        "the cache had changed."
    )


def routed_contexts(passage: str, guesses: Guesses) -> dict[str, str]:
    """Return arm -> context for the baseline and the arms that the router takes."""
    arms = [arm for arm in (guesses.routed("static"), guesses.routed("generated")) if arm]
    return {BASELINE: fill(BASELINE_TEMPLATE, document=passage)} | {
        arm: fill(SURROGATE_TEMPLATE, surrogate=guesses.surrogate(arm).text, document=passage) for arm in arms
    }


def _surrogate_table(walk: Walk, guesses: Guesses, family: str, heading: str, *, is_published: bool) -> Table:
    published = walk.notebook.published if walk.notebook and is_published else None
    members = [surrogate for surrogate in guesses.surrogates if surrogate.family == family]
    has_remarks = any(map(_remarks, members))
    rows: list[tuple[Part, ...]] = []
    for surrogate in members:
        arm = f"{family}/{surrogate.key}"
        text: Part = Quoted(surrogate.text) if surrogate.text else "(nothing)"
        remarks = [_remarks(surrogate)] if has_remarks else []
        printed = [_number(published.similarities[arm])] if published else []
        rows.append((surrogate.key, text, *remarks, _number(guesses.similarities[arm]), *printed))
    columns = (
        "key",
        heading,
        *(["remarks"] if has_remarks else []),
        "similarity",
        *(["notebook"] if published else []),
    )
    return Table(columns, tuple(rows), text_columns=3 if has_remarks else 2)


def _remarks(surrogate: Surrogate) -> str:
    remarks = {
        "too long": surrogate.is_over_word_limit,
        "marks": surrogate.has_stray_marks,
        "is the query": surrogate.is_query,
        "cut off": surrogate.finish == "length",
    }
    return ", ".join(remark for remark, applies in remarks.items() if applies)


def _agreement(here: Guesses, notebook: Notebook) -> str:
    """Return how many published similarities are ours to the decimals that are printed."""
    published, theirs = notebook.published.similarities, notebook.guesses
    ours = {**here.similarities, **theirs.similarities}
    same = sum(_number(ours[arm]) == _number(value) for arm, value in published.items())
    kept = sum(not surrogate.is_over_word_limit for surrogate in theirs.surrogates)
    return (
        f"{same} of {len(published)} similarities are the notebook's to {_DECIMALS} decimals. Of its "
        f"{len(theirs.surrogates)} generated surrogates, {kept} has no more words than its instruction allows."
    )


def _cache_table(walk: Walk) -> Table:
    per_token = walk.models.cache_bytes_per_token
    sizes = {
        score: (f"{score.context_token_count:,}", f"{score.context_token_count * per_token:,}")
        for guesses in (walk.here, *([walk.notebook.guesses] if walk.notebook else []))
        for score in guesses.scores
    }
    if walk.notebook is None:
        rows = tuple((f"{score.family}/{score.key}", *size) for score, size in sizes.items())
        return Table(("cache", "tokens", "bytes"), rows)
    printed = walk.notebook.published.context_tokens
    told: list[tuple[Part, ...]] = []
    for score, size in sizes.items():
        arm = f"{score.family}/{score.key}"
        # What was written here is not what the notebook counted.
        writer = "" if score.family != "generated" else "here" if score in walk.here.scores else "notebook"
        told.append((arm, writer, *size, "" if writer == "here" else str(printed[arm])))
    return Table(("cache", "written", "tokens", "bytes", "notebook's tokens"), tuple(told), text_columns=2)


def _published_tokens(walk: Walk) -> Iterator[Block]:
    if not walk.notebook:
        return
    published, answer_tokens = walk.notebook.published, walk.here.score(BASELINE).answer_tokens
    ours = {f"{s.family}/{s.key}": s.context_token_count for s in (*walk.here.scores, *walk.notebook.guesses.scores)}
    same = sum(ours[arm] == count for arm, count in published.context_tokens.items())
    if published.has_its_tokenizer(answer_tokens):
        yield paragraph(f"{same} of {len(published.context_tokens)} token counts are the notebook's.")
    else:
        yield paragraph(
            f"The notebook's counts are those of another tokenizer, which makes {len(published.answer_tokens) + 1} "
            f"tokens of the answer; this one makes {len(answer_tokens)}."
        )


def _layer_table(walk: Walk) -> Table:
    caches = walk.inspection.caches
    first = next(iter(caches.values()))
    rows: list[tuple[Part, ...]] = []
    for number, layer in enumerate(first.layers):
        keys, values = (", ".join(map(str, shape[1:])) for shape in (layer.keys, layer.values))
        sizes = (f"{cache.layers[number].byte_count:,}" for cache in caches.values())
        rows.append((str(layer.layer), keys if keys == values else f"{keys}; {values}", layer.number_format, *sizes))
    rows.append(("all", "", "", *(f"{cache.byte_count:,}" for cache in caches.values())))
    names = (arm.partition("/")[0] for arm in caches)
    return Table(("layer", "keys, values", "format", *names), tuple(rows), text_columns=1)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.{_DECIMALS}f}"
