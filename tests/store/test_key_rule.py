"""Whatever changes a number changes a key: each literal is changed in a copy of the code, and digests are compared."""

import ast
import importlib.util
import inspect
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
import transformers
from prefect import Task

from tasks.priming.arms.arms import ARM_GROUPS, own_group
from tasks.priming.arms.contexts import OwnArm
from tasks.priming.arms.treatments import TREATMENTS
from tasks.priming.arms.writing import Writing
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.records import Surrogate
from tasks.priming.sampling import draw_samples
from tasks.priming.scoring import score_family
from tasks.priming.scoring_checks import CheckedFamily, check_scoring
from tasks.priming.settings import GenerationSettings, LanguageModelSettings, SamplingSettings
from tasks.priming.statistics.all_statistics import STATISTICS
from tasks.routing import route_queries as route_stage
from tasks.sampling import draw_samples as draw_stage
from tasks.scoring import check_scoring as stage_of_checks
from tasks.scoring import score_contexts
from tasks.store import code
from tasks.store.artifacts import ROOT
from tasks.store.caching import StageCache, essence
from tests.tiny_models import tiny_mistral

SURVIVORS = {
    "dataclass": "whether a record can be changed and has slots, not what it holds",
    "lru_cache": "how many results are kept, not what they are",
    "model_validator": "when settings are checked, not what is computed with them",
}
"""Decorators of tasks.priming whose literals no digest contains, and why they change no number."""

NUMBERS = (int, float)


def literals(tree: ast.AST, kinds: tuple[type, ...]) -> list[ast.Constant]:
    """Return the literals of exactly these types, docstrings left out."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in bare)
    return [node for node in nodes if type(node.value) in kinds]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + (1 if isinstance(value, NUMBERS) else "x" if isinstance(value, str) else b"x")


def mutants(path: Path, kinds: tuple[type, ...]) -> Iterator[tuple[ast.stmt, ast.Constant]]:
    """Yield each literal and its top-level statement while the file has another value in its place."""
    text = path.read_text()
    tree = ast.parse(text)
    for statement in tree.body:
        for literal in literals(statement, kinds):
            value, literal.value = literal.value, changed(literal.value)
            path.write_text(ast.unparse(tree))
            yield statement, literal
            literal.value = value
    path.write_text(text)


def decorator_of(statement: ast.stmt, literal: ast.Constant) -> str | None:
    """Return the decorator that a literal is an argument of, if it is."""
    decorators = (part for node in ast.walk(statement) for part in getattr(node, "decorator_list", ()))
    calls = (part for part in decorators if any(node is literal for node in ast.walk(part)))
    return next((ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)), None)


def forget() -> None:
    for cached in (code.code_digest, code.package_digest, code._definitions, code._dump):
        cached.cache_clear()
    code._sources.clear()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the code, of which digests are taken."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("model", "__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


@pytest.mark.slow
def test_every_literal_of_priming_is_part_of_a_digest(checkout: Path) -> None:
    """Numbers, flags and texts alike. The digests of stages and of the package are hashes of such definitions."""
    survivors, count = set(), 0
    for path in sorted((checkout / "tasks" / "priming").rglob("*.py")):
        module = code._module(path)
        before = {name: code._dump(module, name) for name in code._definitions(module)}
        for statement, literal in mutants(path, (*NUMBERS, bool, str, bytes)):
            forget()
            count += 1
            names = code._names_defined(statement, before.keys())
            if all(code._dump(module, name) == before[name] for name in names):
                survivors.add(decorator_of(statement, literal) or f"{module}: {ast.unparse(statement)}")
        forget()
    assert count > 1000
    assert survivors == set(SURVIVORS)


# --- what a stage executes is in its digest ---


def executed(computation: Callable[..., Any], *arguments: Any) -> tuple[Any, set[tuple[str, str]]]:
    """Return a computation's result and the (module, definition) of tasks.priming that it executed."""
    found: set[tuple[str, str]] = set()
    folder = str(ROOT / "tasks" / "priming")

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder):
            found.add((frame.f_code.co_filename, frame.f_code.co_qualname.partition(".")[0]))

    sys.setprofile(note)
    try:
        result = computation(*arguments)
    finally:
        sys.setprofile(None)
    return result, {(code._module(Path(file)), name) for file, name in found if name[0] not in "<"}


