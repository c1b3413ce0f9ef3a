"""lm-eval's method: its own class for transformers models, on the same token ids.

In: a model and items. Out: the sum of log-likelihoods of each answer, as lm-eval's tasks get it. It is handed token ids
and so does not tokenise, which favours it. The package is an extra: pip install -c constraints.txt ".[bench]".
"""

import copy
import importlib
import importlib.util
import logging
from collections.abc import Sequence

from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request

BATCH_SIZES = (1, 16)
"""The faster of these is what others are compared with; larger ones were slower on CPUs."""


def is_installed() -> bool:
    """Tell whether lm-eval can be imported."""
    return importlib.util.find_spec("lm_eval") is not None


def sum_log_likelihoods(items: Sequence[Request], language_model: LanguageModel, batch_size: int) -> list[float]:
    """Return the log-likelihood in nats of each item's answer, as lm_eval's HFLM computes it by default.

    Args:
        items: Contexts, queries and answers as token ids.
        language_model: The model; its tokenizer is copied, since lm-eval gives it a padding token.
        batch_size: Requests in a batch.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that a model was handed over, as is meant
    harness = importlib.import_module("lm_eval.models.huggingface").HFLM(
        pretrained=language_model.model,
        tokenizer=copy.deepcopy(language_model.tokenizer),
        batch_size=batch_size,
        max_length=language_model.window,
    )
    requests = [(("", ""), [*item.context, *item.query], list(item.answer)) for item in items]
    return [total for total, _ in harness._loglikelihood_tokens(requests, disable_tqdm=True)]
