"""Untrusted text is shown as text, with its invisible characters spelled out."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.pages import texts


class Page(HTMLParser):
    """Collects the elements and the text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.said = ""
        self.feed(str(text))  # a slice of Markup would escape what is added to it
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a␀b"),  # U+2400, SYMBOL FOR NULL
        ("bell\x07", "bell␇"),
        ("right\u202eto left", "right[U+202E]to left"),
        ("zero\u200bwidth", "zero[U+200B]width"),
        ("line\u2028end\x85", "line[U+2028]end[U+0085]"),
        ("carriage\r\n\treturn", "carriage␍\n\treturn"),
        ("\U000e0041tag", "[U+E0041]tag"),
        ("אבג 😀 naïve", "אבג 😀 naïve"),
        ("family: 👩\u200d👧", "family: 👩\u200d👧"),  # the joiner of one emoji out of two is part of the text
    ],
)
def test_invisible_characters_are_spelled_out(text: str, shown: str) -> None:
    assert texts.visible(text) == shown
    assert Page(texts.untrusted(text)).said == shown


@given(st.text() | st.text(alphabet="<b>/ =&;\x00\u202e"))
@example("<b>\x00</b>\x00<b>")
def test_no_text_becomes_markup(text: str) -> None:
    page = Page(texts.untrusted(text))
    assert all(element == ("span", [("class", "control")]) for element in page.elements)
    assert page.said == texts.visible(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", page.said)


@given(st.text())
def test_spelling_out_twice_changes_nothing(text: str) -> None:
    said = Page(texts.untrusted(text)).said
    assert Page(texts.untrusted(said)).elements == []


def test_markup_in_a_text_is_shown() -> None:
    page = Page(texts.untrusted("<script>alert(1)</script> {{7*7}} & {}"))
    assert page.elements == []
    assert page.said == "<script>alert(1)</script> {{7*7}} & {}"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert texts.untrusted("x" * 1_001, 5) == "xxxxx … (1,001 characters)"
    assert texts.untrusted("x" * 5, 5) == "xxxxx"