@pytest.fixture(scope="module")
def language_model(mistral_tokenizer_folder: Any) -> LanguageModel:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    return LanguageModel(tiny_mistral(vocab_size=32_000), tokenizer, 256, choose_numeric_path("cpu", "float32"))


def rows(count: int) -> Iterator[dict[str, str]]:
    for number in range(count):
        yield {
            "passage": f"Cashier {number} earns {number} $ an hour.",
            "query": f"pay {number}?",
            "answer": f"{number} $",
        }


def closure_of(stage: Task[..., Any], inputs: dict[str, Any]) -> set[tuple[str, str]]:
    """Return all definitions that the key of a stage's call is made from."""
    policy = stage.cache_policy
    assert isinstance(policy, StageCache)
    assert callable(policy.computation)
    return {place for name in policy.computation(inputs) for place in code._closure(*name.split(":"))}


@pytest.mark.slow
def test_all_code_that_a_stage_executes_is_in_its_digest(language_model: LanguageModel) -> None:
    """A function that is found by other means than its name could be edited without a new key."""
    draw = partial(draw_samples, has_keywords=True)
    drawn, ran = executed(draw, rows(6), SamplingSettings(sample_count=2, min_words=1), 0)
    assert ran <= set(code._closure("tasks.priming.sampling", "draw_samples"))
    generated: list[Surrogate] = []
    families = []
    own_arms = [
        OwnArm(family="mine", key="phrase", template="{text}{passage}", text="A phrase"),
        OwnArm(family="mine", key="written", template="{text}{passage}", instruction="Write.", word_limit=3),
    ]
    for entry in (*ARM_GROUPS.values(), *map(own_group, own_arms)):
        surrogates: list[Surrogate] = []
        if write := entry.write:
            own = {"data_texts": drawn.texts, "wording": entry.wording}
            writing = Writing(0, language_model, GenerationSettings(max_new_tokens=3), drawn.donors, generated, **own)
            surrogates, ran = executed(write, drawn.samples, writing)
            assert ran <= set(code._closure(*entry.writer.split(":")))
            generated = surrogates if entry.contexts.family == "generated" else generated
        treatments = {key: {name: TREATMENTS[name] for name in own} for key, own in entry.treatments_by_key.items()}
        arguments = (entry.contexts, drawn.samples, surrogates, language_model, drawn.distractors, treatments)
        scores, ran = executed(score_family, *arguments)
        assert ran <= closure_of(score_contexts, {"treatments": entry.treatments_by_key})
        assert {score.status for score in scores} == {"ok"}
        families.append(CheckedFamily(entry.contexts, surrogates, scores, treatments))
    worst = max(families[0].scores, key=lambda score: score.nll or 0.0).sample_id
    samples = [sample for sample in drawn.samples if sample.sample_id == worst]
    distractors = [distractor for distractor in drawn.distractors if distractor.sample_id == worst]
    _, ran = executed(check_scoring, families, samples, distractors, language_model)
    named = [(None, entry.treatments_by_key, None, None) for entry in ARM_GROUPS.values()]
    assert ran <= closure_of(stage_of_checks, {"families": named})
    assert ("tasks.priming.engine.attention", "Pack") in ran


# --- one more treatment, one more text ---

TREATMENT = """

def forget(parts: Parts) -> Sight:
    return Sight(hidden_from_query=parts.prefix)


TREATMENTS["forgotten"] = forget
"""
WRITER = """

def write_thanks(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    return _controls("thanks", samples, lambda number, sample: "Thank you.")
"""
ENTRY = """

ARM_GROUPS["control/thanks"] = _control("thanks", write_thanks)
"""


def digests() -> dict[str, Any]:
    """Return the digests of the code of every call of the stages before the statistics, and of these."""
    by_name = {
        "sampling": draw_stage.cache_policy,
        "routing": route_stage.cache_policy,
        **{f"writing {name}": entry.writer for name, entry in ARM_GROUPS.items() if entry.write},
        **{table: statistic.computation for table, statistic in STATISTICS.items()},
    }
    found: dict[str, Any] = {
        name: code.code_digest(str(getattr(policy, "computation", policy))) for name, policy in by_name.items()
    }
    scoring = score_contexts.cache_policy
    assert isinstance(scoring, StageCache)
    assert callable(scoring.computation)
    for name, entry in ARM_GROUPS.items():
        computations = scoring.computation({"treatments": entry.treatments_by_key})
        found[f"scoring {name}"] = [code.code_digest(computation) for computation in computations]
    return found


