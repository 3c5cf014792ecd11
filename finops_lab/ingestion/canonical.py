"""Tables that are in the library's own columns already: CSV, CSV.gz and Parquet.

Source: the contracts of `finops_lab.contracts`. What a platform exports in another shape is best
renamed to these columns by whoever knows the platform; here values are read, nothing is renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab import contracts
from finops_lab.contracts import listed
from finops_lab.errors import InputError
from finops_lab.ingestion._moments import MOMENT, moments
from finops_lab.ingestion._scan import NULLS, ROW, as_text, demand, scan_table
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, Sample, unreadable
from finops_lab.money import MONEY, excess_digits, is_blank, parse

__all__ = ["READERS", "CanonicalReader"]

# Columns that mark a table beside its required ones; one of them must be there.
_TELLING: Mapping[str, frozenset[str]] = {
    "gpu_samples": frozenset({"util", "power_w", "mem_used_bytes"}),
    "training_jobs": frozenset({"gpu_count", "ts_start", "wall_s", "billable_s", "cost_usd"}),
    "spot_evictions": frozenset({"instance_id", "instance_type", "gpu_count", "lost_work_s", "ts_notice"}),
    "accuracy_samples": frozenset({"dataset"}),
    "feature_value": frozenset({"revenue_usd", "units"}),
    "latency_histograms": frozenset({"le_ms"}),
    "scale_events": frozenset({"from_units", "to_units", "ts_ready"}),
    "capacity_series": frozenset({"desired", "ready", "needed"}),
    "deploys": frozenset({"model_version", "commit", "status"}),
    "prices": frozenset({"rate_usd_per_unit"}),
    "inference_requests": frozenset(
        {"input_uncached_tokens", "output_tokens", "latency_ms", "request_id", "cost_reported_usd"}
    ),
}
# What an absent column, or a blank in it, means.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "inference_requests": {"n_requests": 1, "sample_weight": 1.0},
    "training_jobs": {"attempt": 1},
    "prices": {"tier_above_tokens": 0, "context": "standard", "origin": "user"},
}
_OURS = ("day", "source_file", "source_row")
_TRUE, _FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
_INT = r"^[+-]?[0-9]+(\.0*)?$"
_BILL = "BilledCost"
_ROUNDED = "more than 18 decimals, rounded to 18"


@dataclass(frozen=True)
class CanonicalReader:
    """Reads files whose columns are those of one contract.

    Parameters
    ----------
    TABLE : str
        Name of the contract.

    Examples
    --------
    >>> CanonicalReader("gpu_samples").FORMAT
    'canonical gpu_samples'
    """

    TABLE: str

    @property
    def SOURCE(self) -> str:
        """What the format is read from."""
        return f"the {self.TABLE} contract of this library"

    @property
    def FORMAT(self) -> str:
        """Name of the format."""
        return f"canonical {self.TABLE}"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a CSV or Parquet file has the table's required columns and a telling one."""
        columns = set(sample.columns)
        return (
            sample.kind != "jsonl"
            and _BILL not in columns
            and columns >= set(self._required())
            and bool(columns & _TELLING[self.TABLE])
        )

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read one file as rows of the contract.

        Columns that the contract does not know are left out, with a note on the first row.
        ``n_requests`` and ``attempt`` are 1 where absent or blank; ``sample_weight`` is 1 over
        ``settings.sample_rate``, or 1.

        Parameters
        ----------
        path : pathlib.Path
            CSV (plain or gzip; any of ``, ; tab |`` between columns) or Parquet.
        settings : ReadSettings
            The share of requests that was exported.

        Returns
        -------
        polars.LazyFrame
            The contract without ``source_file``, and `RAW`, `REASONS`, `NOTES`. Moments without
            an offset are UTC. ``source_row`` counts from 1, the header not counted.

        Raises
        ------
        InputError
            When the file cannot be read, or lacks a required column.
        """
        raw, schema = _scan(path)
        names = {name: name for name in schema if name not in _OURS}
        return self._read(path, raw, schema, names, {}, settings)

    def read_as(
        self, path: Path, settings: ReadSettings, names: Mapping[str, str], values: Mapping[str, str]
    ) -> pl.LazyFrame:
        """Read one file whose columns have other names.

        Parameters
        ----------
        path, settings
            As for `read`.
        names : mapping
            The file's column for a column of the contract.
        values : mapping
            Constants for columns of the contract.

        Returns
        -------
        polars.LazyFrame
            As `read`.

        Raises
        ------
        InputError
            When the file cannot be read or lacks a named column, or a required one is not named.
        """
        raw, schema = _scan(path)
        demand(path, schema, names.values())
        return self._read(path, raw, schema, names, values, settings)

    def _read(
        self,
        path: Path,
        delivered: pl.LazyFrame,
        columns: Mapping[str, pl.DataType],
        names: Mapping[str, str],
        values: Mapping[str, str],
        settings: ReadSettings,
    ) -> pl.LazyFrame:
        schema = {name: columns[source] for name, source in names.items()} | dict.fromkeys(
            values, pl.String()
        )
        missing = [name for name in self._required() if name not in schema]
        if missing:
            raise InputError(f"has no column {missing[0]}", file=path, column=missing[0])
        raw = delivered.select(
            pl.col(ROW),
            # polars cannot write bytes as JSON, which quarantine does with this column.
            pl.struct(
                as_text(pl.col(name), dtype).alias(name) if "Binary" in str(dtype) else pl.col(name)
                for name, dtype in columns.items()
            ).alias(RAW),
            *[pl.col(source).alias(name) for name, source in names.items()],
            *[pl.lit(text).alias(name) for name, text in values.items()],
        )
        used = {*names.values(), *_OURS}
        wanted = {n: t for n, t in contracts.dtypes(self.TABLE).items() if n not in _OURS}
        defaults = dict(_DEFAULTS.get(self.TABLE, {}))
        if settings.sample_rate and "sample_weight" in defaults:
            defaults["sample_weight"] = 1 / settings.sample_rate
        present = [name for name in wanted if name in schema]
        kinds = contracts.TABLES[self.TABLE].columns()
        endless = {name for name in present if getattr(kinds[name], "allow_inf", False)}
        unknown = [
            name for name in columns if (name not in used) or (names.get(name) == name and name not in wanted)
        ]
        unknown = [name for name in unknown if name not in _OURS]
        money = [n for n in present if wanted[n] == MONEY and _is_text(schema[n])]
        frame = raw.select(
            RAW,
            *[pl.col(name).alias(f"{RAW}{name}") for name in present],
            *[_value(name, schema[name], wanted[name], name in endless).alias(name) for name in present],
            *[pl.lit(None, dtype=t).alias(n) for n, t in wanted.items() if n not in schema],
            pl.col(ROW).cast(pl.Int64).alias("source_row"),
        ).with_columns(
            _reasons({name: wanted[name] for name in present}, schema).alias(REASONS),
            listed(
                [
                    (excess_digits(pl.col(f"{RAW}{n}").cast(pl.String)), pl.lit(f"{n}: {_ROUNDED}"))
                    for n in money
                ]
                + [
                    (pl.col("source_row") == 1, pl.lit(f"{name}: no column of {self.TABLE}, left out"))
                    for name in unknown
                ]
            ).alias(NOTES),
            *[
                pl.when(_is_blank(f"{RAW}{n}", schema[n]) if n in schema else True)
                .then(pl.lit(default, dtype=wanted[n]))
                .otherwise(pl.col(n))
                .alias(n)
                for n, default in defaults.items()
            ],
        )
        table = contracts.dtypes(self.TABLE)
        if "day" in table:
            moment = next(name for name in ("ts_start", "ts") if name in table)
            frame = frame.with_columns(pl.col(moment).dt.date().alias("day"))
        return frame.select(*[name for name in table if name != "source_file"], RAW, REASONS, NOTES)

    def _required(self) -> list[str]:
        given = (*_OURS, *_DEFAULTS.get(self.TABLE, {}))
        return [name for name in contracts.required(self.TABLE) if name not in given]


READERS: tuple[CanonicalReader, ...] = tuple(CanonicalReader(table) for table in _TELLING)


def _scan(path: Path) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """Scan a file with a row number; its text is kept as it stands."""
    try:
        raw = scan_table(path, nulls=())
        schema = dict(raw.collect_schema())
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise unreadable(path, error) from None
    del schema[ROW]
    return raw, schema


def _is_text(dtype: pl.DataType) -> bool:
    # A float column of money is read by its shortest decimal spelling, which is what was meant.
    return dtype == pl.String or dtype.is_float()


def _is_blank(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return is_blank(pl.col(name))
    # pandas writes an unknown number as NaN.
    return pl.col(name).is_null() | (pl.col(name).is_nan() if dtype.is_float() else False)


def _value(name: str, given: pl.DataType, wanted: pl.DataType, infinite: bool) -> pl.Expr:
    """Read a column in the contract's dtype; what cannot be read becomes null."""
    column = pl.col(name)
    if given.is_nested() or given in (pl.Binary, pl.Object, pl.Duration):
        return pl.lit(None, dtype=wanted)
    if given in (pl.Categorical, pl.Enum):
        column, given = column.cast(pl.String), pl.String()
    if wanted == MONEY:
        if _is_text(given):
            return parse(column.cast(pl.String))
        return column.cast(MONEY, strict=False) if given.is_numeric() else pl.lit(None, dtype=MONEY)
    if isinstance(wanted, pl.Datetime):
        return _moment(column, given)
    if wanted == pl.String:
        text = column.cast(pl.String).str.strip_chars()
        return pl.when(~text.is_in(NULLS)).then(text)
    text = column.cast(pl.String).str.strip_chars() if not given.is_numeric() else column
    if wanted == pl.Boolean:
        said = column.cast(pl.String).str.strip_chars().str.to_lowercase()
        return pl.when(said.is_in(_TRUE)).then(True).when(said.is_in(_FALSE)).then(False)
    if wanted == pl.Int64:
        if given.is_float():
            return pl.when(column == column.floor()).then(column).cast(pl.Int64, strict=False)
        if given.is_numeric():
            return pl.when(column == column.cast(pl.Int64, strict=False)).then(column).cast(pl.Int64)
        whole = pl.when(text.str.contains(_INT)).then(text.str.extract(r"^([^.]*)", 1))
        return whole.cast(pl.Int64, strict=False)
    size = text.cast(wanted, strict=False)
    # A bucket without an upper end is infinite; elsewhere infinity is no number.
    return pl.when(size.is_not_nan() if infinite else size.is_finite()).then(size)


