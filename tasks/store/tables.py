"""The tables of the database, made from their records.

In: a record class: its annotations give the types, its docstrings say what everything means. What it cannot say stands
in a Table: which columns identify a row, and which rows of other tables it belongs to. Out: SQL.
"""

import ast
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any, Final, get_type_hints

from pydantic import AwareDatetime, BaseModel

from tasks.priming import records
from tasks.store.artifacts import kind_of
from tasks.store.code import source_of


@dataclass(frozen=True, slots=True)
class Table:
    """One table: a row per record, preceded by the columns that say what the record belongs to."""

    record: type
    """The class of its rows."""
    key: str
    """The columns that identify a row, within its run where it belongs to one."""
    before: Mapping[str, str] = field(default_factory=lambda: {"run_id": "The run."})
    """Text columns before those of the record, and what they are."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Other tables of the run, and the columns by which a row belongs to one of theirs."""
    checks: tuple[str, ...] = ()
    """What holds between columns."""


_ARM: Final = "sample_id, family, key"
_INTERVAL: Final = "improvement_low <= improvement_high"
_OF_SAMPLE: Final = {"sample": "sample_id"}
_OF_COMPARISON: Final = {"comparison": "comparison"}

TABLES: dict[str, Table] = {
    "sample": Table(records.Sample, "sample_id"),
    "reject": Table(records.Reject, "position"),
    "distractor": Table(records.Distractor, "sample_id, number", references=_OF_SAMPLE),
    "surrogate": Table(records.Surrogate, _ARM, references=_OF_SAMPLE),
    "route": Table(records.Route, _ARM, references=_OF_SAMPLE),
    "score": Table(
        records.Score,
        f"{_ARM}, treatment",
        references=_OF_SAMPLE,
        checks=("(status = 'ok') = (nll IS NOT NULL)", "status <> 'ok' OR len(token_nlls) = answer_token_count"),
    ),
    "answer_text": Table(
        records.AnswerText,
        f"{_ARM}, treatment",
        references=_OF_SAMPLE,
        checks=(
            "(status = 'ok') = (text IS NOT NULL)",
            "least(f1, recall, rouge_l) >= 0 AND greatest(f1, recall, rouge_l) <= 1",
            "NOT exact_match OR f1 = 1",
        ),
    ),
    "comparison": Table(records.Comparison, "comparison", checks=("win_count + tie_count + loss_count = n", _INTERVAL)),
    "measure": Table(records.Measure, "comparison, measure", references=_OF_COMPARISON, checks=(_INTERVAL,)),
    "stratum": Table(
        records.Stratum, "comparison, stratified_by, rank", references=_OF_COMPARISON, checks=(_INTERVAL,)
    ),
    "correlation": Table(records.Correlation, "family, key", checks=("pearson_low <= pearson_high",)),
    "routing_choice": Table(records.RoutingChoice, "family, routed_key, best_key"),
    "routing_agreement": Table(records.RoutingAgreement, "family"),
    "cost": Table(records.Cost, "condition"),
    "run_check": Table(
        records.Check,
        "chunk, name",
        before={"run_id": "The run.", "chunk": "The part of the run that was checked."},
    ),
    "answer": Table(records.Answer, "position"),
}
"""The tables whose rows come from artifacts, in the order in which they are filled."""

_TYPES: dict[Any, str] = {
    str: "TEXT",
    int: "BIGINT",
    float: "DOUBLE",
    bool: "BOOLEAN",
    datetime: "TIMESTAMP",
    AwareDatetime: "TIMESTAMP",
    tuple[float, ...]: "FLOAT[]",
    tuple[str, ...]: "TEXT[]",
}

_SHARES = ("p_value", "p_adjusted", "_level")
"""Names of numbers from 0 to 1 end like this."""


def create_statements(name: str, table: Table, *, with_keys: bool = True) -> str:
    """Return the SQL that creates a table with its constraints and comments; those it references must be there.

    Without keys, no index is stored by which primary and foreign keys are enforced.

    Raises:
        KeyError: A field has no docstring or a type that no column has.
    """
    known = _descriptions(table.record)
    columns = [f"{column} TEXT NOT NULL" for column in table.before]
    columns += [_column(column, kind) for column, kind in _annotations(table.record).items()]
    comments = {**table.before, **{column: known[column] for column in _annotations(table.record)}}
    prefix = "run_id, " if "run_id" in table.before else ""
    constraints = [f"CHECK ({check})" for check in table.checks]
    parents = {other: f"run_id, {key}" for other, key in table.references.items()}
    if prefix and not parents:
        parents = {"run": "run_id"}
    if with_keys:
        constraints.append(f"PRIMARY KEY ({prefix}{table.key})")
        constraints += [f"FOREIGN KEY ({key}) REFERENCES {other} ({key})" for other, key in parents.items()]
    summary = inspect.cleandoc(table.record.__doc__ or "").partition("\n\n")[0]
    return "\n".join(
        [
            f"CREATE TABLE {name} ({', '.join([*columns, *constraints])});",
            f"COMMENT ON TABLE {name} IS {_quoted(summary)};",
            *(f"COMMENT ON COLUMN {name}.{column} IS {_quoted(text)};" for column, text in comments.items()),
        ]
    )


def _column(name: str, annotation: object) -> str:
    kind, values, is_optional = kind_of(annotation)
    column_type = _TYPES[kind]
    rule = ""
    if values:
        rule = f"{name} IN ({', '.join(map(_quoted, values))})"
    elif column_type == "BIGINT":
        rule = f"{name} >= 0"
    elif column_type == "DOUBLE":
        rule = f"{name} BETWEEN 0 AND 1" if name.endswith(_SHARES) else f"isfinite({name})"
    return f"{name} {column_type}{'' if is_optional else ' NOT NULL'}{f' CHECK ({rule})' if rule else ''}"


def _annotations(record: type) -> dict[str, Any]:
    if issubclass(record, BaseModel):
        return {name: known.annotation for name, known in record.model_fields.items()}
    hints = get_type_hints(record)
    return {known.name: hints[known.name] for known in fields(record)}  # type: ignore[arg-type] # a dataclass


def _descriptions(record: type) -> dict[str, str]:
    """Return what the docstring under each attribute says, those of base classes first."""
    ours = [kind for kind in reversed(record.__mro__) if kind.__module__.startswith("tasks.")]
    return {name: text for kind in ours for name, text in _docstrings(kind.__module__).get(kind.__name__, {}).items()}


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of attributes in a module, by class and attribute."""
    classes: dict[str, dict[str, str]] = {}
    for statement in ast.parse(source_of(str(sys.modules[module].__file__))).body:
        if isinstance(statement, ast.ClassDef):
            found = classes.setdefault(statement.name, {})
            for pair in pairwise(statement.body):
                match pair:
                    case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                        found[name] = text
    return classes


def _quoted(text: str) -> str:
    """Return a text as SQL, on one line; where Python has None, SQL has NULL."""
    line = re.sub(r"\bNone\b", "NULL", " ".join(text.split()))
    return "'" + line.replace("'", "''") + "'"
