"""Trains the demo model's tokenizer on the corpus and on the prompts that go with it.

In: a seed. Out: a `PreTrainedTokenizerFast`: byte-pair encoding with about 1,500 tokens, single digits, byte fallback,
`<s>` in front of every context and a chat template. It exists so that the demo's sequences are short and so that query
and answer, which are tokenised on their own, start with the same tokens as inside a text.
"""

import json
import string
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tasks.demo.corpus import FULL_SIZE, write_passage
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.queries import STYLES, write_query, write_surrogate
from tasks.priming.prompts import (
    BASELINE_TEMPLATE,
    STATIC_SURROGATES,
    SURROGATE_TEMPLATE,
    fill,
    generation_prompt,
    query_prompt,
)

VOCABULARY_SIZE = 2048
WINDOW_TOKENS = 2048
PASSAGE_COUNT = 3000

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]")
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

# One digit per token, with its space: a number is then copied digit by digit. Line breaks stand alone, and the piece
# at the start of a text carries a space like any word, so that an answer on its own looks as it does in a passage.
PIECES = r"▁?\p{L}+|▁?\p{N}|▁?\n+|▁?[^\p{L}\p{N}\s▁]+|▁+|\s+"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only the roles user and assistant are known.') }}{% endif %}"
    "{% endfor %}"
)


def training_texts(seed: int) -> Iterator[str]:
    """Yield every kind of text that the model reads or writes, in roughly the proportions in which it meets them."""
    for number in range(PASSAGE_COUNT):
        source = random_for("tokenizer", seed, number)
        passage = write_passage(DOMAINS[number % len(DOMAINS)], FULL_SIZE, "training", source)
        yield fill(BASELINE_TEMPLATE, document=passage.text)
        for fact in passage.facts:
            query = write_query(fact, source)
            yield query_prompt(query.text)
            yield query.answer
        style = STYLES[number % len(STYLES)]
        yield write_surrogate(passage.facts[0], style, source)
        yield generation_prompt(style, "")
        static = list(STATIC_SURROGATES.values())[number % len(STATIC_SURROGATES)]
        yield fill(SURROGATE_TEMPLATE, surrogate=static, document="")


def piece_tokenizer(model: models.Model) -> Tokenizer:
    """Return a tokenizer with this project's way of cutting a text into pieces."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Learn the merges, put special and byte tokens in front of them, and add the chat template."""
    learner = piece_tokenizer(models.BPE())
    learnt_size = VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(BYTE_TOKENS)
    trainer = trainers.BpeTrainer(
        vocab_size=learnt_size, show_progress=False, initial_alphabet=list(string.printable[:95])
    )
    learner.train_from_iterator(training_texts(seed), trainer)
    merges = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
    learnt = sorted(learner.get_vocab(), key=learner.get_vocab().__getitem__)
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *BYTE_TOKENS, *learnt])}
    tokenizer = piece_tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["[INST]", "[/INST]"],
        model_max_length=WINDOW_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
