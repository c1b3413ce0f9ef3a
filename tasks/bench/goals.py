"""What was to be reached, as data: by part, model, number format, method and quantity.

The ratios of speed are to the notebook's method in float32 on one core, where that is measured. They were set on a
processor (Zen 5) whose oneDNN products run at 2.2 times the speed of the notebook's; on others the limit, which is
printed beside them, may lie below.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.bench.methods import OURS
from tasks.bench.records import Figure

TIMES_NOTEBOOK = "times as fast as the notebook"
TIMES_LM_EVAL = "times as fast as lm-eval"
TIMES_COPYING = "times as fast as deep copies"
SHARE_OF_LIMIT = "share of the matrix products' speed"
SHARE_UNSHARED = f"{SHARE_OF_LIMIT}, unshared"
LARGEST_DIFFERENCE = "largest difference in mean NLL"
RMS_DIFFERENCE = "rms difference in mean NLL"
LARGEST_NOTEBOOK_DIFFERENCE = "largest difference in the notebook's mean NLL"
LARGEST_SIMILARITY_DIFFERENCE = "largest difference in similarity"
EXPERIMENT_SECONDS = "seconds of the whole experiment"
MEMORY_WITH_WEIGHTS = "peak memory with the weights"


@dataclass(frozen=True, slots=True)
class Goal:
    """A value that was to be reached."""

    value: float
    """In the unit of the figure."""
    bound: Literal["at least", "at most"] = "at least"
    """On which side of it the figure should be."""


_GOALS: dict[tuple[str, str, str, str], Goal] = {
    ("scoring", "small", "float32", TIMES_NOTEBOOK): Goal(7.5),
    ("scoring", "small", "bfloat16", TIMES_NOTEBOOK): Goal(11),
    ("scoring", "wide", "float32", TIMES_NOTEBOOK): Goal(2.9),
    ("scoring", "wide", "bfloat16", TIMES_NOTEBOOK): Goal(5.8),
    ("scoring", "small", "float32", TIMES_LM_EVAL): Goal(5.5),
    ("scoring", "wide", "float32", TIMES_LM_EVAL): Goal(2.5),
    ("scoring", "small", "float32", SHARE_OF_LIMIT): Goal(0.80),
    ("scoring", "small", "bfloat16", SHARE_OF_LIMIT): Goal(0.60),
    ("scoring", "wide", "float32", SHARE_OF_LIMIT): Goal(0.92),
    ("scoring", "wide", "bfloat16", SHARE_OF_LIMIT): Goal(0.80),
    ("scoring", "mistral-7b", "bfloat16", SHARE_OF_LIMIT): Goal(0.60),
    ("scoring", "mistral-7b", "bfloat16", MEMORY_WITH_WEIGHTS): Goal(40e9, "at most"),
    ("generation", "small", "float32", TIMES_NOTEBOOK): Goal(12),
    ("generation", "small", "bfloat16", TIMES_NOTEBOOK): Goal(25),
    ("generation", "wide", "float32", TIMES_NOTEBOOK): Goal(5.5),
    ("generation", "wide", "bfloat16", TIMES_NOTEBOOK): Goal(11),
    ("generation", "mistral-7b", "bfloat16", MEMORY_WITH_WEIGHTS): Goal(40e9, "at most"),
    ("experiment", "mistral-7b", "bfloat16", EXPERIMENT_SECONDS): Goal(180, "at most"),
    ("experiment", "mistral-7b", "bfloat16", TIMES_NOTEBOOK): Goal(70),
    ("queries", "small", "float32", TIMES_NOTEBOOK): Goal(25),
    ("queries", "small", "float32", TIMES_COPYING): Goal(5),
}
# Whatever the model.
_GENERAL_GOALS: dict[tuple[str, str, str], Goal] = {
    ("scoring", "float32", LARGEST_DIFFERENCE): Goal(1e-5, "at most"),
    ("scoring", "float32", LARGEST_NOTEBOOK_DIFFERENCE): Goal(1e-5, "at most"),
    ("queries", "float32", LARGEST_DIFFERENCE): Goal(1e-5, "at most"),
    ("embedding", "float32", TIMES_NOTEBOOK): Goal(9),
    ("embedding", "float32", LARGEST_SIMILARITY_DIFFERENCE): Goal(1e-6, "at most"),
}


def with_goal(figure: Figure) -> Figure:
    """Return a figure with the goal that is set for it, if one is."""
    goal = _GOALS.get((figure.part, figure.model, figure.dtype, figure.quantity)) or _GENERAL_GOALS.get(
        (figure.part, figure.dtype, figure.quantity)
    )
    if goal is None or figure.method != OURS:
        return figure
    return figure.model_copy(update={"goal": goal.value, "bound": goal.bound})
