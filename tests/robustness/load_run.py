"""A run of many samples with everything but the models: `python -m tests.robustness.load_run COUNT FOLDER`.

In: how many samples, and a folder that stands for artifacts/. Out: one line of JSON with what each stage took: seconds,
peak memory, files. The body of the flow runs as it stands, task bodies included; left out are Prefect's engine, whose
cost by task run docs/scale.md has, and what the models compute: at the engine's boundary stand seeded fakes.
"""

import json
import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

CHUNK_SIZE = 250
"""Larger than the default, so that most of the time is not the disk's: the count of files is linear either way."""

_WORDS = [a + b + c for a in ("ba", "do", "ki", "mu") for b in ("la", "re", "ni", "to", "su") for c in ("n", "r", "s")]
_FAMILY_GAINS = {"static": 0.1, "generated": 0.2}
_DIMENSIONS = 384  # those of all-MiniLM-L6-v2


def write_data(path: Path, count: int) -> None:
    """Write as many eligible rows as samples are asked for: two a passage, and one in fifty that is not eligible."""
    generator = random.Random(count)
    with path.open("w", encoding="utf-8") as file:
        passage = ""
        for number in range(count + count // 50):
            if number % 2 == 0:
                passage = " ".join(generator.choices(_WORDS, k=generator.randint(51, 130)))
            row = {
                "passage": passage,
                "query": f"{' '.join(generator.choices(_WORDS, k=6))} {number}",
                "answer": "" if number % 51 == 50 else " ".join(generator.choices(_WORDS, k=generator.randint(1, 6))),
                "query_type": generator.choice(("numeric", "entity", "description")),
            }
            file.write(json.dumps(row) + "\n")


def fake_scores(
    contexts: Any, samples: Sequence[Any], distractors: Sequence[Any], treatments: Any, **_: object
) -> list[Any]:
    """Return scores as the engine does, arm by arm, from a generator seeded by the condition and the first sample."""
    from tasks.priming.records import Score, condition_name

    wrong: dict[str, int] = {}
    for distractor in distractors:
        wrong[distractor.sample_id] = wrong.get(distractor.sample_id, 0) + 1
    scores = []
    for key, treatment in ((key, name) for key, named in treatments.items() for name in named):
        name = f"{condition_name(contexts.family, key, treatment)}/{samples[0].sample_id}"
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        for sample in samples:
            tokens = tuple(sample.answer.split())
            difficulty = int(sample.sample_id[:8], 16) / 2**32
            gain = _FAMILY_GAINS.get(contexts.family, 0.0)
            nlls = tuple((generator.exponential(1.0, len(tokens)) + 2 * difficulty - gain).clip(0.0).tolist())
            others = tuple((generator.exponential(1.0, wrong.get(sample.sample_id, 0)) + 3 * difficulty).tolist())
            nll = sum(nlls) / len(nlls)
            scores.append(
                Score(
                    sample.sample_id, contexts.family, key, treatment,
                    status="ok",
                    token_nlls=nlls,
                    answer_tokens=tokens,
                    nll=nll,
                    nll_notebook=sum(nlls[1:]) / (len(nlls) - 1) if len(nlls) > 1 else None,
                    distractor_nlls=others or None,
                    margin=sum(others) / len(others) - nll if others else None,
                    context_token_count=len(sample.passage.split()) + 30,
                    cached_token_count=len(sample.passage.split()) + 30,
                    has_document_ids=None,
                    query_token_count=12,
                    answer_token_count=len(tokens),
                    control_string_count=0,
                )
            )  # fmt: skip
    return scores


def fake_lines(prompts: Sequence[Any], *_: object) -> list[Any]:
    """Return a written line for each prompt, seeded by the prompt's identity."""
    from tasks.priming.engine.generation import Completion

    lines = []
    for prompt in prompts:
        generator = random.Random(prompt.identity)
        words = generator.choices(_WORDS, k=generator.randint(3, 9))
        lines.append(Completion(" ".join(words), 150, len(words) + 1, "stop"))
    return lines


class FakeEmbedding:
    """A sentence model whose vectors are seeded by the text."""

    max_seq_length = 256

    def tokenizer(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * len(text.split()) for text in texts]}

    def get_embedding_dimension(self) -> int:
        return _DIMENSIONS

    def encode(self, texts: list[str], **_: object) -> Any:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        return np.array([np.random.default_rng(s).standard_normal(_DIMENSIONS) for s in seeds], dtype=np.float32)