def _moment(column: pl.Expr, given: pl.DataType) -> pl.Expr:
    if isinstance(given, pl.Datetime):
        zoned = column if given.time_zone else column.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if given == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if given != pl.String:
        return pl.lit(None, dtype=MOMENT)
    return moments(column, american=False)


def _reasons(wanted: Mapping[str, pl.DataType], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """List the values that were there and could not be read."""
    odd = (pl.Binary, pl.Object, pl.Duration)
    columns = [
        name
        for name, dtype in wanted.items()
        if dtype != pl.String or schema[name].is_nested() or schema[name] in odd
    ]
    unread = [pl.col(n).is_null() & ~_is_blank(f"{RAW}{n}", schema[n]) for n in columns]

    def tell(series: Sequence[pl.Series]) -> pl.Series:
        flags, values = series[: len(columns)], series[len(columns) :]
        found: dict[int, list[str]] = {}
        for name, flag, value in zip(columns, flags, values, strict=True):
            for row in flag.arg_true().to_list() if flag.any() else ():
                said = f"{name}: '{str(value[row]).strip()[:60]}' is not {_kind(wanted[name])}"
                found.setdefault(row, []).append(said)
        return contracts.told(found, series[0].len())

    if not columns:
        return pl.lit(None, dtype=pl.List(pl.String))
    given = [pl.col(f"{RAW}{name}") for name in columns]
    return pl.map_batches([*unread, *given], tell, return_dtype=pl.List(pl.String), is_elementwise=True)


def _kind(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "a date and time"
    kinds = {pl.Int64(): "a whole number", pl.Boolean(): "true or false", pl.String(): "a text"}
    return kinds.get(dtype, "a number")
