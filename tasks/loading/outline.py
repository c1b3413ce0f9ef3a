"""A language model without its weights: what can be known of it before it is loaded, or even downloaded.

In: settings. Out: its real tokenizer and its shape, from files of some megabytes.
"""

from tasks.loading.libraries import shut_out_fetched_kernels, without_progress_bars
from tasks.loading.model_files import GGUF, locate_outline
from tasks.loading.models import load_tokenizer, require_fit, window_of
from tasks.loading.redaction import brief, presentable
from tasks.priming.engine.gguf import gguf_config, read_gguf
from tasks.priming.engine.model import LanguageModel, first_token_id
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.errors import SetupError, UsageError
from tasks.priming.settings import LanguageModelSettings


def outline_language_model(settings: LanguageModelSettings) -> LanguageModel:
    """Return a model whose parameters have shapes and no values; it can tell `facts` and nothing else.

    Raises:
        SetupError: The model cannot be found, or its configuration or tokenizer cannot be read.
    """
    shut_out_fetched_kernels()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    path = locate_outline(settings.language_model, settings.language_model_revision)
    with without_progress_bars():
        try:
            tokenizer = load_tokenizer(path)
            if path.suffix == GGUF:
                configuration = gguf_config(read_gguf(path))
            else:
                configuration = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(configuration, dtype=getattr(torch, settings.dtype))
        except UsageError:
            raise
        except Exception as error:  # as in loading.py
            raise SetupError(
                f"The configuration of {settings.language_model} cannot be read: {brief(error)} A causal language "
                "model with a tokenizer is needed, on the hub or in a local folder."
            ) from presentable(error)
    require_fit(model, tokenizer, settings.language_model)
    window = window_of(model, settings.language_model)
    # On the processor: what is known before the model runs does not depend on where.
    first_token_id(tokenizer, settings.first_token)  # one that does not exist is refused here
    return LanguageModel(model, tokenizer, window, choose_numeric_path("cpu", settings.dtype), settings.first_token)
