"""FOCUS bills 1.0 to 1.2 (and 1.3's provider columns): CSV, CSV.gz and Parquet.

Source: FinOps Open Cost and Usage Specification, Cost and Usage dataset, versions 1.0 to 1.2.
Faults of real exports that are mended here: several null spellings in one column, dates without
T and Z or in m/d/y order, amounts in scientific notation or with thousands separators, categories
in other cases, duplicate tag keys, tags as a map. Columns that FOCUS does not know are kept, with
``x_`` in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.contracts import listed
from finops_lab.contracts.costs import CHARGE_CATEGORIES
from finops_lab.errors import InputError
from finops_lab.ingestion._batches import in_batches
from finops_lab.ingestion._moments import MOMENT, moments
from finops_lab.ingestion._tags import tag_columns, tags_as_json, tags_readable
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, Sample, separator
from finops_lab.money import MONEY, SCALE, excess_digits, is_blank, parse

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "FOCUS"
SOURCE = "FOCUS specification 1.0 to 1.4; real files of 1.0, the working group's examples of 1.2"
TABLE = "costs"

_MARKERS = frozenset(
    {
        "BilledCost",
        "EffectiveCost",
        "BillingCurrency",
        "BillingPeriodStart",
        "ChargeCategory",
        "ChargePeriodStart",
        "BillingAccountId",
        "ServiceName",
    }
)
_NULLS = ["NULL", "null", "Null", "(null)", ""]
# FOCUS 1.3 renames the provider, 1.4 drops the old name.
_PROVIDER = ("ProviderName", "ServiceProviderName", "HostProviderName")
_ROW = "_row"
_DERIVED = ("x_BillingMonth", "x_SourceFile", "x_SourceRow")
_FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")


def matches(sample: Sample) -> bool:
    """Tell whether a file is a FOCUS bill: half of the telling columns are there."""
    return sample.kind != "jsonl" and len(_MARKERS & set(sample.columns)) >= len(_MARKERS) // 2


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read one FOCUS file as rows of the `costs` contract.

    Parameters
    ----------
    path : pathlib.Path
        CSV (plain or gzip) or Parquet.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns.

    Returns
    -------
    polars.LazyFrame
        The `costs` contract without ``x_SourceFile``, the export's further columns with ``x_`` in
        front, and the reader's `RAW`, `REASONS` and `NOTES`.

    Raises
    ------
    InputError
        When a column that every bill needs is missing.
    """
    raw = _scan(path)
    schema = dict(raw.collect_schema())
    del schema[_ROW]
    wanted = contracts.dtypes(TABLE)
    spelled = {name: re.sub(r"[^\w.-]+", "_", name.strip('\ufeff" \t')) for name in schema}
    names = _distinct(dict(sorted(spelled.items(), key=lambda pair: pair[1] not in wanted)))
    raw = raw.rename(names)
    schema = {names[name]: dtype for name, dtype in schema.items()}
    provider = next((name for name in _PROVIDER if name in schema), None)
    needed = [n for n in contracts.required(TABLE) if n not in (*_DERIVED, "ProviderName")]
    missing = [name for name in needed if name not in schema] + ([] if provider else ["ProviderName"])
    if missing:
        raise InputError(
            f"the bill has no column {missing[0]}"
            + (f" (nor {', '.join(missing[1:])})" if missing[1:] else ""),
            file=path,
            column=missing[0],
            hint="export the FOCUS dataset with its mandatory columns",
        )
    extra = {n: t for n, t in schema.items() if n not in wanted and n != provider}
    # Columns that are `x_` already keep their names; ours are taken.
    own = _distinct(
        {
            n: n if n.startswith("x_") else f"x_{n}"
            for n in sorted(extra, key=lambda n: not n.startswith("x_"))
        },
        taken=[*wanted, *(f"x_tag_{key}" for key in settings.tag_keys)],
    )
    money = [n for n, t in wanted.items() if t == MONEY and n in schema]
    times = [n for n, t in wanted.items() if t == MOMENT and n in schema]
    tags = "Tags" in schema
    frame = raw.with_columns(
        # polars cannot write bytes as JSON, which quarantine does with this column.
        pl.struct(
            _as_text(name, dtype).alias(name) if "Binary" in str(dtype) else pl.col(name)
            for name, dtype in schema.items()
        ).alias(RAW),
        *[_as_text(name, schema[name]).alias(f"{RAW}{name}") for name in (*money, *times)],
    ).with_columns(
        *[_amount(name, schema[name]) for name in money],
        *[_moment(name, schema[name]) for name in times],
        *[_text(name, schema[name]) for name, t in wanted.items() if t == pl.String and name in schema
          and name not in ("Tags", "ChargeCategory", "ChargeClass", "ChargeFrequency", "ProviderName")],
        *([tags_as_json(schema["Tags"])] if tags else []),
        pl.coalesce(_text(n, schema[n]) for n in _PROVIDER if n in schema).alias("ProviderName"),
        _spelled("ChargeCategory", CHARGE_CATEGORIES),
        *[_spelled(n, v) for n, v in (("ChargeClass", ("Correction",)), ("ChargeFrequency", _FREQUENCIES))
          if n in schema],
        *[_as_text(name, dtype).alias(own[name]) for name, dtype in extra.items()],
        pl.col(_ROW).cast(pl.Int64).alias("x_SourceRow"),
    )  # fmt: skip
    absent = [name for name in wanted if name not in schema and name not in (*_DERIVED, "ProviderName")]
    frame = frame.with_columns(
        *[pl.lit(None, dtype=wanted[name]).alias(name) for name in absent],
        pl.col("BillingPeriodStart").dt.strftime("%Y-%m").alias("x_BillingMonth"),
        listed([_unread(name, "a number") for name in money] + [_unread(n, "a date") for n in times]).alias(
            REASONS
        ),
        listed(
            [_rounded(name) for name in money if _may_round(schema[name])]
            + ([(~tags_readable(), pl.lit("Tags: not JSON, left unread"))] if tags else [])
        ).alias(NOTES),
    )
    keys = settings.tag_keys
    if keys and tags:
        frame = frame.with_columns(tag_columns(keys).alias("_tags")).with_columns(
            pl.col("_tags").struct.field(f"x_tag_{key}") for key in keys
        )
    elif keys:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(f"x_tag_{key}") for key in keys)
    ours = [name for name in wanted if name != "x_SourceFile"]
    others = [own[name] for name in extra] + [f"x_tag_{key}" for key in keys]
    return frame.select(*ours, *others, RAW, REASONS, NOTES)


