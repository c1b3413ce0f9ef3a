"""The verb `export`: one run as a folder that can be passed on, published and verified.

In: a complete run. Out: a folder with one parquet file per table, README.md (a dataset card as the Hugging Face hub
reads it) and bundle.json, which tasks/commands/verify.py reads; with texts also results.duckdb (the same rows with
comments and views) and report.html. Without texts it holds ids, hashes and numbers only. Folders of this machine are
left out of every path.
"""

import argparse
import json
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.pages.blocks import Heading, Quoted, Table, paragraph
from tasks.pages.markdown import to_markdown
from tasks.priming.errors import UsageError
from tasks.priming.sampling import DATASETS, Source, content_hash
from tasks.reading.answers import summary_blocks
from tasks.reading.database import RunRows, open_runs, read_run
from tasks.reading.runs import LATEST, find_run
from tasks.results import RUN_TABLES, build_database, insert_rows
from tasks.store import artifacts
from tasks.store.manifests import read_manifest

FORMAT: Final = 1
"""Of the folders that this version writes, the latest that it reads."""

BUNDLE = "bundle.json"
"""What a folder must have to be one of this project's: its format, and the facts that costs are computed from."""

DATABASE = "results.duckdb"
_REPORT = "report.html"
_CARD = "README.md"

_OF_MACHINE = ("run", "attempt", "run_check", "run_summary")
"""Tables and views whose texts may hold paths of this machine."""

_HASHED = {
    "sample": ("query", "answers"),
    "distractor": ("answer",),
    "surrogate": ("text", "raw_text"),
    "answer_text": ("text", "normalised_text"),
}
"""Table -> columns that become hashes in an export without texts."""

# Tokens, and how a rejected row begins, are short enough to be guessed from a hash; an error may quote anything.
_LEFT_OUT: dict[str, tuple[str, Any]] = {
    "score": ("answer_tokens", []),
    "reject": ("excerpt", ""),
    "attempt": ("error", None),
}
"""Table -> the column that is left out, and what it has instead."""

_NAMES = {"data": "data", "language_model": "language_model", "embedding": "embedding_model", "writer": "writer_model"}
"""Section of the settings -> its field that may be a path."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which run, where to write, and whether texts are written."""
    parser.add_argument("run", metavar="RUN", help=f"A run id, the beginning of one, or {LATEST}.")
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", help="Where to write (default: artifacts/exports/<run id>)."
    )
    texts = parser.add_mutually_exclusive_group()
    texts.add_argument(
        "--with-texts",
        action="store_true",
        default=None,
        help="Write passages, queries, answers and surrogates even if the data set's licence forbids passing them on.",
    )
    texts.add_argument(
        "--without-texts",
        dest="with_texts",
        action="store_false",
        default=None,
        help="Write ids, hashes and numbers only: the default for MS MARCO.",
    )


def execute(options: argparse.Namespace) -> int:
    """Write the folder, and print its path."""
    run_id = find_run(options.run)
    folder = options.folder or artifacts.ARTIFACTS / "exports" / run_id
    try:
        with_texts = export_run(run_id, folder, options.with_texts)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {str(error).rstrip('.')}. Give a folder that can be written: "
            f"python -m flows export {run_id} FOLDER"
        ) from error
    what = "with texts" if with_texts else "without texts: ids, hashes and numbers only"
    sys.stdout.write(f"{folder}\n{what}\nTo verify it: python -m flows verify {folder}\n")
    return 0


def export_run(run_id: str, folder: Path, with_texts: bool | None = None) -> bool:
    """Write a complete run into a folder, and return whether texts are in it.

    Args:
        run_id: The run.
        folder: A new or empty folder, or an earlier export, which is replaced.
        with_texts: Whether texts are written; None: unless the licence of the data set forbids passing them on.

    Raises:
        UsageError: The run is not complete, or the folder holds something else.
        OSError: The folder cannot be written; an earlier export is left as it was.
    """
    rows, folder = read_run(run_id), folder.absolute()
    if not rows.is_complete:
        raise UsageError(
            f"Run {run_id} is {rows.run['status']}; only a complete run can be exported. To complete it, start it "
            "again with the same settings: finished work is not computed again."
        )
    if not _may_be_replaced(folder):
        raise UsageError(
            f"{folder} holds something that no export wrote. Give a folder that is new, empty, or an earlier "
            f"export, which is replaced: python -m flows export {run_id} FOLDER"
        )
    source = _source_of(rows.run)
    if with_texts is None:
        with_texts = source.may_be_passed_on
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    unfinished.mkdir(parents=True)
    try:
        _write(unfinished, rows, source, with_texts)
        if folder.is_dir():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return with_texts


