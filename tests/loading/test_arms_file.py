"""Texts of one's own in a file: what is read, that the built-in ones come back as they are, and what is refused."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.__main__ import main
from tasks.loading.arms_file import as_file, read_arms
from tasks.priming.arms.arms import ARM_GROUPS, BUILT_IN_ARMS, entries_of
from tasks.priming.arms.contexts import OwnArm
from tasks.priming.errors import SettingsError, SetupError
from tasks.priming.settings import resolve_settings
from tasks.run import RunInputs, name_run
from tasks.surrogates import writing_calls
from tests.places import ROOT

EXAMPLE = r"""
families:
  notes:
    template: "Notes: {text}\n\nDocument:\n{passage}"
    treatments: [kept, stripped]
    texts:
      short: A short note.
      price: "Costs {much}: 3 %"
    instructions:
      summary:
        instruction: Write one sentence.
        word_limit: 20
  plain:
    template: "Passage: {passage}"
"""


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def families(text: str) -> str:
    """Return a file with one family, whose lines these are."""
    return "families:\n  mine:\n" + "".join(f"    {line}\n" for line in text.splitlines())


TEMPLATE = 'template: "{text} | {passage}"\n'


def test_a_file_gives_its_conditions(tmp_path: Path) -> None:
    """Expected: by reading the file above."""
    arms = read_arms(write(tmp_path, EXAMPLE))
    frame = "Notes: {text}\n\nDocument:\n{passage}"
    common = {"family": "notes", "template": frame, "is_routed": True, "treatments": ("kept", "stripped")}
    assert [arm.model_dump(exclude_defaults=True) for arm in arms] == [
        common | {"key": "short", "text": "A short note."},
        common | {"key": "price", "text": "Costs {much}: 3 %"},
        common | {"key": "summary", "instruction": "Write one sentence.", "word_limit": 20},
        {"family": "plain", "key": "document", "template": "Passage: {passage}"},
    ]
    entries = entries_of(resolve_settings("demo", arms=arms))
    assert list(entries)[-4:] == ["notes/short", "notes/price", "notes/summary", "plain/document"]
    assert entries["notes/price"].contexts.context("P{x}.", "Costs {much}: 3 %") == (
        "Notes: Costs {much}: 3 %\n\nDocument:\nP{x}."
    )
    assert entries["plain/document"].contexts.context("P.", None) == "Passage: P."
    assert [entries[name].is_written for name in list(entries)[-4:]] == [False, False, True, False]


def test_the_printed_file_holds_the_built_in_texts_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expected: the same settings, hence the same run, conditions and keys, as without the file."""
    assert main(["arms"]) == 0
    printed = capsys.readouterr().out
    shown = yaml.safe_load(printed)["families"]
    assert list(shown) == ["baseline", "static", "generated", "free"]
    assert shown["static"]["texts"]["factual"] == "What are the key facts I need to know?"  # walkthrough, cell 7
    assert shown["generated"]["instructions"]["keyword_query"]["word_limit"] == 6
    arms = read_arms(write(tmp_path, printed))
    assert arms == ()
    with_file, without = (resolve_settings("demo", arms=given) for given in (arms, None))
    assert with_file == without
    inputs = RunInputs({"sha256": "a"}, {"sha256": "b"}, {"sha256": "c"})
    assert name_run(with_file, inputs) == name_run(without, inputs)
    assert entries_of(with_file) == entries_of(without)


def test_the_pages_example_is_such_a_file(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "texts.md").read_text(encoding="utf-8"), re.DOTALL)
    names = [f"{arm.family}/{arm.key}" for arm in read_arms(write(tmp_path, example))]
    assert names == ["notes/price", "notes/place", "notes/summary", "plain/document"]


def test_all_arms_survive_being_written_and_read(tmp_path: Path) -> None:
    renamed = tuple(arm.model_copy(update={"family": f"my_{arm.family}"}) for arm in BUILT_IN_ARMS)
    assert read_arms(write(tmp_path, as_file(renamed))) == renamed


