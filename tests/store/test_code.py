"""The digest of a computation changes with what it computes, and with nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prefect import Task

import tasks.routing
import tasks.sampling
import tasks.scoring
import tasks.statistics
import tasks.surrogates
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.store import code
from tasks.store.artifacts import ROOT
from tasks.store.caching import StageCache
from tasks.store.code import code_digest
from tasks.store.tables import TABLES
from tests.tiers import slow

Digest = Callable[..., str]

PROMPTS = '''"""Texts."""

QUERY = "Query: {query}"
OTHER = "Another: {text}"

def fill(template: str, text: str) -> str:
    return template.format(query=text)
'''
SCORING = '''"""Scores."""

import math
IMPORT

WEIGHT = 2
UNUSED = 1

def score(values):
    """Return a score."""
    return WEIGHT * sum(_scale(value) for value in values) + len(PROMPT)

def _scale(value):
    return math.log(value)

def unrelated(value):
    return value
'''
FORMS = {  # how a module may import another: the import and how it then names the prompt
    "from the module": ("from tasks.priming.prompts import QUERY", "QUERY"),
    "from the module, renamed": ("from tasks.priming.prompts import QUERY as PRIMARY", "PRIMARY"),
    "from the package": ("from tasks.priming import prompts", "prompts.QUERY"),
    "from the package, renamed": ("from tasks.priming import prompts as texts", "texts.QUERY"),
    "the module": ("import tasks.priming.prompts", "tasks.priming.prompts.QUERY"),
    "the module, renamed": ("import tasks.priming.prompts as texts", "texts.QUERY"),
}


def scoring(form: str = "from the module") -> str:
    statement, name = FORMS[form]
    return SCORING.replace("IMPORT", statement).replace("PROMPT", name)


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """Return the digest of tasks.priming.scoring:score in a checkout of the given modules."""
    folder = tmp_path / "tasks" / "priming"
    folder.mkdir(parents=True)
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def digest(scoring_text: str, prompts_text: str = PROMPTS, computation: str = "tasks.priming.scoring:score") -> str:
        (folder / "scoring.py").write_text(scoring_text, encoding="utf-8")
        (folder / "prompts.py").write_text(prompts_text, encoding="utf-8")
        forget()
        return code_digest(computation)

    yield digest
    forget()


def forget() -> None:
    code.code_digest.cache_clear()
    code.package_digest.cache_clear()
    code._definitions.cache_clear()
    code._dump.cache_clear()
    code._sources.clear()


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


# What changes no number.
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return WEIGHT", "    # a comment\n    return WEIGHT"),
        ("Return a score.", "Return another docstring."),
        ('    """Return a score."""\n', ""),
        ('"""Scores."""', '"""A module."""'),
        ("def score", "@decorated(retries=1)\ndef score"),
        ("return value\n", "return value + 1\n"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("WEIGHT * sum(", "(WEIGHT) * sum(  "),
        ("import math\n", "import math\nimport os\n"),
    ],
    ids=[
        "comment",
        "docstring",
        "no docstring",
        "module docstring",
        "decorator",
        "unrelated function",
        "unused constant",
        "white space and parentheses",
        "unused import",
    ],
)
def test_the_digest_stays_when_no_number_changes(digest_of: Digest, old: str, new: str) -> None:
    assert digest_of(scoring()) == digest_of(edited(scoring(), old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WEIGHT * sum", "WEIGHT + sum"),
        ("WEIGHT = 2", "WEIGHT = 3"),
        ("math.log(value)", "math.log2(value)"),
        ("def score(values)", "def score(values, factor=2)"),
        ("import math\n", "import cmath as math\n"),
    ],
    ids=["formula", "constant", "function that it calls", "default value", "library of the same name"],
)
def test_the_digest_changes_with_what_is_computed(digest_of: Digest, old: str, new: str) -> None:
    assert digest_of(scoring()) != digest_of(edited(scoring(), old, new))


@pytest.mark.parametrize("form", FORMS)
def test_an_edited_prompt_changes_the_digest_of_what_sends_it(digest_of: Digest, form: str) -> None:
    """A first draft missed `from tasks.priming import prompts`; another missed `import a.b.c`."""
    assert digest_of(scoring(form)) != digest_of(scoring(form), edited(PROMPTS, "Query:", "Question:"))


@pytest.mark.parametrize("form", ["from the module", "from the module, renamed"])
def test_another_prompt_leaves_the_digest_alone(digest_of: Digest, form: str) -> None:
    assert digest_of(scoring(form)) == digest_of(scoring(form), edited(PROMPTS, "Another:", "One more:"))


@pytest.mark.parametrize("form", FORMS)
def test_an_import_inside_the_function_counts_as_one_above(digest_of: Digest, form: str) -> None:
    statement, name = FORMS[form]
    text = SCORING.replace("IMPORT", "").replace("PROMPT", name)
    text = edited(text, '"""Return a score."""', statement)
    assert digest_of(text) != digest_of(text, edited(PROMPTS, "Query:", "Question:"))


def test_what_an_imported_function_uses_counts(digest_of: Digest) -> None:
    text = edited(scoring(), "import QUERY", "import QUERY, fill").replace("len(QUERY)", 'len(fill(QUERY, ""))')
    assert digest_of(text) != digest_of(text, edited(PROMPTS, "template.format(query=text)", "template + text"))


def test_what_a_used_class_holds_counts(digest_of: Digest) -> None:
    text = scoring() + '\nclass Scale:\n    """A scale."""\n    factor = 2\n    def of(self): return UNUSED\n'
    text = edited(text, "math.log(value)", "Scale().of() * value")
    assert digest_of(text) == digest_of(edited(text, "A scale.", "Another docstring."))
    assert digest_of(text) != digest_of(edited(text, "factor = 2", "factor = 3"))
    assert digest_of(text) != digest_of(edited(text, "UNUSED = 1", "UNUSED = 2"))


@pytest.mark.parametrize(
    ("definition", "old", "new"),
    [
        ("WEIGHT = 2\nWEIGHT = WEIGHT * 2", "WEIGHT = 2\n", "WEIGHT = 3\n"),
        ("WEIGHT = 2\nWEIGHT += 1", "+= 1", "+= 2"),
        ("WEIGHT, SECOND = 2, 3", "2, 3", "4, 3"),
        ("WEIGHT: int = 2", "int = 2", "int = 3"),
        ("if UNUSED:\n    WEIGHT = 2\nelse:\n    WEIGHT = 3", "WEIGHT = 3", "WEIGHT = 4"),
        ("try:\n    import fast as WEIGHT\nexcept ImportError:\n    WEIGHT = 3", "WEIGHT = 3", "WEIGHT = 4"),
        ("WEIGHT = {}\nWEIGHT['a'] = 1", "= 1\n", "= 2\n"),
        ("WEIGHT = {'b': 2}\nWEIGHT['a'] = 1", "'b': 2", "'b': 3"),
        ("WEIGHT = [2]\nWEIGHT.append(3)", "append(3)", "append(4)"),
        ("WEIGHT = [2]\nfor number in (1, 2):\n    WEIGHT.append(number)", "(1, 2)", "(1, 3)"),
        ("async def WEIGHT():\n    return 2", "return 2", "return 3"),
    ],
    ids=[
        "assigned twice",
        "added to",
        "one of two",
        "annotated",
        "in an if",
        "in a try",
        "an item added",
        "before an item is added",
        "changed by a method",
        "changed in a loop",
        "asynchronous function",
    ],
)
def test_a_definition_counts_however_it_is_written(digest_of: Digest, definition: str, old: str, new: str) -> None:
    """Several once did not: only the last plain assignment of a name was hashed, and nothing inside an if."""
    text = edited(scoring(), "WEIGHT = 2", definition)
    before, after = digest_of(text), digest_of(edited(text, old, new))
    assert before != after


def test_a_definition_that_moves_to_another_module_is_another_computation(digest_of: Digest) -> None:
    moved = edited(scoring(), "WEIGHT = 2", "from tasks.priming.prompts import WEIGHT")
    assert digest_of(scoring()) != digest_of(moved, PROMPTS + "\nWEIGHT = 2\n")


@pytest.mark.parametrize(
    "computation",
    ["tasks.priming.scoring:nothing", "tasks.priming.nothing:score", "tasks.priming.scoring", "os:getcwd", ""],
)
def test_a_computation_that_does_not_exist_is_refused(digest_of: Digest, computation: str) -> None:
    with pytest.raises(ValueError, match=rf"There is no computation '{computation}'; it is written module:function\."):
        digest_of(scoring(), computation=computation)


@pytest.mark.parametrize(
    "stage",
    [
        tasks.sampling.draw_samples,
        tasks.routing.route_queries,
    ],
    ids=lambda stage: str(stage.name),
)
def test_every_stage_names_a_computation_that_exists(stage: Task[..., Any]) -> None:
    policy = stage.cache_policy
    assert isinstance(policy, StageCache)
    assert isinstance(policy.computation, str)
    assert len(code_digest(policy.computation)) == 64


def test_scoring_and_its_checks_name_the_treatments_that_they_are_asked_for() -> None:
    """A treatment that an arm does not get is no part of its key."""
    policies = [stage.cache_policy for stage in (tasks.scoring.score_contexts, tasks.scoring.check_scoring)]
    kept, both = {"factual": ["kept"]}, {"factual": ["kept"], "problem": ["kept", "stripped"]}
    for policy, name in zip(policies, ("score_family", "check_scoring"), strict=True):
        assert isinstance(policy, StageCache)
        assert callable(policy.computation)
        for treatments, functions in ((kept, ["keep"]), (both, ["keep", "strip"])):
            found = policy.computation({"treatments": treatments, "families": [(None, treatments, None, None)]})
            assert [computation.partition(":")[2] for computation in found] == [name, *functions]
            assert {len(code_digest(computation)) for computation in found} == {64}


def test_every_family_that_is_written_names_its_writer() -> None:
    policy = tasks.surrogates.write_surrogates.cache_policy
    assert isinstance(policy, StageCache)
    assert callable(policy.computation)
    written = {name: entry for name, entry in ARM_GROUPS.items() if entry.write}
    writers = {name: policy.computation({"family": name, "wording": e.wording}) for name, e in written.items()}
    assert writers == {name: entry.writer for name, entry in written.items()}
    # Phrases have one function in common: which phrase it is, is data.
    functions = {entry.writer for entry in written.values()}
    assert len({code_digest(writer) for writer in functions}) == len(functions) > 1


def test_every_statistic_names_its_computation_and_fills_a_table_of_its_own() -> None:
    policy = tasks.statistics.compute_statistic.cache_policy
    assert isinstance(policy, StageCache)
    assert callable(policy.computation)
    statistics = tasks.statistics.statistics_by_table()
    digests = {code_digest(policy.computation({"table": table})) for table in statistics}
    assert len(digests) == len(statistics) > 1
    assert {table: TABLES[table].record for table in statistics} == {
        table: statistic.record for table, statistic in statistics.items()
    }


def test_threads_that_ask_at_once_get_the_same_digest() -> None:
    """Two that parsed at once broke each other in Python 3.11, and the chunk's result was not remembered."""
    from concurrent.futures import ThreadPoolExecutor

    asked = [entry.writer for entry in ARM_GROUPS.values() if entry.write] * 4
    for _ in range(3):
        code.code_digest.cache_clear()
        code._definitions.cache_clear()
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(code_digest, asked))
        assert found == [code_digest(computation) for computation in asked]


