"""A secret that must turn up nowhere, and where to look for it: in what files say, not in their bytes alone.

Parquet and DuckDB compress their texts and SQLite cuts long ones into pieces, so each is read by its own library.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

TOKEN = "hf_" + "CanaryOfTheTests" * 2
"""What an access token of the hub looks like."""

PASSWORD = "canary-that-looks-like-nothing"
"""A secret that is known by its variable's name alone."""


def canary_environment(folder: Path) -> dict[str, str]:
    """Return the environment of somebody who has secrets, and no network."""
    return {
        "HF_TOKEN": TOKEN,
        "HUGGING_FACE_HUB_TOKEN": TOKEN,
        "SOME_SERVICE_PASSWORD": PASSWORD,
        "HF_HUB_OFFLINE": "1",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": "",
        "SURROGATE_ARTIFACTS": str(folder / "artifacts"),
    }


def holders(folder: Path, *secrets: str) -> list[str]:
    """Return the files under a folder that say one of the secrets, the canary's if none is named."""
    sought = secrets or (TOKEN, PASSWORD)
    # All bytes first: to open a SQLite file merges its log into it and removes that.
    contents = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return [
        str(path.relative_to(folder))
        for path, content in contents.items()
        if any(secret in text for text in _texts_of(path, content) for secret in sought)
    ]


def _texts_of(path: Path, content: bytes) -> Iterator[str]:
    """Yield what a file says: its bytes, and its values where they are stored otherwise."""
    yield content.decode("utf-8", errors="replace")
    if content.startswith(b"PAR1"):
        yield str(pq.read_table(path).to_pylist())
        yield str(pq.read_metadata(path).metadata)
    elif content[8:12] == b"DUCK":
        with duckdb.connect(str(path), read_only=True) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                yield str(connection.execute(f'SELECT * FROM "{table}"').fetchall())
    elif content.startswith(b"SQLite format 3\0"):
        older = sqlite3.connect(path)
        try:
            yield "\n".join(older.iterdump())
        finally:
            older.close()
