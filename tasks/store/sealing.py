"""JSON that contains the hash of its own content, which shows whether it was altered.

In: the result of a stage, which Prefect stores, or a manifest. Out: text, and back. A parquet file is known by
its hash; these are the two kinds of file that hold such hashes, and so need their own.
"""

import hashlib
import json
from typing import Any

from tasks.store.artifacts import digest


def sealed(text: str) -> bytes:
    """Return text with its hash, as JSON."""
    return json.dumps({"sha256": _sha256(text), "json": text}).encode()


def sealed_text(blob: bytes | str) -> str:
    """Return the text within what `sealed` returned.

    Raises:
        ValueError: It was altered.
    """
    outer = json.loads(blob)
    if not isinstance(outer, dict) or outer.keys() != {"sha256", "json"} or outer["sha256"] != _sha256(outer["json"]):
        raise ValueError("it was altered")
    return str(outer["json"])


def with_seal(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object of JSON values with the hash of all others as its last one."""
    return {**value, "sha256": digest(value)}


def without_seal(value: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a file holds
    """Return an object without its hash.

    Raises:
        ValueError: It is no such object, or it was altered.
    """
    rest = {name: part for name, part in value.items() if name != "sha256"} if isinstance(value, dict) else None
    if rest is None or value.get("sha256") != digest(rest):
        raise ValueError("it was altered: its content is not what its hash stands for")
    return rest


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