PINNED = """
import sys
from pathlib import Path
from tasks.store.code import code_digest, package_digest

prompts = Path("tasks/priming/prompts.py")
if sys.argv[1] == "hashed first":
    before = package_digest(), code_digest("tasks.priming.prompts:query_prompt")
else:
    import tasks.priming.prompts
prompts.write_text(prompts.read_text().replace("Query:", "Enquiry:"))
from tasks.priming.prompts import query_prompt
if sys.argv[1] == "imported first":
    before = package_digest(), code_digest("tasks.priming.prompts:query_prompt")
print(query_prompt("why"), *before)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code that tasks.store.code needs, to be edited."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("model", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("order", ["hashed first", *slow("imported first")])
def test_code_that_is_edited_while_a_process_runs_is_neither_run_nor_hashed(checkout: Path, order: str) -> None:
    """Source was hashed after it was imported: numbers of the old prompt were kept under the new one's key."""
    run = [sys.executable, "-c", PINNED, order]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    found = subprocess.run(run, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    *said, package, prompt = found.stdout.split()
    assert "Enquiry" not in found.stdout
    assert "Query:" in said
    assert package == code.package_digest()  # that of the code as it was
    assert prompt == code_digest("tasks.priming.prompts:query_prompt")


@pytest.mark.slow
def test_an_edit_of_what_is_compiled_on_disk_is_run_and_hashed(checkout: Path) -> None:
    """Python takes compiled code for that of a source of the same second and size."""
    show = (
        "from tasks.priming.prompts import query_prompt; from tasks.store.code import package_digest as d; "
        "print(query_prompt('why').split()[0], d())"
    )
    prompts = checkout / "tasks" / "priming" / "prompts.py"
    run = [sys.executable, "-c", show]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    found = []
    for old, new in (("Query:", "Query:"), ("Query:", "Issue:")):
        time = prompts.stat().st_mtime_ns
        prompts.write_text(prompts.read_text().replace(old, new))
        os.utime(prompts, ns=(time, time))
        done = subprocess.run(run, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert [word for word, _ in found] == ["Query:", "Issue:"]
    assert found[0][1] != found[1][1]


def test_the_packages_digest_changes_with_any_definition_and_with_no_comment(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "ROOT", checkout)

    def digest() -> str:
        forget()
        return code.package_digest()

    path = checkout / "tasks" / "priming" / "sampling.py"
    whole, before = path.read_text(), digest()
    path.write_text(whole + "\n# a comment\n")
    assert digest() == before
    path.write_text(whole + "\n_UNHEARD_OF = 1\n")
    assert digest() != before
    forget()


def test_the_key_of_a_stage_follows_the_code_of_its_computation(digest_of: Digest) -> None:
    """A key of the computation's name would serve what an earlier version computed."""
    policy = StageCache(stage="scoring", computation="tasks.priming.scoring:score")

    def key(text: str) -> str:
        digest_of(text)  # writes the module
        return policy.compute_key(cast(Any, None), {"seed": 1}, {})

    assert key(scoring()) != key(edited(scoring(), "WEIGHT = 2", "WEIGHT = 3"))
    assert key(scoring()) == key(edited(scoring(), "UNUSED = 1", "UNUSED = 2"))
