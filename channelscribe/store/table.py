"""What a table is: columns with exact types, a key, and which columns came later than the first files.

Below schema.py, which names the tables, and parts.py, which judges files by them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
TABLE_KEY = b"channelscribe.table"
VERSION_KEY = b"channelscribe.schema"

TEXT = pa.string()
REAL = pa.float64()
INT = pa.int64()
BOOL = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Table:
    """One folder of Parquet files. `key` identifies what a row is about.

    `added` are columns that older files may lack, each with the value that such a file stands for.
    """

    name: str
    key: tuple[str, ...]
    schema: pa.Schema
    added: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, schema: pa.Schema) -> bool:
        """True for the schema of today and for that of files from before a column was added."""
        if schema.equals(self.schema):
            return True
        lacking = set(self.schema.names) - set(schema.names)
        if not lacking or not lacking <= set(self.added):
            return False
        return bool(schema.equals(pa.schema([column for column in self.schema if column.name not in lacking])))

    def complete(self, rows: pa.Table) -> pa.Table:
        """The rows with the columns of today; ValueError where they cannot have them."""
        for name in self.missing(rows.schema.names):
            kind = self.schema.field(name).type
            rows = rows.append_column(name, pa.array([self.added[name]] * len(rows), kind))
        return rows.select(self.schema.names).cast(self.schema)

    def missing(self, names: Collection[str]) -> list[str]:
        """The added columns that are not among `names`."""
        return [name for name in self.added if name not in names]


def make_table(
    name: str, key: str, added: Mapping[str, Any] | None = None, /, **columns: pa.DataType | tuple[pa.DataType]
) -> Table:
    """A type alone must be there in every row; a type in a tuple may be unknown."""
    fields = [
        pa.field(column, kind[0] if isinstance(kind, tuple) else kind, nullable=isinstance(kind, tuple))
        for column, kind in {**columns, "stamp": TEXT}.items()
    ]
    metadata = {TABLE_KEY: name.encode(), VERSION_KEY: str(SCHEMA_VERSION).encode()}
    return Table(name, tuple(key.split()), pa.schema(fields, metadata=metadata), added or {})
