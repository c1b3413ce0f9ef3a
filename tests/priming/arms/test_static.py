"""The static family: the walkthrough's five phrases before every passage, whatever it says."""

from tasks.priming.arms.static import write_static
from tasks.priming.arms.writing import Writing
from tasks.priming.prompts import STATIC_SURROGATES
from tasks.priming.records import Sample


def sample(sample_id: str, query: str = "a query") -> Sample:
    return Sample(sample_id, 0, f"Passage of {sample_id}.", query, "An answer.", None, sample_id)


def test_every_sample_gets_the_five_phrases_verbatim() -> None:
    written = write_static([sample("s"), sample("t")], Writing(seed=42))
    phrases = [  # walkthrough, output of cell 7
        ("definitional", "What is this and what does it mean?"),
        ("procedural", "How do I do this step by step?"),
        ("quantitative", "How much does this cost or how long does it take?"),
        ("factual", "What are the key facts I need to know?"),
        ("problem", "What problem does this solve?"),
    ]
    for sample_id in ("s", "t"):
        assert [(part.key, part.text) for part in written if part.sample_id == sample_id] == phrases
    assert len(written) == 10


def test_a_phrase_costs_nothing_and_is_marked_as_fixed() -> None:
    for part in write_static([sample("s")], Writing(seed=42)):
        assert part.family == "static"
        assert (part.prompt_token_count, part.token_count) == (0, 0)
        assert (part.finish, part.raw_text) == ("fixed", part.text)
        assert not part.is_over_word_limit
        assert not part.has_stray_marks


def test_a_phrase_that_is_the_users_own_query_is_marked() -> None:
    written = write_static([sample("s", "what problem does this  solve")], Writing(seed=42))
    assert [part.key for part in written if part.is_query] == ["problem"]


def test_the_phrases_do_not_depend_on_the_seed_or_on_other_samples() -> None:
    alone = write_static([sample("t")], Writing(seed=7))
    among = write_static([sample("s"), sample("t")], Writing(seed=42))
    assert alone == [part for part in among if part.sample_id == "t"]


def test_no_samples_get_no_phrases() -> None:
    assert write_static([], Writing(seed=42)) == []
    assert len(STATIC_SURROGATES) == 5  # walkthrough, cell 7
