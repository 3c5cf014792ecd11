"""The queries table of routers and cascades: what each variant answered to each query, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, one_currency, parse_strict

__all__ = ["OPTION", "Grid", "as_grid", "as_queries", "known_latency", "name_of", "option_of", "read_queries"]

Floats = npt.NDArray[np.float64]
_NEEDED = ("query", "model", "quality", "amount")
OPTION = ["model", "variant"]


@dataclass(frozen=True)
class Grid:
    """Queries in rows, variants in columns; NaN where a variant is not offered for a query.

    Attributes
    ----------
    queries : polars.Series
        The queries, sorted.
    options : polars.DataFrame
        ``model``, ``variant``, sorted: the columns.
    amount, quality, latency_ms : numpy.ndarray
        Float64, queries x options. Latency is all NaN where the frame has none.
    weight : numpy.ndarray
        What each query counts for.
    rows : numpy.ndarray
        Int64: the row of the checked frame that a cell came from, -1 where there is none.
    """

    queries: pl.Series
    options: pl.DataFrame
    amount: Floats
    quality: Floats
    latency_ms: Floats
    weight: Floats
    rows: npt.NDArray[np.int64]


def read_queries(path: str | Path) -> pl.DataFrame:
    r"""Read a queries table from a CSV or Parquet file; amounts of a CSV stay exact.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.csv`` or ``.parquet`` with the columns of `as_queries`.

    Returns
    -------
    polars.DataFrame
        As `as_queries`; other columns are kept.

    Raises
    ------
    InputError
        No such file, another kind of file, or what `as_queries` refuses.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "queries.csv"
    ...     _ = file.write_text("query,model,quality,amount\n1,m,1,0.1\n")
    ...     str(read_queries(file)["amount"][0].normalize())
    '0.1'
    """
    file = Path(path)
    if not file.is_file():
        raise InputError("no such file", file=file)
    try:
        if file.suffix == ".parquet":
            table = pl.read_parquet(file)
        elif file.suffix == ".csv":
            table = pl.read_csv(file, schema_overrides={"amount": pl.String}, infer_schema_length=None)
            if "amount" in table.columns:
                table = table.with_columns(parse_strict(table["amount"], file=str(file)))
        else:
            raise InputError("is neither .csv nor .parquet", file=file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read: {error}", file=file) from error
    try:
        return as_queries(table)
    except InputError as error:
        raise InputError(
            error.message, file=file, row=error.row, column=error.column, hint=error.hint
        ) from error


def as_queries(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Check a queries frame and fill in what may be left out.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        One row per query and variant: ``query`` (any type that sorts), ``model`` (String), ``variant``
        (String, optional; null is a variant too), ``quality`` (0/1 or a score, higher is better),
        ``amount`` (Decimal or a number, 0 or more: what answering the query with the variant takes, for
        all that the row stands for), ``BillingCurrency`` (optional: one), ``latency_ms`` (optional),
        ``weight`` (optional, above 0: how many queries the row stands for, alike for all variants of a
        query). A query without a row for a
        variant is never sent to it. Other columns are kept.

    Returns
    -------
    polars.DataFrame
        The rows, with all the columns named above: ``variant`` String, ``quality``, ``latency_ms`` and
        ``weight`` Float64, ``amount`` Decimal(38, 18) where it was a Decimal, else Float64.

    Raises
    ------
    InputError
        A missing column, no rows, a query and variant given twice, an unknown or impossible figure
        (named by row), weights that differ within a query, or ``higher_is_better`` with a false.
    CurrencyError
        Amounts in several currencies.

    Examples
    --------
    >>> as_queries(pl.DataFrame({"query": [1], "model": ["m"], "quality": [1], "amount": [2]})).columns
    ['query', 'model', 'quality', 'amount', 'variant', 'latency_ms', 'weight']
    """
    table = frame.lazy().collect()
    for name in _NEEDED:
        if name not in table.columns:
            raise InputError("the queries have no such column", column=name, hint=f"have {_list(_NEEDED)}")
    if table.is_empty():
        raise InputError("there are no queries")
    if "BillingCurrency" in table.columns and table["BillingCurrency"].count():
        one_currency(table["BillingCurrency"].unique())
    if "higher_is_better" in table.columns and not table["higher_is_better"].fill_null(True).all():
        row = int(table["higher_is_better"].fill_null(True).not_().arg_true()[0])
        raise InputError(
            "a router adds up quality, so higher must be better",
            row=row + 1,
            column="higher_is_better",
            hint="turn the metric into one where higher is better, such as 1 - error",
        )
    for name in ("quality", "amount", "latency_ms", "weight"):
        kind = table.schema.get(name)
        if kind is not None and not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
            raise InputError(f"is not numeric but {kind}", column=name)
    kind = table.schema["amount"]
    money = MONEY if kind.is_decimal() else pl.Float64
    given = {"variant": pl.String, "latency_ms": pl.Float64}
    table = table.with_columns(
        pl.col("model").cast(pl.String),
        pl.col("quality").cast(pl.Float64),
        pl.col("amount").cast(money),
        *[
            (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in given.items()
        ],
        (pl.col("weight").cast(pl.Float64) if "weight" in table.columns else pl.lit(1.0)).alias("weight"),
    )
    late, weight = pl.col("latency_ms"), pl.col("weight")
    _refuse(
        table,
        ("query", pl.col("query").is_null(), "a query without a name"),
        ("model", pl.col("model").is_null(), "a row without a model"),
        ("quality", ~_known("quality"), "the quality is not a finite number"),
        ("amount", ~_known("amount") | (pl.col("amount") < 0), "the amount is not a finite number from 0 up"),
        (
            "latency_ms",
            late.is_not_null() & (~_known("latency_ms") | (late < 0)),
            "the latency is not a finite number from 0 up",
        ),
        ("weight", ~_known("weight") | (weight <= 0), "the weight is not a finite number above 0"),
    )
    return table


def as_grid(table: pl.DataFrame) -> Grid:
    """Lay a checked queries frame out as arrays.

    Parameters
    ----------
    table : polars.DataFrame
        From `as_queries`.

    Returns
    -------
    Grid

    Raises
    ------
    InputError
        A query and variant given twice, or weights that differ within a query.

    Examples
    --------
    >>> frame = pl.DataFrame({"query": [2, 1], "model": ["m", "m"], "quality": [1, 0], "amount": [2, 3]})
    >>> as_grid(as_queries(frame)).amount.tolist()
    [[3.0], [2.0]]
    """
    queries = table["query"].unique().sort()
    options, column = _options(table)
    n, k = queries.len(), options.height
    cells = (table["query"].rank("dense").to_numpy().astype(np.int64) - 1) * k + column
    rows = np.full(n * k, -1, dtype=np.int64)
    rows[cells] = np.arange(table.height)
    if np.count_nonzero(rows >= 0) != table.height:
        row = int(pl.Series(cells).is_first_distinct().not_().arg_true()[0])
        found = table.row(row, named=True)
        raise InputError(
            f"query {found['query']!r} and {name_of(found)} stand there twice",
            row=row + 1,
            hint="a query has one row per variant",
        )

    def laid(name: str) -> Floats:
        if table[name].null_count() == table.height:
            return np.broadcast_to(np.nan, (n, k))
        grid = np.full(n * k, np.nan)
        grid[cells] = table[name].cast(pl.Float64).to_numpy()
        return grid.reshape(n, k)

    return Grid(
        queries,
        options,
        laid("amount"),
        laid("quality"),
        laid("latency_ms"),
        _weights(table, queries, cells // k),
        rows.reshape(n, k),
    )


def _options(table: pl.DataFrame) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Return the options, sorted, and which of them each row is of."""
    codes, kinds = np.zeros(1, dtype=np.int64), 1
    for name in OPTION:
        if table[name].null_count() < table.height:
            # Hashing is much quicker than sorting as many texts; null is a code of its own, the first.
            hashed = table[name].cast(pl.Categorical).to_physical()
            some = hashed.cast(pl.Int64).fill_null(-1) + 1 if hashed.null_count() else hashed
            of = some.to_numpy()
            seen = np.bincount(of) > 0
            codes = codes * int(seen.sum()) + (np.cumsum(seen) - 1)[of]
            kinds *= int(seen.sum())
    first = np.full(kinds, -1, dtype=np.int64)
    first[codes] = np.arange(table.height)
    found = np.flatnonzero(first >= 0)
    named = table[first[found]].select(*OPTION, pl.Series("code", found)).sort(OPTION, nulls_last=True)
    place = np.zeros(kinds, dtype=np.int64)
    place[named["code"].to_numpy()] = np.arange(len(found))
    return named.drop("code"), place[codes]


def _weights(table: pl.DataFrame, queries: pl.Series, code: npt.NDArray[np.int64]) -> Floats:
    weights = table["weight"].to_numpy()
    found = np.empty(queries.len())
    found[code] = weights
    odd = found[code] != weights
    if odd.any():
        query = queries[int(code[odd.argmax()])]
        raise InputError(f"query {query!r} has different weights for its variants", column="weight")
    return found


def known_latency(table: pl.DataFrame) -> None:
    """Refuse queries without latencies.

    Parameters
    ----------
    table : polars.DataFrame
        From `as_queries`.

    Raises
    ------
    InputError
        A row without ``latency_ms``.

    Examples
    --------
    >>> known_latency(pl.DataFrame({"latency_ms": [3.0]}))
    """
    _refuse(table, ("latency_ms", pl.col("latency_ms").is_null(), "a limit on latency needs every latency"))


def name_of(row: dict[str, object]) -> str:
    """Write a model and its variant for a reader.

    Examples
    --------
    >>> name_of({"model": "m", "variant": "int8"}), name_of({"model": "m", "variant": None})
    ('m (int8)', 'm')
    """
    return f"{row['model']} ({row['variant']})" if row.get("variant") is not None else f"{row['model']}"


def option_of(options: pl.DataFrame, wanted: str | tuple[str, str | None]) -> int:
    """Find a variant among the options.

    Parameters
    ----------
    options : polars.DataFrame
        ``model``, ``variant``.
    wanted : str or tuple
        A model that has one variant only, or model and variant.

    Returns
    -------
    int
        The row.

    Raises
    ------
    InputError
        There is none such, or the model has several variants.

    Examples
    --------
    >>> option_of(pl.DataFrame({"model": ["a", "b"], "variant": [None, "int8"]}), "b")
    1
    """
    rows = options.select(OPTION).to_dicts()
    known = ", ".join(name_of(row) for row in rows)
    if isinstance(wanted, str):
        found = [i for i, row in enumerate(rows) if row["model"] == wanted]
        if len(found) > 1:
            raise InputError(
                f"{wanted!r} has several variants", hint=f"give model and variant; known: {known}"
            )
    else:
        found = [i for i, row in enumerate(rows) if (row["model"], row["variant"]) == tuple(wanted)]
    if not found:
        raise InputError(f"no variant {wanted!r}", hint=f"known: {known}")
    return found[0]


def _known(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64).is_finite().fill_null(False)


def _refuse(table: pl.DataFrame, *rules: tuple[str, pl.Expr, str]) -> None:
    """Refuse the table where a rule's expression holds for a row."""
    broken = table.select(wrong.any().alias(column) for column, wrong, _ in rules).row(0)
    for (column, wrong, message), found in zip(rules, broken, strict=True):
        if found:
            row = int(table.select(wrong.alias("wrong"))["wrong"].arg_true()[0])
            raise InputError(message, row=row + 1, column=column)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