def _scan(path: Path) -> pl.LazyFrame:
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        texts = pl.col(pl.String)  # null spellings, as `scan_csv` reads them
        return pl.scan_parquet(path, row_index_name=_ROW, row_index_offset=1).with_columns(
            pl.when(~texts.is_in(_NULLS)).then(texts).name.keep()
        )
    return in_batches(
        pl.scan_csv(
            path,
            infer_schema=False,
            null_values=_NULLS,
            separator=separator(path),
            row_index_name=_ROW,
            row_index_offset=1,
        )
    )


def _distinct(names: Mapping[str, str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Give names that are taken already a number; Delta tells no names apart by case."""
    used = {name.lower() for name in taken}
    found = {}
    for key, name in names.items():
        free, number = name, 2
        while free.lower() in used:
            free, number = f"{name}_{number}", number + 1
        used.add(free.lower())
        found[key] = free
    return found


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_float()


def _may_round(dtype: pl.DataType) -> bool:
    return _is_text(dtype) or (isinstance(dtype, pl.Decimal) and dtype.scale > SCALE)


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.String or dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        return column.cast(pl.String)
    return column.map_batches(
        lambda s: pl.Series([_json(v) for v in s.to_list()], dtype=pl.String),
        return_dtype=pl.String,
        is_elementwise=True,
    )


def _json(value: object) -> str | None:
    """Write what a Parquet file may hold: maps, lists and structs as JSON, bytes as text or hex."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    nested = isinstance(value, (dict, list))
    return json.dumps(value, default=_json, ensure_ascii=False) if nested else str(value)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested() or dtype == pl.Binary:
        return _as_text(name, dtype).alias(name)
    return pl.col(name).cast(pl.String)


def _amount(name: str, dtype: pl.DataType) -> pl.Expr:
    if _is_text(dtype):
        # A float column is read by its shortest decimal spelling, which is what was meant.
        return parse(pl.col(name).cast(pl.String), pl.col("BillingCurrency").cast(pl.String)).alias(name)
    return pl.col(name).cast(MONEY, strict=False)


def _moment(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        column = pl.col(name) if dtype.time_zone else pl.col(name).dt.replace_time_zone("UTC")
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if dtype == pl.Date:
        return pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return moments(pl.col(name).cast(pl.String)).alias(name)


def _spelled(name: str, values: tuple[str, ...]) -> pl.Expr:
    """Bring a value to the specification's spelling; `usage-based` was seen in a real export."""
    known: Mapping[str, str] = {value.lower(): value for value in values}
    text = pl.col(name).cast(pl.String)
    return text.str.strip_chars().str.to_lowercase().replace_strict(known, default=text).alias(name)


def _unread(name: str, kind: str) -> tuple[pl.Expr, pl.Expr]:
    text = pl.col(f"{RAW}{name}")
    return (
        pl.col(name).is_null() & text.is_not_null() & ~is_blank(text),
        pl.format(f"{name}: '{{}}' is not {kind}", text.fill_null("")),
    )


def _rounded(name: str) -> tuple[pl.Expr, pl.Expr]:
    words = f"{name}: more than 18 decimals, rounded to 18"
    return excess_digits(pl.col(f"{RAW}{name}")), pl.lit(words)