def test_a_text_of_ones_own_is_the_same_condition_as_a_built_in_one() -> None:
    """Expected: the contexts of the built-in family, made of the same texts under another family's name."""
    own = [arm.model_copy(update={"family": "mine"}) for arm in BUILT_IN_ARMS if arm.family == "static"]
    entries = entries_of(resolve_settings("demo", arms=own))
    built_in = ARM_GROUPS["static"].contexts
    for key, text in zip(built_in.arm_keys, built_in.fixed_surrogates, strict=True):
        rule = entries[f"mine/{key}"].contexts
        assert rule.context("P.", *rule.fixed_surrogates) == built_in.context("P.", text)


def test_another_text_changes_the_keys_of_no_other(tmp_path: Path) -> None:
    """A changed instruction is another argument of its own writing alone; its template, of scoring alone."""

    def arguments(text: str) -> dict[str, object]:
        settings = resolve_settings("demo", arms=read_arms(write(tmp_path, text)))
        batch: dict[str, dict[str, Any]] = {"0000": {"samples": {}, "donors": {}, "distractors": {}, "texts": {}}}
        entries = [entry for entry in entries_of(settings).items() if entry[0].startswith("notes/")]
        written = {
            name: call for entry in entries for name, call in writing_calls(entry, batch, settings, {}, {}).items()
        }
        return {f"write {name}": call for name, call in written.items()} | {
            f"score {name}": (entry.contexts, entry.treatments) for name, entry in entries
        }

    before = arguments(EXAMPLE)
    longer = arguments(EXAMPLE.replace("Write one sentence", "Write two sentences"))
    assert {name for name in before if before[name] != longer[name]} == {"write notes/summary/0000"}
    another = arguments(EXAMPLE.replace("short: A short note.", "short: A short note.\n      more: More."))
    assert {name for name in another if another[name] != before.get(name)} == {
        "write notes/more/0000",
        "score notes/more",
    }
    framed = arguments(EXAMPLE.replace("Notes: ", "Note: "))
    assert {name.split()[0] for name in before if before[name] != framed[name]} == {"score"}


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "no families": ("texts: {a: b}", "does not consist of families"),
    "a list": ("- a\n- b\n", "does not consist of families"),
    "nothing": ("", "does not consist of families"),
    "no names": (families(TEMPLATE + "texts: [a, b]"), "that have no names"),
    "a field that there is not": (families(TEMPLATE + "text: a"), "something else in family 'mine'"),
    "no template": (families("texts: {a: b}"), "something else in family 'mine'"),
    "a template in braces": (
        families("template: {text}\ntexts: {a: b}"),
        "mine/a: template: Input should be a valid string",
    ),
    "no passage": (families('template: "{text}"\ntexts: {a: b}'), "must hold {text} and {passage} once"),
    "two passages": (
        families('template: "{text}{passage}{passage}"\ntexts: {a: b}'),
        "must hold {text} and {passage} once",
    ),
    "no text": (families('template: "{passage}"\ntexts: {a: b}'), "must hold {text} and {passage} once"),
    "two texts": (families('template: "{text}{text}{passage}"\ntexts: {a: b}'), "must hold {text} and {passage} once"),
    "an unknown placeholder": (families('template: "{text}{passage}{query}"\ntexts: {a: b}'), "no other braces"),
    "the project's own placeholder": (families('template: "{text}{document}"\ntexts: {a: b}'), "no other braces"),
    "an attribute": (families('template: "{text.__class__}{passage}"\ntexts: {a: b}'), "must hold {text}"),
    "an empty text": (families(TEMPLATE + 'texts: {a: " "}'), "must not be empty"),
    "a text that is not there": (families(TEMPLATE + "texts: {a: }"), "must not be empty"),
    "half a pair": (families(TEMPLATE + 'texts: {a: "\\ud83d"}'), "unable to parse raw data as a unicode string"),
    "a text of lists": (families(TEMPLATE + "texts: {a: [b]}"), "mine/a: text: Input should be a valid string"),
    "two texts of one name": (families(TEMPLATE + "texts: {a: b, a: c}"), "names 'a' twice in line 4"),
    "two families of one name": (families(TEMPLATE) + "  mine: {}\n", "names 'mine' twice"),
    "a name that is no text": (families(TEMPLATE + "texts: {[a]: b}"), "a name that is no text"),
    "a name with a slash": (families(TEMPLATE + "texts: {../a: b}"), "cannot be named '../a'"),
    "the name of a derived condition": (families(TEMPLATE + "texts: {routed: b}"), "cannot be named 'routed'"),
    "no word limit": (families(TEMPLATE + "instructions: {a: {instruction: b}}"), "an instruction with a word_limit"),
    "a word limit of words": (
        families(TEMPLATE + "instructions: {a: {instruction: b, word_limit: many}}"),
        "word_limit: Input should be a valid integer",
    ),
    "stripped without the document at the end": (
        families(TEMPLATE + "treatments: [kept, stripped]\ntexts: {a: b}"),
        "ends with 'Document:",
    ),
    "a built-in family with another text": (
        as_file(BUILT_IN_ARMS).replace("Facts", "Other facts"),
        "has other texts in the built-in family free",
    ),
    "an object": (families(TEMPLATE + "texts: {a: !!python/object/apply:os.system [ls]}"), "has the tag"),
    "an object of a name": ("families: !!python/name:os.system\n", "has the tag"),
    "an alias": ("families: &a {mine: *a}\n", "repeats a part of itself in line 1 (*a)"),
    "text that is not YAML": ("families: [a", "is not YAML"),
    "bytes that are no text": (b"families: \xff\xfe\xfa", "is not YAML"),
    "control characters": ("families: {a: '\x00'}", "is not YAML"),
    "two documents": ("families: {}\n---\nfamilies: {}\n", "is not YAML"),
    "nested without end": ("families: " + "[" * 50_000, "nests more than 8 levels in line 1"),
    "nested mappings without end": ("families: " + "{a: " * 40_000, "nests more than 8 levels in line 1"),
    "10 MB": ("families: {}\n" + "#" * 10_000_000, "is larger than 200,000 bytes"),
}
"""What is wrong -> a file and what is said of it."""

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_at_once_with_what_is_wrong(tmp_path: Path, name: str) -> None:
    content, said = REFUSED[name]
    start = time.process_time()
    with pytest.raises(SetupError, match=re.escape(said)) as caught:
        read_arms(write(tmp_path, content))
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 1000
    assert str(caught.value).startswith("The file of texts ")
    assert str(caught.value).endswith(": docs/texts.md")