@pytest.mark.slow
def test_another_treatment_or_text_recomputes_nothing_else(checkout: Path) -> None:
    """One function and one entry each: the keys of all other calls stay, so that they are remembered."""
    before, package = digests(), code.package_digest()
    assert len(before) > 20
    arms = checkout / "tasks" / "priming" / "arms"
    for file, text in (("treatments.py", TREATMENT), ("controls.py", WRITER), ("arms.py", ENTRY)):
        (arms / file).write_text((arms / file).read_text() + text)
    importing = (arms / "arms.py").read_text().replace("    write_shuffled,", "    write_shuffled,\n    write_thanks,")
    (arms / "arms.py").write_text(importing)
    forget()
    assert code.package_digest() != package
    assert digests() == before
    # and a treatment that is edited recomputes what names it alone
    edited = (
        (arms / "treatments.py")
        .read_text()
        .replace("parts.prefix, closes_gap=True", "parts.surrogate, closes_gap=True")
    )
    (arms / "treatments.py").write_text(edited)
    forget()
    after = digests()
    assert {name for name in after if after[name] != before[name]} == {
        f"scoring {name}" for name, entry in ARM_GROUPS.items() if "stripped" in entry.treatments
    }


# --- what is passed on to tasks.priming from outside ---


def defaults(function: Callable[..., Any]) -> list[Any]:
    """Return the defaults of a stage's arguments, which Prefect adds to those of its key."""
    return [parameter.default for parameter in inspect.signature(function).parameters.values()]


def identity_of_quantised_model(module: Any) -> Any:
    """Return the key's part of a model whose files are those of some commit on the hub."""
    vars(module).update(find_model=lambda name: None, identify_files=lambda name, revision: {"revision": "a" * 40})
    return essence(module.identify_language_model(LanguageModelSettings(device="cpu", quantization="nf4")))


def checked_counts(module: Any) -> list[Any]:
    """Return an argument of check_scoring for runs of several sizes."""
    calls = [module.checking_call({}, {"rows": count}, {}, {}, {}) for count in (1, 49, 50, 51)]
    return [call["scoring"]["checked_count"] for call in calls]


PARTS_OF_KEYS: dict[str, Callable[[Any], Any]] = {
    "tasks/loading/models.py": identity_of_quantised_model,
    "tasks/scoring.py": checked_counts,
    "tasks/statistics.py": lambda module: defaults(module.compute_statistic.fn),
}
OUTSIDE_OF_KEYS = {
    "tasks/loading/models.py": {
        "_TEMPLATE_SECONDS, _TEMPLATE_BYTES": "limits of a check that passes or raises",
        "require_end": "in the message of that check",
        "held_quantization": "the memory of no GPU at all, for an estimate",
        "_checked": "in a check that passes or raises, and in its message",
        "_language_model": "in a message, and how many models are kept",
        "_embedding_model": "how many models are kept",
    },
    "tasks/scoring.py": {"check_scoring": "which family tells the model's shape: all have the same model"},
    "tasks/statistics.py": {
        "_read_run_data": "how many runs are kept",
        "preliminary_summary": "in a line of the log, which is no result",
    },
}
"""Definitions with numbers that no key contains, and why they change no number of a run."""


def imported(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("mutant", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", PARTS_OF_KEYS)
def test_numbers_that_are_passed_on_to_priming_are_parts_of_keys(checkout: Path, file: str) -> None:
    path = checkout / file
    before = PARTS_OF_KEYS[file](imported(path))
    survivors: set[str] = set()
    found: set[str] = set()
    for statement, _ in mutants(path, NUMBERS):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        name = getattr(statement, "name", None) or ", ".join(ast.unparse(target).strip("()") for target in targets)
        (survivors if PARTS_OF_KEYS[file](imported(path)) == before else found).add(name)
    assert survivors == set(OUTSIDE_OF_KEYS[file])
    assert bool(found) == (file != "tasks/loading/models.py")  # whose numbers are all about loading


def test_how_weights_are_quantised_is_part_of_the_models_identity(checkout: Path) -> None:
    path = checkout / "tasks" / "loading" / "models.py"
    before = identity_of_quantised_model(imported(path))
    for statement, _ in mutants(path, (bool, str)):
        if ast.unparse(statement).startswith("_NF4"):
            assert identity_of_quantised_model(imported(path)) != before
