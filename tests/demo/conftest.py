"""The committed demo model, for the tests about it and about how it is trained."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralForCausalLM, PreTrainedTokenizerBase

from tasks.demo.training import MODEL_FOLDER


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL_FOLDER, local_files_only=True)
    return loaded


@pytest.fixture(scope="module")
def model() -> MistralForCausalLM:
    loaded: MistralForCausalLM = AutoModelForCausalLM.from_pretrained(
        MODEL_FOLDER, local_files_only=True, dtype="float32"
    )
    return loaded.eval()
