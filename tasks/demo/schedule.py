"""Says what the demo model is shown at each moment of its training, and how fast it learns from it.

In: a stage and a step. Out: learning rates, sizes of passages, the weight of the guides. Apart from `training.py`
because these are the numbers that one tries out.
"""

from dataclasses import dataclass

from tasks.demo.corpus import FULL_SIZE, Size

WARM_UP_STEPS = 40
# Until this share of a stage its passages are short, until the second they are of middle length.
SHORT_SHARE = 0.3
GROWTH_SHARE = 0.45
MIDDLE_SIZE = Size(fact_counts=(2, 5), word_counts=(20, 90))


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the training: what is shown and how it is learnt."""

    name: str
    """What the model learns in it."""
    layers: int
    """The model's layers."""
    steps: int
    """How many steps it takes."""
    rows_per_step: int
    """Rows in each, over all processes."""
    short_size: Size
    """The passages it begins with."""
    peak_rate: float
    """The largest learning rate of AdamW."""
    decay_from_share: float
    """When the rates begin to fall, as a share of the stage."""
    final_rate_share: float
    """What is left of them at the end."""
    first_embedding_share: float
    """The embeddings' rate as a share of the others', at first."""
    last_embedding_share: float
    """The same, from `embedding_rise_steps` on."""
    embedding_rise_steps: int = 800
    """How long it takes to rise from one to the other."""
    repeat_only_steps: int = 0
    """The first steps, in which rows are random tokens repeated."""
    repeat_share: float = 0.0
    """The share of such steps afterwards."""
    contrast_share: float = 0.0
    """The share of passages that say one kind of thing under several keys."""
    matrix_rate: float | None = None
    """The largest rate of Muon, for the weight matrices; None where AdamW learns these too."""
    guide_weight: float = 0.0
    """The weight of each kind of guided heads in the loss; 0 for no guides."""
    guide_until_share: float = 0.0
    """When the guides are gone, as a share of the stage; they fade over the tenth before."""

    def rate_share(self, step: int) -> float:
        """Return what is used of the largest rates at a step: a short rise, a plateau, then a straight fall."""
        past_plateau = (step / self.steps - self.decay_from_share) / (1 - self.decay_from_share)
        return min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - (1 - self.final_rate_share) * max(0.0, past_plateau))

    def embedding_share(self, step: int) -> float:
        """Return the embeddings' rate at a step, as a share of the others'."""
        risen = min(1.0, step / self.embedding_rise_steps)
        return self.first_embedding_share + risen * (self.last_embedding_share - self.first_embedding_share)

    def size_at(self, step: int) -> Size:
        """Return how long passages are at a step."""
        share = step / self.steps
        if share < SHORT_SHARE:
            return self.short_size
        return MIDDLE_SIZE if share < GROWTH_SHARE else FULL_SIZE

    def guide_weight_at(self, step: int) -> float:
        """Return the weight of the guides at a step."""
        return self.guide_weight * max(0.0, min(1.0, (self.guide_until_share - step / self.steps) / 0.1))


# Embeddings start small: at the full rate they would be scrambled before the copying heads have settled.
COPYING = Stage(
    name="copying",
    layers=3,
    steps=2_600,
    rows_per_step=12,
    short_size=Size(fact_counts=(1, 3), word_counts=(0, 40)),
    peak_rate=1.0e-3,
    decay_from_share=0.65,
    final_rate_share=0.05,
    first_embedding_share=0.1,
    last_embedding_share=0.4,
    repeat_only_steps=180,
    repeat_share=0.1,
)
BINDING = Stage(
    name="binding",
    layers=5,
    steps=3_000,
    rows_per_step=16,
    short_size=Size(fact_counts=(2, 4), word_counts=(0, 40)),
    peak_rate=1.0e-3,
    decay_from_share=0.3,
    final_rate_share=0.03,
    first_embedding_share=0.4,
    last_embedding_share=0.4,
    contrast_share=0.5,
    matrix_rate=1.5e-3,
    guide_weight=0.3,
    guide_until_share=0.85,
)
STAGES = (COPYING, BINDING)
