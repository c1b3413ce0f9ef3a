"""Which results are cached, and under which key: the cache policy of the stage tasks.

The key of a stage consists of its name, the code that computes it and its arguments, in which a reference counts as the
hash of its content. So editing a comment recomputes nothing, editing a prompt recomputes what depends on it, and a
deleted or altered file is recomputed, which Prefect does not check by itself.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.serializers import JSONSerializer
from pydantic import Field

from tasks.store.artifacts import ARTIFACTS, digest, is_intact, is_reference
from tasks.store.code import code_digest
from tasks.store.sealing import sealed, sealed_text

STAGE_RESULTS = ARTIFACTS / "stages"
"""Where Prefect keeps the references of finished stages, one JSON file per result."""


class SealedJSONSerializer(JSONSerializer[Any]):
    """Prefect's JSON, as text with its hash."""

    type: str = Field(default="sealed-json", frozen=True)

    def dumps(self, obj: Any) -> bytes:  # noqa: ANN401 - Prefect's signature
        """Return a value as JSON with its hash."""
        return sealed(super().dumps(obj).decode())

    def loads(self, blob: bytes) -> Any:  # noqa: ANN401
        """Return the value.

        Raises:
            ValueError: It was altered.
        """
        return super().loads(sealed_text(blob).encode())


_SERIALIZER = SealedJSONSerializer()
_SERIALIZER_NAMED = _SERIALIZER.model_dump(mode="json")
"""The serialiser named in the records that Prefect writes for stages."""

Inputs = Mapping[str, Any]  # a task's arguments by name

Calls = Mapping[str, Inputs]
"""A task's arguments for some parts of a stage, by the name of the part, e.g. "static/0003"."""

Batch = Mapping[str, Mapping[str, Any]]
"""Chunks by name, e.g. "0003": of each the references of its "samples", "donors" and "distractors"."""


@dataclass
class StageCache(CachePolicy):
    """Cache key of a stage: its name, its computation's code and its arguments.

    Name the fields when creating one, StageCache(stage=..., ...): Prefect's own come first.
    """

    stage: str = ""  # the stage's name: the first folder of the key
    # The function that computes it, e.g. "tasks.priming.scoring:score_family", or how to get it, or several, from the
    # arguments.
    computation: str | Callable[[Inputs], str | Sequence[str]] = ""
    # How to get a second folder of the key from the arguments, e.g. the family; for readers of artifacts/stages/.
    folder: Callable[[Inputs], str] | None = None

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,  # noqa: ANN401 - Prefect's signature
    ) -> str:
        """Return the key, after deleting a stored reference that cannot be trusted, so that it is recomputed."""
        found = self.computation if isinstance(self.computation, str) else self.computation(inputs)
        folder = f"{self.folder(inputs)}/" if self.folder else ""
        code = code_digest(found) if isinstance(found, str) else [*map(code_digest, found)]
        parts = {"code": code, "arguments": essence(inputs)}
        key = f"{self.stage}/{folder}{digest(parts)[:32]}"
        _drop_untrusted_record(STAGE_RESULTS / key)
        return key


def parts_by_group(groups: Iterable[str], parts: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what belongs to each group, chunk by chunk, of parts that are named "group/chunk"."""
    chunks: dict[str, list[Any]] = {name: [] for name in groups}
    for part in sorted(parts):
        chunks[part.rpartition("/")[0]].append(parts[part])
    return chunks


def stage_options(
    stage: str,
    computation: str | Callable[[Inputs], str | Sequence[str]],
    folder: Callable[[Inputs], str] | None = None,
) -> dict[str, Any]:
    """Return the options of a stage's @task: its policy, and a persisted JSON result under artifacts/stages/."""
    return {
        "cache_policy": StageCache(stage=stage, computation=computation, folder=folder),
        "persist_result": True,
        "result_storage": STAGE_RESULTS,
        "result_serializer": _SERIALIZER,
    }


_NAMES = {"data", "file", "language_model", "embedding_model"}
"""Names of local files and models; left out of a key that has the hash of their content."""


def essence(value: Any) -> Any:  # noqa: ANN401 - a task's argument may be anything JSON can say
    """Return the part of an argument that belongs to the key: of a reference or a local file, only its content."""
    if is_reference(value):
        # A chunk is a range of a file identified by the ids of its samples, so that the same samples in a longer file
        # are the same chunk.
        return {"chunk": value["chunk"]} if "chunk" in value else {"sha256": value["sha256"]}
    if isinstance(value, Mapping):
        # A file is the same at any place and however its path is written.
        left_out = _NAMES if "sha256" in value else ()
        return {str(name): essence(item) for name, item in value.items() if name not in left_out}
    if isinstance(value, list | tuple):
        return [essence(item) for item in value]
    if hasattr(value, "model_dump"):
        return essence(value.model_dump(mode="json"))
    return value


def _drop_untrusted_record(path: Path) -> None:
    """Delete a stored reference unless it is unaltered plain JSON and every artifact in it is intact.

    A record names the serialiser that reads it, and a JSON serialiser the functions that it calls: anything but what
    Prefect itself writes could run code. Such a record is deleted unread.
    """
    if not path.is_file():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        # Prefect also reads an older form, with another serialiser outside the metadata, which takes precedence.
        if record.keys() != {"metadata", "result"} or record["metadata"]["serializer"] != _SERIALIZER_NAMED:
            raise ValueError("not a record that Prefect wrote for a stage")
        # Read without Prefect's hook, which would import what a "__class__" names; such a record is refused (after
        # reading, since JSON can spell the name with escapes).
        result = json.loads(sealed_text(record["result"]))
        trusted = is_reference(result) and "__" not in json.dumps(result) and all(map(is_intact, _files_of(result)))
    except (AttributeError, ValueError, KeyError, TypeError, OSError, RecursionError):
        trusted = False
    if not trusted:
        path.unlink(missing_ok=True)


def _files_of(value: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - what JSON can say
    """Return all references within a value, one per file: the chunks of a file are not read again each."""
    found = {value["path"]: value} if is_reference(value) else {}
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        for reference in _files_of(part):
            found.setdefault(reference["path"], reference)
    return list(found.values())
