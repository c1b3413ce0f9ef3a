"""The walkthrough: one sample from its passage to its three scores, as the notebook leads through it, corrected.

`python -m flows walkthrough` prints it; as a deployment, `prefect deployment run walkthrough/walkthrough`, it is a page
in the UI. It takes the notebook's own example, or with `--sample 3` the third sample of the profile's experiment.
"""

from typing import Annotated, TypeAlias

from prefect import flow
from pydantic import Field

from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.loading.redaction import keeps_secrets
from tasks.pages.blocks import Block
from tasks.priming import settings as allowed
from tasks.priming.settings import resolve_settings
from tasks.server.form import with_form
from tasks.walkthrough.story import tell
from tasks.walkthrough.walk import (
    Guesses,
    Walk,
    choose_sample,
    compare_with_query,
    inspect_caches,
    name_walkthrough,
    published_surrogates,
    score_answer,
    show_walkthrough,
    write_surrogates,
)

SampleNumber: TypeAlias = Annotated[
    int,
    Field(ge=1, description="Which of the samples that the profile's experiment draws (number from 1); if not given, "
    "the notebook's own example."),
]  # fmt: skip


@with_form
@keeps_secrets
@flow(name="walkthrough", flow_run_name=name_walkthrough)
def walkthrough(
    profile: allowed.ProfileName = "demo",
    sample: SampleNumber | None = None,
    seed: allowed.Seed | None = None,
    data: allowed.Data | None = None,
    min_words: allowed.Words | None = None,
    max_words: allowed.Words | None = None,
    language_model: allowed.LanguageModel | None = None,
    dtype: allowed.DType | None = None,
    device: allowed.Device | None = None,
    embedding_model: allowed.EmbeddingModel | None = None,
) -> list[Block]:
    """Lead through one sample: surrogates, similarities, contexts, caches, scoring, routing and the three results.

    Without `sample` it is the notebook's own example, and the notebook's printed numbers are shown next to ours.
    """
    changes = {name: value for name, value in locals().items() if name not in ("profile", "sample")}
    settings = resolve_settings(profile, **changes)
    reader = identify_language_model(settings.language_model)
    router = identify_embedding_model(settings.embedding)
    chosen = choose_sample(settings, sample)

    surrogates = write_surrogates(chosen, settings, reader)
    routes = compare_with_query(chosen, surrogates, router)
    here = Guesses(surrogates, routes, score_answer(chosen, surrogates, reader, ("baseline", "static", "generated")))
    theirs = None
    if sample is None:
        surrogates = published_surrogates(chosen)
        routes = compare_with_query(chosen, surrogates, router)
        theirs = Guesses(surrogates, routes, score_answer(chosen, surrogates, reader, ("generated",)))
    inspection = inspect_caches(chosen, here, reader)

    blocks = tell(Walk(profile, settings, reader, router, sample, chosen, here, inspection, theirs))
    show_walkthrough(blocks, name_walkthrough())
    return blocks


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("walkthrough")
