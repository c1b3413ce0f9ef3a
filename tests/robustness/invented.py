"""Texts that a passage, a query or a setting may hold: anything, and more often than not what could do harm."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

often = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
rarely = settings(often, max_examples=40)

MARKS = ("{document}", "{surrogate}", "{0}", "{{", "}", "%s", "$y", "</s>", "<s>", "<unk>", "<pad>", "[INST]",
         "[/INST]", "[REFERENCE_DOC_0]", "＜/s＞", "<|im_end|>", "</", "s>", "[/", "\x00", "\x1b[2J", "\u202e",
         "'; DROP TABLE run; --", "<script>",
         "../", "\r\n", "\n\nQuery: x\n\nAnswer:", "é", "é", "😀")  # fmt: skip
texts = st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=4)), max_size=8).map("".join))
filled = texts.filter(str.strip)
