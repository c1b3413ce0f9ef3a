"""Rows as they are stored: columns, of which a record is made when it is looked at.

In: tables as parquet files hold them. Out: records, or a sequence of them. Two million scores take 0.4 GB as columns
and several times as much as records, so what goes through all rows of a run is given columns.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import pyarrow as pa

Row = TypeVar("Row")

_ROWS_AT_ONCE = 500
"""Records that are made at a time: enough for the speed of whole columns, and few for the garbage collector."""

_REPEATED = ("sample_id", "family", "key", "status", "finish")
"""Columns that hold the same texts again and again: each is kept once."""


class StoredRows(Sequence[Row], Generic[Row]):
    """The records of tables, which are made anew whenever they are looked at."""

    def __init__(self, record: Callable[..., Row], tables: Iterable[pa.Table]) -> None:
        """Take tables, at least one, that have the record's columns; best as they are read.

        Raises:
            KeyError: A column is missing.
        """
        self._record = record
        parts = (_with_texts_once(_ordered(record, table)) for table in tables)
        self._table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
        # What thousands of small files were read into is scattered, and kept for later unless it is asked for.
        pa.default_memory_pool().release_unused()
        self._texts = {
            column.name: self._table.column(column.name).chunk(0).dictionary.to_pylist()
            for column in self._table.schema
            if pa.types.is_dictionary(column.type) and self._table.num_rows
        }

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[Row]:
        """Make one record after the other."""
        return self._records(self._table)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """Make the record of a place, or those of a range."""
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        return next(self._records(self._table.slice(range(len(self))[place], 1)))

    def _records(self, table: pa.Table) -> Iterator[Row]:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            columns = zip(batch.schema.names, batch.columns, strict=True)
            yield from map(self._record, *(_values(column, self._texts.get(name)) for name, column in columns))


def records_of(record: Callable[..., Row], table: pa.Table) -> list[Row]:
    """Return all records of a table.

    Raises:
        KeyError: A column is missing.
    """
    batches = _ordered(record, table).to_batches(max_chunksize=_ROWS_AT_ONCE)
    return [row for batch in batches for row in map(record, *map(_values, batch.columns))]


def _ordered(record: Callable[..., Any], table: pa.Table) -> pa.Table:
    """Return the record's columns in its order."""
    return table.select([field.name for field in dataclasses.fields(cast(Any, record))])


def _with_texts_once(table: pa.Table) -> pa.Table:
    for number, name in enumerate(table.column_names):
        if name in _REPEATED:
            table = table.set_column(number, name, table.column(name).dictionary_encode())
    return table


def _values(column: pa.Array, texts: Sequence[str] | None = None) -> Sequence[Any]:
    """Return what a column holds as Python's own values, lists as tuples.

    Args:
        column: The column.
        texts: What the numbers of a column of numbered texts stand for: one object a text, whatever the batch.
    """
    if texts is not None:
        return [texts[number] for number in column.indices.to_pylist()]
    values: list[Any] = column.to_pylist()
    if pa.types.is_list(column.type):
        return [None if value is None else tuple(value) for value in values]
    return values