def fake_engine(function: Callable[..., Any], _: object, /, **arguments: Any) -> tuple[Any, float]:
    """Stand where work is handed to a loaded model."""
    from tasks.priming.scoring import score_family
    from tasks.priming.statistics.run_data import ModelFacts

    if function is score_family:
        return fake_scores(**arguments), 0.0
    facts = ModelFacts(1_000_000, 100_000, 4, 128, 2_048, is_batch_invariant=True, first_token="<s>")
    if getattr(function, "func", function).__name__ == "_look_again":
        from tasks.priming.scoring_checks import SeenFamily

        return SeenFamily([], facts, "cpu-float32-default", 1e-4), 0.0
    model = SimpleNamespace(tokenizer=lambda text, **_: {"input_ids": text.split()}, facts=facts)
    return function(language_model=model), 0.0


class Stopwatch:
    """What each stage takes: the peak of the process's memory is set back whenever one begins."""

    def __init__(self, folder: Path) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._folder = folder
        self._name = ""
        self._start = self._processor_start = 0.0

    def begin(self, name: str) -> None:
        """End the stage before, and begin another."""
        if self._name == name:
            return
        if self._name:
            peak = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
            self.stages[self._name] = {
                "seconds": time.perf_counter() - self._start,
                "processor_seconds": time.process_time() - self._processor_start,
                "peak_bytes": int(peak.split()[1]) * 1024,
                "files": sum(len(files) for _, _, files in os.walk(self._folder)),
            }
        Path("/proc/self/clear_refs").write_text("5")
        self._name, self._start, self._processor_start = name, time.perf_counter(), time.process_time()

    def watching(self, name: str, body: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that begins a stage and does what another does."""

        def watched(*arguments: Any) -> Any:
            self.begin(name)
            return body(*arguments)

        return watched


def without_engine(task: Any) -> Callable[..., Any]:
    """Return the body of a task, under the task's name."""

    def body(**arguments: Any) -> Any:
        return task.fn(**arguments)

    body.name = task.name  # type: ignore[attr-defined]
    return body


@contextmanager
def faked(watch: Stopwatch) -> Iterator[Any]:
    """Within the context, the flow's body without Prefect's engine and without models."""
    import pytest
    from prefect.logging.loggers import disable_run_logger

    import tasks.priming.engine.generation
    from flows import experiment
    from tasks import routing as embedding
    from tasks import run, scoring, surrogates
    from tasks.server.progress import Progress

    running = Progress.running
    chunked = ("write surrogates", "route queries", "score contexts")

    def watched(self: Progress, stage: str) -> Any:
        watch.begin("chunks" if stage in chunked else stage)
        return running(self, stage)

    with pytest.MonkeyPatch.context() as patch, disable_run_logger():
        for module in (scoring, surrogates):
            patch.setattr(module, "with_language_model", fake_engine)
        patch.setattr(tasks.priming.engine.generation, "generate_completions", fake_lines)
        patch.setattr(embedding, "load_embedding_model", lambda identity: FakeEmbedding())
        for name in ("report_crashed", "tag_flow_run"):
            patch.setattr(run, name, lambda _: None)
        patch.setattr(Progress, "running", watched)
        patch.setattr(experiment, "show_results", lambda *arguments: watch.begin("end"))
        stages = ("draw_samples", "write_surrogates", "route_queries", "score_contexts", "check_scoring")
        for name in (*stages, "compute_statistic"):
            patch.setattr(experiment, name, without_engine(getattr(experiment, name)))
        for name in ("publish_results", "report_results"):
            patch.setattr(experiment, name, watch.watching(name, getattr(experiment, name).fn))
        yield experiment.experiment.fn


def main(count: int, folder: Path) -> dict[str, Any]:
    """Run the experiment and return what it took."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder.parent / f"{count}.jsonl"
    write_data(data, count)
    watch = Stopwatch(folder)
    with faked(watch) as experiment:
        result = experiment(sample_count=count, data=str(data), chunk_size=CHUNK_SIZE, workers=1).data
    size = sum((Path(root) / name).stat().st_size for root, _, names in os.walk(folder) for name in names)
    return {"count": count, "stages": watch.stages, "bytes": size, **result}


if __name__ == "__main__":
    where = Path(sys.argv[2])
    os.environ["SURROGATE_ARTIFACTS"] = str(where)
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), where)) + "\n")
