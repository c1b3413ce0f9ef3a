"""Text that anybody may have written, made harmless to show: passages, queries, answers, surrogates, names.

In: any text. Out: text whose markup is escaped and whose invisible characters can be seen. What would turn the page's
own text around (marks of direction) is shown as a code, and the caller isolates the rest with <bdi> or dir="auto".
"""

import re

from markupsafe import Markup, escape

_ZERO_WIDTH = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_LINES = "\u0085\u2028\u2029"
# Tab and line feed are layout that people meant; all other controls are shown, lone surrogates and non-characters too.
_INVISIBLE = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_ZERO_WIDTH}{_DIRECTION}{_LINES}\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0000-\U000e0fff]+"
)
_PICTURES = 0x2400
"""Where Unicode has a picture of each of the first 32 control characters."""


def visible(text: str) -> str:
    r"""Return text in which characters that nobody would see are spelled out.

    Example:
        >>> visible("a\x00b\u202ec\td")
        'a␀b[U+202E]c\td'
    """
    return _INVISIBLE.sub(lambda match: _spelled(match.group()), text)


def clipped(text: str, limit: int) -> str:
    """Return text cut after a number of characters, saying how long it was."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"


def untrusted(text: object, limit: int = 2_000) -> Markup:
    r"""Return text as HTML in which nothing is markup but the marks around what had to be spelled out.

    Example:
        >>> str(untrusted("<b>\x00\u202e"))
        '&lt;b&gt;<span class="control">␀[U+202E]</span>'

    Args:
        text: Anything; it is shown as str() gives it.
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