def _may_be_replaced(folder: Path) -> bool:
    """Tell whether a folder is missing, empty or an earlier export to which nothing was added, such as .git."""
    if not folder.exists():
        return True
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    written = {f"{name}.parquet" for name in RUN_TABLES} | {DATABASE, BUNDLE, _CARD, _REPORT}
    return not names or BUNDLE in names <= written


def _source_of(run: Mapping[str, Any]) -> Source:
    """Return what is known of the run's data set and its licence."""
    names = {str(run["data"]).casefold(), str(run["data_identity"].get("data")).casefold()}
    known = (found for name, found in DATASETS.items() if names & {name, found.location.casefold()})
    return next(known, Source(str(run["data"])))


def _write_table(table: pa.Table, path: Path) -> None:
    """Write a parquet file; floats are split into their bytes if most of them differ: scores are a third smaller."""
    differ = {}
    for field in table.schema:
        is_list = pa.types.is_list(field.type)
        values = pc.list_flatten(table[field.name]) if is_list else table[field.name]
        differ[f"{field.name}.list.element" if is_list else field.name] = pa.types.is_floating(
            values.type
        ) and 2 * pc.count_distinct(values).as_py() > len(values)
    split, others = ([name for name, found in differ.items() if found is kind] for kind in (True, False))
    pq.write_table(table, path, compression="zstd", use_dictionary=others, use_byte_stream_split=split)


def _write(folder: Path, rows: RunRows, source: Source, with_texts: bool) -> None:
    run_id = str(rows.run["run_id"])
    tell = _without_folders(rows.run)
    with open_runs() as connection:
        tables = {name: _read_table(connection, name, run_id) for name in RUN_TABLES}
    for name in tables.keys() & _OF_MACHINE:
        tables[name] = pa.Table.from_pylist([tell(row) for row in tables[name].to_pylist()], tables[name].schema)
    if not with_texts:
        samples = tables["sample"]
        passages = dict(zip(samples["sample_id"].to_pylist(), samples["passage"].to_pylist(), strict=True))
        tables = {name: _without_texts(name, table, passages) for name, table in tables.items()}
    for name, table in tables.items():
        _write_table(table, folder / f"{name}.parquet")
    shown = {name: tell(found) if name in _OF_MACHINE else found for name, found in rows.tables.items()}
    told = replace(rows, run=tell(rows.run), tables=shown)
    if with_texts:
        from tasks.report.page import render_report  # draws plots, for which it loads matplotlib

        build_database(folder / DATABASE, partial(_load, tables), is_small=True)
        (folder / _REPORT).write_text(render_report(told), encoding="utf-8")
    (folder / _CARD).write_text("".join(_card(told, source, with_texts)), encoding="utf-8")
    content = {"format": FORMAT, "run_id": run_id, "with_texts": with_texts, "model": _model_facts(run_id)}
    (folder / BUNDLE).write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")


def _read_table(connection: duckdb.DuckDBPyConnection, name: str, run_id: str) -> pa.Table:
    statement = f"SELECT * FROM {name} WHERE run_id = $run_id ORDER BY rowid"
    return connection.sql(statement, params={"run_id": run_id}).to_arrow_table()


def _load(tables: Mapping[str, pa.Table], connection: duckdb.DuckDBPyConnection) -> int:
    for name, table in tables.items():
        insert_rows(connection, name, table)
    return sum(table.num_rows for table in tables.values())


def _model_facts(run_id: str) -> dict[str, Any] | None:
    """Return the fields of the model's ModelFacts, as the check of scoring reported them."""
    manifest = read_manifest(run_id)
    checked = manifest.artifacts.get("run_check", {}).get("scoring") if manifest else None
    return (checked.model_extra or {}).get("model") if checked else None


