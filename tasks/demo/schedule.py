"""Says how fast the demo model learns, and from how long passages, at each moment of its training.

In: a step or the share of the training that has passed. Out: learning rates and sizes. Apart from `training.py` because
these are the numbers that one tries out.
"""

from tasks.demo.corpus import FULL_SIZE, Size

PEAK_RATE = 1.0e-3
WARM_UP_STEPS = 40
# Embeddings start small: at the full rate they would be scrambled before the copying heads have settled.
FIRST_EMBEDDING_SHARE = 0.1
LAST_EMBEDDING_SHARE = 0.4
EMBEDDING_RISE_STEPS = 800
# Until this share of the steps passages grow from one fact to full length.
SHORT_SHARE = 0.3
GROWTH_SHARE = 0.45
DECAY_FROM_SHARE = 0.65

SHORT_SIZE = Size(fact_counts=(1, 3), word_counts=(0, 40))
MIDDLE_SIZE = Size(fact_counts=(2, 5), word_counts=(20, 90))


def learning_rate(step: int, steps: int) -> float:
    """Return the rate of a step: a short rise, a plateau, then a straight fall to a twentieth."""
    if step < WARM_UP_STEPS:
        return PEAK_RATE * (step + 1) / WARM_UP_STEPS
    past_plateau = (step / steps - DECAY_FROM_SHARE) / (1 - DECAY_FROM_SHARE)
    return PEAK_RATE * (1 - 0.95 * max(0.0, past_plateau))


def embedding_rate(step: int, steps: int) -> float:
    """Return the rate of the embeddings at a step: a tenth of the others' at first, then rising."""
    risen = min(1.0, step / EMBEDDING_RISE_STEPS)
    share = FIRST_EMBEDDING_SHARE + risen * (LAST_EMBEDDING_SHARE - FIRST_EMBEDDING_SHARE)
    return share * learning_rate(step, steps)


def size_at(share: float) -> Size:
    """Return how long passages are when this share of the training has passed."""
    if share < SHORT_SHARE:
        return SHORT_SIZE
    return MIDDLE_SIZE if share < GROWTH_SHARE else FULL_SIZE
