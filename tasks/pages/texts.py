"""Text that anybody may have written (passages, queries, answers, surrogates, names), made harmless to show.

In: any text. Out: text with its markup escaped and its invisible characters spelled out. Marks of direction, which
would reorder the page's own text, are shown as codes; callers isolate the rest with <bdi> or dir="auto".
"""

import re

from markupsafe import Markup, escape

_ZERO_WIDTH = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_LINES = "\u0085\u2028\u2029"
# Tab and line feed are meant as layout; all other controls are shown, and lone surrogates and non-characters.
_INVISIBLE = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_ZERO_WIDTH}{_DIRECTION}{_LINES}\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0000-\U000e0fff]+"
)
_PICTURES = 0x2400
"""Where Unicode has a picture of each of the first 32 control characters."""


def visible(text: str) -> str:
    r"""Return text with its invisible characters spelled out.

    Example:
        >>> visible("a\x00b\u202ec\td")
        'a␀b[U+202E]c\td'
    """
    return _INVISIBLE.sub(lambda match: _spelled(match.group()), text)


def on_one_line(text: str) -> str:
    """Return visible text for a cell or a sentence: line breaks and tabs are shown as signs."""
    return visible(text).replace("\n", "␊").replace("\t", "␉")


def clipped(text: str, limit: int) -> str:
    """Return text cut after a number of characters, with its length."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"


def untrusted(text: object, limit: int = 2_000) -> Markup:
    r"""Return text as HTML without any markup but that of the characters that are spelled out.

    Example:
        >>> str(untrusted("<b>\x00\u202e"))
        '&lt;b&gt;<span class="control">␀[U+202E]</span>'

    Args:
        text: Anything; str() of it is shown.
        limit: The most characters that are shown.
    """
    parts: list[Markup] = []
    shown, end = clipped(str(text), limit), 0
    for match in _INVISIBLE.finditer(shown):
        parts.append(escape(shown[end : match.start()]))
        parts.append(Markup('<span class="control">{}</span>').format(_spelled(match.group())))
        end = match.end()
    return Markup("").join([*parts, escape(shown[end:])])


def _spelled(characters: str) -> str:
    return "".join(
        chr(_PICTURES + ord(character)) if character < " " else f"[U+{ord(character):04X}]" for character in characters
    )
