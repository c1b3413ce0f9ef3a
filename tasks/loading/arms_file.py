"""Texts of one's own in a YAML file, and the built-in ones as such a file.

In: a file that anybody may have written. Out: arms, or an error that says where the file is wrong. Every value is read
as text: nothing is constructed, a tag or an alias is refused, and so is what is large or deep.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.loading.data import local_path, unreadable
from tasks.loading.redaction import printable
from tasks.priming.arms.arms import BUILT_IN_ARMS
from tasks.priming.arms.contexts import WITHOUT_TEXT, OwnArm
from tasks.priming.errors import SetupError
from tasks.priming.records import KEPT
from tasks.priming.settings import FAMILY_NAMES

_MOST_BYTES = 200_000
_MOST_LEVELS = 8  # the file's own form has five
_FIELDS = ("template", "routed", "treatments", "texts", "instructions")
_SHOWN_CHARACTERS = 300

_EXPLAINED = """\
# Texts that stand before a document when its cache is built. Change or add families, give them names of their own, and
# run them: python -m flows run --arms FILE. A built-in family keeps its texts. Those made by functions are not here:
# free/keywords, free/lead, free/echo and the controls.
"""


def read_arms(file: str) -> tuple[OwnArm, ...]:
    """Return the arms of a file that are not built in.

    Raises:
        SetupError: The file cannot be read or is not as docs/texts.md describes.
    """
    path = local_path(file)
    try:
        with path.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > _MOST_BYTES:
        raise _wrong(path, f"is larger than {_MOST_BYTES:,} bytes", "Keep to the texts that one run compares")
    try:
        _require_plain(path, content)
        node = yaml.compose(content, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeError) as error:
        raise _wrong(path, f"is not YAML ({' '.join(str(error).split())})", "Correct the file") from None
    found = _plain(path, node) if node else {}
    families = found.get("families") if isinstance(found, dict) and set(found) == {"families"} else None
    if not isinstance(families, dict):
        raise _wrong(
            path, "does not consist of families: and their names", "See what is built in: python -m flows arms"
        )
    arms = [arm for name, family in families.items() for arm in _arms(path, name, family)]
    own = tuple(arm for arm in arms if arm not in BUILT_IN_ARMS)
    if changed := [arm.family for arm in own if arm.family in FAMILY_NAMES]:
        raise _wrong(
            path,
            f"has other texts in the built-in family {changed[0]} than are built in",
            "Give your family another name",
        )
    return own


def as_file(arms: Sequence[OwnArm]) -> str:
    """Return arms as a file that read_arms reads."""
    families: dict[str, dict[str, Any]] = {}
    for arm in arms:
        family = families.setdefault(arm.family, {"template": arm.template, "routed": arm.is_routed})
        family |= {"treatments": list(arm.treatments)} if arm.treatments != (KEPT,) else {}
        if arm.text:
            family.setdefault("texts", {})[arm.key] = arm.text
        if arm.instruction:
            written = {"instruction": arm.instruction, "word_limit": arm.word_limit}
            family.setdefault("instructions", {})[arm.key] = written
    shown = yaml.dump({"families": families}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"{_EXPLAINED}{shown}"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc] # the library has no types
    """Writes a text of several lines as lines."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)
)


def _require_plain(path: Path, content: bytes) -> None:
    """Refuse what would construct objects, repeat parts of the file, or nest deeply, before anything is built of it."""
    level = 0
    for event in yaml.parse(content, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(path, f"repeats a part of itself in line {line} (*{event.anchor})", "Write it out")
        if getattr(event, "tag", None):
            raise _wrong(path, f"has the tag {event.tag} in line {line}", "Write plain texts: nothing is constructed")
        if level > _MOST_LEVELS:
            raise _wrong(
                path, f"nests more than {_MOST_LEVELS} levels in line {line}", "Keep to families and their texts"
            )


def _plain(path: Path, node: yaml.Node) -> Any:  # noqa: ANN401 - texts, lists and dicts of them
    """Return what a node says, in texts, lists and dicts."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    found: dict[str, Any] = {}
    for key, value in node.value:
        name, line = _plain(path, key), key.start_mark.line + 1
        if not isinstance(name, str) or name in found:
            said = f"names {name!r:.100} twice" if isinstance(name, str) else "has a name that is no text"
            raise _wrong(path, f"{said} in line {line}", "Give each text and family a name of its own")
        found[name] = _plain(path, value)
    return found


def _arms(path: Path, name: str, family: object) -> Iterator[OwnArm]:
    """Yield the arms of one family."""
    if not isinstance(family, dict) or not set(family) <= {*_FIELDS} or "template" not in family:
        raise _wrong(
            path,
            f"has something else in family {name!r:.100} than a template and its texts",
            f"Keep to {', '.join(_FIELDS)}; a text with braces needs quotes",
        )
    parts = {part: family.get(part, {}) for part in ("texts", "instructions")}
    if not all(isinstance(members, dict) for members in parts.values()):
        raise _wrong(
            path, f"has texts or instructions in family {name!r:.100} that have no names", "Name each: what: Text"
        )
    common = {"family": name, "template": family["template"]}
    common |= {"treatments": family["treatments"]} if "treatments" in family else {}
    named = [(key, {"text": text}) for key, text in parts["texts"].items()]
    named += [(key, given) for key, given in parts["instructions"].items()]
    routed = family.get("routed", "true" if len(named) > 1 else "false")
    for key, wording in named or [(WITHOUT_TEXT, {})]:
        given = wording if isinstance(wording, Mapping) else {"instruction": wording}
        try:
            yield OwnArm.model_validate({**given, **common, "key": key, "is_routed": routed})
        except ValidationError as error:
            raise _wrong(path, f"cannot be used at {name}/{key}: {_said(error)}", "Correct it") from None


def _said(error: ValidationError) -> str:
    """Return what is wrong with an arm, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"


def _wrong(path: Path, problem: str, advice: str) -> SetupError:
    shown = problem if len(problem) <= _SHOWN_CHARACTERS else f"{problem[:_SHOWN_CHARACTERS]}..."
    return SetupError(f"The file of texts {printable(str(path))} {printable(shown)}. {advice}: docs/texts.md")
