"""A walkthrough told from beginning to end, as blocks: who takes part, then step by step as the notebook does.

In: a walk. Out: the blocks, for the terminal and for the UI.
"""

from collections.abc import Iterator

from tasks.pages.blocks import Block, Heading, Quoted, paragraph
from tasks.walkthrough.before_the_query import tell_caches, tell_contexts, tell_data_point, tell_surrogates
from tasks.walkthrough.behind_the_query import tell_results, tell_routing, tell_scoring, tell_tokens
from tasks.walkthrough.walk import Walk

_STEPS = (
    tell_data_point,
    tell_surrogates,
    tell_contexts,
    tell_caches,
    tell_scoring,
    tell_tokens,
    tell_routing,
    tell_results,
)


def tell(walk: Walk) -> list[Block]:
    """Return the whole walkthrough."""
    return [*_opening(walk), *(block for step in _STEPS for block in step(walk))]


def _opening(walk: Walk) -> Iterator[Block]:
    model = walk.models.language_model
    weights = model["dtype"] if model["quantization"] == "none" else f"{model['quantization']}, {model['dtype']}"
    yield Heading("A walk through one sample")
    yield paragraph(
        "Language model ",
        Quoted(model["language_model"]),
        f" ({walk.models.parameter_count:,} parameters, {weights}, on {model['device_name']}); embedding model ",
        Quoted(walk.models.embedding_model["embedding_model"]),
        ".",
    )
    if walk.notebook:
        yield paragraph(
            'The sample is the notebook\'s own example. What the notebook printed of it stands under "notebook", '
            f"beside ours; its model was {walk.notebook.published.language_model} in 4 bits."
        )
    else:
        yield paragraph(
            f"The sample is number {walk.number} of those that an experiment with profile {walk.profile} draws from ",
            Quoted(walk.settings.data.data),
            f" (seed {walk.settings.seed}).",
        )
    yield paragraph('Where the notebook errs, a line says so; it begins with "Corrected".')