def _without_folders(run: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what shortens local paths in texts, and in rows of texts, to their last part."""
    settings = run["settings"]
    texts = [(settings.get(section) or {}).get(name) for section, name in _NAMES.items()]
    identities = [run[f"{name}_identity"] for name in _NAMES.values()]
    local = {
        text
        for text, identity in zip(texts, identities, strict=True)
        if text and "sha256" in identity and not text.startswith("packaged/") and "/" in text
    }

    def tell(value: Any) -> Any:  # noqa: ANN401 - whatever a row holds
        if isinstance(value, dict):
            return {name: tell(part) for name, part in value.items()}
        if isinstance(value, list):
            return [tell(part) for part in value]
        if not isinstance(value, str):
            return value
        for path in sorted(local, key=len, reverse=True):
            for written in (path, json.dumps(path, ensure_ascii=False)[1:-1]):
                value = value.replace(written, Path(path).name)
        # Absolute paths, but neither ids on the hub (owner/name) nor addresses (https://...).
        return re.sub(r"(?<![\w.:/])(?:~|/)[^\s'\"<>]*/(?=[^\s'\"<>/])", "", value)

    return tell


def _without_texts(name: str, table: pa.Table, passages: Mapping[str, str]) -> pa.Table:
    """Replace every text that is taken from the data, or written about it; an empty one stays empty.

    A text becomes a hash of its passage and itself, which nobody can look up without the passage, a passage one dash
    per word and an answer one per byte, so that these can still be counted.
    """
    changed: dict[str, list[Any]] = {}
    if name == "sample":
        changed["passage"] = [" ".join("-" * len(passage.split())) for passage in table["passage"].to_pylist()]
        changed["answer"] = ["-" * len(answer.encode()) for answer in table["answer"].to_pylist()]
    if name in _LEFT_OUT:
        column, nothing = _LEFT_OUT[name]
        changed[column] = [nothing] * table.num_rows
    for column in _HASHED.get(name, ()):
        pairs = zip(table["sample_id"].to_pylist(), table[column].to_pylist(), strict=True)
        changed[column] = [_hashed(passages[sample_id], value) for sample_id, value in pairs]
    for column, values in changed.items():
        place, field = table.schema.get_field_index(column), table.schema.field(column)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def _hashed(passage: str, value: Any) -> Any:  # noqa: ANN401 - a text, a list of texts, or None
    if isinstance(value, list):
        return [_hashed(passage, text) for text in value]
    return content_hash(passage, value) if value else value


def _card(rows: RunRows, source: Source, with_texts: bool) -> Iterator[str]:
    """Yield a dataset card: what the hub reads, then what people read."""
    run, (summary,) = rows.run, rows.tables["run_summary"]
    data, identity = run["data"], run["data_identity"]
    writer = run["settings"]["writer"]["writer_model"] if run["writer_model_identity"] else None
    yield "---\n"
    title = f"Should I prime? {run['language_model']} on {data}"
    yield f"pretty_name: {json.dumps(title)}\n"
    yield f"license: {source.licence}\n"
    if source.licence == "other":
        yield f"license_name: {Path(source.location).name}\n"
        yield f"license_link: https://huggingface.co/datasets/{source.location}\n"
    yield "tags:\n- kv-cache\n- surrogate-priming\n- language-model-evaluation\n- negative-log-likelihood\n"
    yield "configs:\n"
    for name in RUN_TABLES:
        default = "  default: true\n" if name == "score" else ""
        yield f"- config_name: {name}\n{default}  data_files: {name}.parquet\n"
    yield "---\n\n"
    blocks = summary_blocks(summary, rows.tables["what_did_it_find"])
    yield to_markdown(block for block in blocks if isinstance(block, Heading | Table)) + "\n"
    yield (
        f"This rests on {run['drawn_count']:,} samples of one data set and on one language model; with another model, "
        "data set or draw the answers may be others. Improvements are differences of the probability of "
        "known answers (percentage points per token, positive is better, with intervals); table answer_text has what "
        "the model itself wrote, where it was asked.\n\n## How it was made\n\n"
    )
    facts = {
        "run": f"{run['run_id']}, profile {run['profile']}",
        "language model": f"{run['language_model']}, {run['dtype']}, quantization {run['quantization']}"
        f"{_identified(run['language_model_identity'])}",
        **({"surrogates written by": f"{writer}{_identified(run['writer_model_identity'])}"} if writer else {}),
        "embedding model": f"{run['embedding_model']}{_identified(run['embedding_model_identity'])}",
        "data": f"{data}{_identified(identity)}; {run['drawn_count']:,} of {run['eligible_count']:,} eligible rows",
        "seed": run["seed"],
        "device, numeric path": f"{run['device']}, {run['numeric_path']}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(run["versions"].items())),
    }
    yield "".join(to_markdown([paragraph(f"- {name}: ", Quoted(str(fact)))]) for name, fact in facts.items())
    yield "\n## What is in it\n\nOne parquet file per table: "
    yield ", ".join(f"`{name}`" for name in RUN_TABLES)
    if with_texts:
        yield (
            f". `{DATABASE}` holds the same rows, says what every column means, and has a view for each question. "
            f"`{_REPORT}` shows the run with plots and examples.\n\n"
        )
    else:
        yield (
            ".\n\nIt holds ids, hashes and numbers only. A text is replaced by a hash of its passage and itself, a "
            "passage by one dash per word, an answer by one per byte; answer tokens, excerpts of rejected rows and "
            "errors are left out, and the data set's labels of queries stay. Whoever has the data set finds each "
            "sample by its id, a hash of passage, query and answer.\n\n"
        )
    yield f"`python -m flows verify FOLDER` recomputes the statistics and answers from the scores (format {FORMAT}).\n"


def _identified(identity: Mapping[str, Any]) -> str:
    """Return by what a data set or model is known."""
    names = ("config", "split", "revision", "sha256")
    return "".join(f", {name} {identity[name]}" for name in names if identity.get(name))