def test_aliases_that_would_multiply_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="repeats a part of itself in line 2"):
        read_arms(write(tmp_path, LAUGHS))


@pytest.mark.parametrize("file", ["nowhere.yaml", "a\0b", "."])
def test_a_file_that_is_not_there_ends_with_status_2_and_leaves_nothing(
    artifacts_folder: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    assert main(["run", f"--arms={file}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert list(artifacts_folder.iterdir()) == []


def test_a_bad_file_ends_a_run_with_status_2_and_leaves_nothing(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--arms", write(tmp_path, REFUSED["an object"][0])]) == 2
    assert "has the tag" in capsys.readouterr().err
    assert list(artifacts_folder.iterdir()) == []


def test_two_texts_of_one_name_are_refused_however_they_are_given() -> None:
    arm = {"family": "mine", "key": "a", "template": "{text}{passage}", "text": "b"}
    with pytest.raises(SettingsError, match=r"must give each text another name .* got mine/a, mine/a"):
        resolve_settings("demo", arms=[arm, arm])
    with pytest.raises(SettingsError, match="no family the name of a built-in one"):
        resolve_settings("demo", arms=[arm | {"family": "static"}])


def test_a_treatment_that_there_is_not_is_refused() -> None:
    arm = {"family": "mine", "key": "a", "template": "{text}\n\nDocument:\n{passage}", "text": "b"}
    for treatments in (["kept", "cooked"], ["stripped"]):
        with pytest.raises(SettingsError, match="`treatments` of the text mine/a must be names among kept, stripped"):
            resolve_settings("demo", arms=[arm | {"treatments": treatments}])


def test_an_arm_has_a_text_or_an_instruction_and_not_both() -> None:
    with pytest.raises(ValueError, match="must have a text, an instruction with a word_limit, or neither"):
        OwnArm(family="a", key="b", template="{text}{passage}", text="c", instruction="d", word_limit=3)
