"""Questions to the tables, answered by DuckDB over the part files as they are at this moment.

Between the part files (parts.py) and the archive. Beside writers and compactions: a file that vanishes between listing
and reading makes the question be asked again.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import pyarrow as pa

from channelscribe.core.clock import Clock
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.store.parts import Part, TableFolder
from channelscribe.store.schema import VIEWS
from channelscribe.store.table import Table

log = logging.getLogger(__name__)
_TRIES = 20
_FIRST_WAIT_S = 0.005
_LONGEST_WAIT_S = 0.5
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET memory_limit = '1GB'",  # the rest of the machine belongs to the model; more than this goes to the disk
    "SET enable_external_file_cache = false",
    "SET autoinstall_known_extensions = false",  # never asks the network
)
_QUIET = "SET enable_progress_bar = false"
_ASKERS_FAULT = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.InvalidInputException)


class Reader:
    """Thread-safe: every question has a connection of its own."""

    def __init__(self, folders: Mapping[str, TableFolder], clock: Clock) -> None:
        self._folders = folders
        self._clock = clock
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def view(self, name: str, where: str = "", params: Sequence[Any] = (), key: str | None = None) -> pa.Table:
        """Rows of a view; with `key` only the parts that may hold that key are opened."""
        return self.ask(f'SELECT * FROM "{name}" {where}', params, key)

    def ask(self, sql: str, params: Sequence[Any] = (), key: str | None = None) -> pa.Table:
        """The answer to any SQL over the views and the raw tables that it names."""
        views = [name for name in VIEWS if re.search(rf"\b{name}\b", sql, re.IGNORECASE)]
        raw = [name for name in self._folders if re.search(rf"\braw_{name}\b", sql)]
        tables = dict.fromkeys([*(VIEWS[view][0] for view in views), *raw])
        for attempt in range(_TRIES):
            parts = {name: self._folders[name].parts(key) for name in tables}
            try:
                return self._answer(sql, params, parts, views)
            except duckdb.Error as error:
                if not self._changed(parts):
                    raise _failure(error) from error
                log.debug("Asking again, because a part vanished or was found damaged: %s", error)
            # A compaction takes a moment to delete what it replaced.
            self._clock.sleep(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))
        raise EnvironmentFailure("The tables change faster than they can be read; try again.", code="storage")

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _answer(self, sql: str, params: Sequence[Any], parts: dict[str, list[Part]], views: Iterable[str]) -> pa.Table:
        with self._cursor() as cursor:
            for table, found in parts.items():
                self._offer(cursor, table, found)
            for view in views:
                cursor.execute(f'CREATE TEMP VIEW "{view}" AS {VIEWS[view][1]}')
            relation = cursor.sql(sql, params=list(params))
            return relation.to_arrow_table() if relation is not None else pa.table({})

    def _offer(self, cursor: duckdb.DuckDBPyConnection, table: str, parts: list[Part]) -> None:
        if not parts:
            cursor.register(f"raw_{table}", self._folders[table].table.schema.empty_table())
            return
        paths = ", ".join(_quoted(str(part.path)) for part in parts)
        found = f"SELECT * FROM read_parquet([{paths}])"
        if any(part.old for part in parts):
            cursor.register(f"none_{table}", self._folders[table].table.schema.empty_table())
            found = _completed(self._folders[table].table, paths)
        cursor.execute(f"CREATE TEMP VIEW raw_{table} AS {found}")

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._database is None:
                self._database = duckdb.connect(":memory:")
                for setting in (*_SETTINGS, f"SET temp_directory = {_literal(tempfile.gettempdir())}"):
                    self._database.execute(setting)
                with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets: no bar, and no say in it
                    self._database.execute(_QUIET)
            return self._database.cursor()

    def _changed(self, parts: dict[str, list[Part]]) -> bool:
        """True when another try makes sense: a part is gone, or a damaged one was found and is left out from now."""
        if any(not part.path.exists() for found in parts.values() for part in found):
            return True
        return any([self._folders[name].drop_broken(found) for name, found in parts.items()])


def _completed(table: Table, paths: str) -> str:
    """Rows of files of which some lack a column: it has there the value that its lack stands for."""
    given = {name: value for name, value in table.added.items() if value is not None}
    filled = ", ".join(f'coalesce("{name}", {_literal(str(value))}) AS "{name}"' for name, value in given.items())
    columns = f"* REPLACE ({filled})" if filled else "*"
    files = f"SELECT * FROM read_parquet([{paths}], union_by_name=true)"
    return f"SELECT {columns} FROM (SELECT * FROM none_{table.name} UNION ALL BY NAME {files})"


def _failure(error: duckdb.Error) -> ChannelscribeError:
    first = (str(error).strip().splitlines() or ["unknown"])[0]
    if isinstance(error, _ASKERS_FAULT):
        return UsageError(f"The question to the tables is not valid SQL: {first}", code="bad_query")
    return EnvironmentFailure(f"The tables cannot be read: {first}", code="storage")


def _quoted(path: str) -> str:
    # read_parquet takes patterns; a class of one character stands for itself.
    return _literal("".join(f"[{c}]" if c in "[*?" else c for c in path))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
