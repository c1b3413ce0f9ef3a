"""The tokenizer of the published run."""

from pathlib import Path
from typing import Any

import pytest
import transformers


@pytest.fixture(scope="package")
def tokenizer(mistral_tokenizer_folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
