"""The answer of a PostgreSQL query, copied to Parquet in batches.

Source: the ADBC driver for PostgreSQL (binary COPY into Arrow). Of its types those are taken that
say the same in both worlds; everything else, numeric and money above all, is asked for as text,
which is exact: the driver gives money as a count of cents, and uuid, inet and enums as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import polars as pl
from polars.io.plugins import register_io_source

from finops_lab.config import Source
from finops_lab.errors import InputError
from finops_lab.ingestion.sources._copies import Copies
from finops_lab.ingestion.sources._words import optional, place, told

__all__ = ["fetch"]

_ANSWER = "answer.parquet"
_AS_THEY_ARE = {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar"}
_FINITE = "CASE WHEN isfinite({0}) THEN {0} END"
# How a column of a type is asked for; {0} stands for the column.
_ASKED = {
    "date": _FINITE,
    "timestamptz": _FINITE,
    "timestamp": f"({_FINITE}) AT TIME ZONE 'UTC'",
    "money": "{0}::numeric::text",
    "bytea": "encode({0}, 'hex')",
}


def fetch(source: Source, target: Path, now: datetime) -> None:
    """Copy what a query answers, as ``[[sources]]`` of `finops.toml` names it.

    In one read-only transaction. Numbers of type numeric come as text, moments in UTC (those
    without an offset are taken for UTC), arrays as JSON.

    Parameters
    ----------
    source : Source
        ``url``, ``postgresql://user@host:port/database``; ``query``, one SELECT whose columns are
        those of a format that a reader knows; ``options``, connection parameters of libpq
        (``password``, ``sslmode``, ...).
    target : pathlib.Path
        Folder to write ``answer.parquet`` to.
    now : datetime.datetime
        Not used: the query says what it wants.

    Raises
    ------
    InputError
        When the address makes no sense, the server cannot be reached or refuses the query, the
        package adbc-driver-postgresql is missing, or the folder holds copies of something else.
    """
    copies = Copies(target, "a PostgreSQL query")
    url = _address(source)
    query = (source.query or "").strip().rstrip(";")
    dbapi = optional(source, "adbc_driver_postgresql.dbapi", "postgres")
    # A query has no version that would tell whether its answer is the same: each answer is new.
    mark = now.isoformat()
    with told(source), dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        cursor.execute("SET TimeZone = 'UTC'")
        connection.commit()
        types = _types(source, cursor, query)
        columns = ", ".join(_column(name, kind) for name, kind in types.items())
        with copies.writing(_ANSWER, mark) as path:
            cursor.execute(f"SELECT {columns} FROM ({query}\n) AS answer")
            _frame(cursor.fetch_arrow()).sink_parquet(path)
        connection.rollback()
    copies.arrive({_ANSWER: mark})


def _address(source: Source) -> str:
    try:
        parts = urlsplit(source.url)
        plain = parts.scheme in ("postgresql", "postgres") and "@" not in parts.path + parts.query
        known = plain and parts.netloc.count("@") <= 1 and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise InputError(
            "the url is no address of a PostgreSQL database",
            file=f"[[sources]] {source.name!r}",
            hint="write it like postgresql://user@host:5432/database, the password as an option, "
            "or with %40 for @ and %2F for /",
        )
    given = dict(source.options)
    if "connect_timeout" not in {*given, *(pair.partition("=")[0] for pair in parts.query.split("&"))}:
        given["connect_timeout"] = "10"
    return f"{source.url}{'&' if parts.query else '?'}{urlencode(given, quote_via=quote)}"


def _types(source: Source, cursor: Any, query: str) -> dict[str, str]:
    """Ask for the names and PostgreSQL types of the columns that a query answers."""
    from arro3.core import RecordBatchReader

    cursor.execute(f"SELECT * FROM ({query}\n) AS answer LIMIT 0")
    types: dict[str, str] = {}
    schema: Any = RecordBatchReader.from_arrow(cursor.fetch_arrow()).schema
    for one in schema:
        if one.name in types:
            raise InputError(
                f"the query has two columns {one.name!r}",
                file=place(source),
                hint="name one of them with AS",
            )
        types[one.name] = (one.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    if not types:
        raise InputError("the query answers no columns", file=place(source), hint="write a SELECT")
    return types


def _column(name: str, kind: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    if kind in _AS_THEY_ARE:
        return quoted
    as_text = "to_json({0})::text" if kind.startswith("_") else "{0}::text"
    return f"{_ASKED.get(kind, as_text).format(quoted)} AS {quoted}"


def _frame(stream: Any) -> pl.LazyFrame:
    """Return batches of Arrow as they come, one after the other."""
    from arro3.core import RecordBatchReader

    reader = RecordBatchReader.from_arrow(stream)
    empty = pl.DataFrame(reader.schema.empty_table())

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        batches: Iterable[Any] = reader
        for batch in batches:
            yield pl.DataFrame(batch)

    return register_io_source(source, schema=empty.schema)
