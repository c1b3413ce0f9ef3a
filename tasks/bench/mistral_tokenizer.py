"""The real tokenizer of Mistral models, from the sentencepiece files of the package mistral-common.

In: a folder to write to. Out: a folder that transformers' AutoTokenizer reads, as on the hub but without it.
"""

import importlib.util
import json
import shutil
from pathlib import Path

from tasks.loading.data import SetupError

V1 = "tokenizer.model.v1"
"""That of Mistral-7B-Instruct-v0.2, which the notebook uses."""
V3 = "mistral_instruct_tokenizer_240323.model.v3"
"""Its successor, in which [INST] is a control token and no longer plain text."""

# That of mistralai/Mistral-7B-Instruct-v0.2 on the hub.
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


def save_mistral_tokenizer(folder: Path, file_name: str = V1) -> Path:
    """Save a Mistral tokenizer below a folder, as transformers saves it, and return where.

    Args:
        folder: An existing folder.
        file_name: V1 or V3.

    Raises:
        SetupError: The package that holds the tokenizer is not installed.
    """
    package = importlib.util.find_spec("mistral_common")
    if package is None or package.origin is None:
        raise SetupError(
            "The Mistral tokenizer comes with the package mistral-common, which is not installed. Install it: "
            "pip install -c constraints.txt .[offline]"
        )
    from transformers import AutoTokenizer

    source, saved = folder / "source", folder / "tokenizer"
    source.mkdir()
    shutil.copy(Path(package.origin).parent / "data" / file_name, source / "tokenizer.model")
    configuration = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "chat_template": _CHAT_TEMPLATE,
    }
    (source / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    AutoTokenizer.from_pretrained(source).save_pretrained(saved)
    return saved
