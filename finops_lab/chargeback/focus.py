"""The ledger as FOCUS 1.3 rows: allocated charges with the five columns that explain them.

Source: FinOps Open Cost and Usage Specification 1.3, Cost and Usage: Allocated Method ID, Allocated
Method Details, Allocated Resource ID and Name, Allocated Tags. They are null on a charge that was
not split, and name no resource on the part of a split that nobody owns.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.allocation import UNALLOCATED
from finops_lab.chargeback._files import plain, written_beside
from finops_lab.chargeback.statements import Basis, in_month
from finops_lab.contracts import AMOUNTS, BILL_KEYS, DIMENSIONS
from finops_lab.errors import InputError
from finops_lab.money import SCALE

__all__ = ["PREFIX", "focus_allocated", "write_focus_allocated"]

# Marks what finops_lab itself says, as FOCUS asks of keys that a data generator defines.
PREFIX = "finops_lab/"
_SPLIT = ("telemetry", "dark", "idle", "shared", "amortized")
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_ONE = 10**SCALE
# The bill rows that were split together: those of one pool, day and bill attributes. Shared costs
# without a pool go by the first rule of their chain, which every later tier leaves in place.
_ORIGIN = ("_origin", *BILL_KEYS)
_KEPT = (
    *(f"x_{name}" for name in DIMENSIONS),
    "x_AllocationMethod",
    "x_AllocationRule",
    "x_PoolId",
    "x_ChargeMonth",
    "x_BillingMonth",
    "x_Rows",
)


def focus_allocated(
    entries: pl.DataFrame | pl.LazyFrame, month: str, *, basis: Basis = "accrual"
) -> pl.LazyFrame:
    """Shape a month of the ledger as allocated charges of FOCUS 1.3.

    Parameters
    ----------
    entries : polars.DataFrame or LazyFrame
        Rows of the `ledger` contract. Where they also have ``x_UsageUnit`` (String) and
        ``x_UsageQuantity`` (Decimal), the details name the use that decided the split.
    month : str
        Such as ``2026-10``.
    basis : {"accrual", "cash"}
        Whether it is the month of the use or of the invoice.

    Returns
    -------
    polars.LazyFrame
        One row per entry, in the order of the ledger: ``BilledCost``, ``EffectiveCost``,
        ``ListCost``, ``ContractedCost`` (``Decimal(38, 18)``, as in the ledger, so their sums are the
        ledger's), ``BillingCurrency``, ``BillingPeriodStart``, ``BillingPeriodEnd``,
        ``ChargePeriodStart``, ``ChargePeriodEnd`` (Datetime, UTC; a charge's period is its day),
        ``ChargeCategory``, ``ChargeClass``, ``ProviderName``, ``ServiceCategory``, ``ServiceName``,
        ``CommitmentDiscountStatus``, the five ``Allocated...`` columns (String) and the ledger's own
        columns. FOCUS columns that a ledger does not know (accounts, SKUs, quantities) are absent.

        ``AllocatedMethodId`` is the ledger's method after ``finops_lab/``. ``AllocatedMethodDetails``
        is JSON; its ``AllocatedRatio`` is the row's share of its origin charge by EffectiveCost (by
        BilledCost where that is zero; absent where both are), to 18 decimals, and the ratios of an
        origin add up to 1 exactly. An origin is what the ledger holds of one pool (of one first rule,
        where a shared cost has no pool), day and bill attributes. ``AllocatedResourceId`` and
        ``AllocatedResourceName`` are the team. ``AllocatedTags`` is JSON of the known dimensions,
        each after ``finops_lab/``.

    Raises
    ------
    InputError
        When month or basis is none.

    Notes
    -----
    A shared cost outside pools that an override moved cannot be told from a direct one: it is a
    charge of its own, not part of an origin.

    Examples
    --------
    >>> from finops_lab.contracts import dtypes
    >>> row = {"x_ChargeMonth": "2026-10", "x_AllocationMethod": "telemetry", "x_PoolId": "gpu"}
    >>> entries = pl.DataFrame([{**row, "x_team": "ads", "EffectiveCost": "1"},
    ...     {**row, "x_team": "search", "EffectiveCost": "3"}])
    >>> blank = [pl.lit(None, t).alias(n) for n, t in dtypes("ledger").items() if n not in entries.columns]
    >>> entries = entries.with_columns(blank).cast({"EffectiveCost": dtypes("ledger")["EffectiveCost"]})
    >>> focus_allocated(entries, "2026-10").collect()["AllocatedMethodDetails"][1]
    '{"Elements":[{"AllocatedRatio":0.75}]}'
    """
    rows = in_month(entries, month, basis)
    given = rows.collect_schema().names()
    keys = [n for n in contracts.dtypes("ledger") if n not in (*AMOUNTS, "x_Rows")]
    split = pl.col("x_AllocationMethod").is_in(_SPLIT) | pl.col("x_PoolId").is_not_null()
    owned = split & (pl.col("x_team") != UNALLOCATED)
    first_rule = pl.col("x_AllocationRule").str.split(" > ").list.first()
    origin = pl.when(split).then(
        pl.coalesce(pl.lit("pool ") + pl.col("x_PoolId"), pl.lit("rule ") + first_rule, pl.lit(""))
    )
    rows = rows.sort(*keys, *AMOUNTS, "x_Rows", *_used(given), nulls_last=True).with_columns(
        origin.alias("_origin")
    )
    schema = {**rows.collect_schema(), "_ratio": pl.String()}
    rows = rows.map_batches(_with_ratios, schema=schema)
    return rows.select(
        *AMOUNTS,
        "BillingCurrency",
        _month_start().alias("BillingPeriodStart"),
        _month_start().dt.offset_by("1mo").alias("BillingPeriodEnd"),
        _day().alias("ChargePeriodStart"),
        _day().dt.offset_by("1d").alias("ChargePeriodEnd"),
        "ChargeCategory",
        "ChargeClass",
        "ProviderName",
        "ServiceCategory",
        "ServiceName",
        "CommitmentDiscountStatus",
        pl.when(split).then(pl.lit(PREFIX) + pl.col("x_AllocationMethod")).alias("AllocatedMethodId"),
        pl.when(split).then(_details(given)).alias("AllocatedMethodDetails"),
        pl.when(owned).then("x_team").alias("AllocatedResourceId"),
        pl.when(owned).then("x_team").alias("AllocatedResourceName"),
        pl.when(owned).then(_tags()).alias("AllocatedTags"),
        *_KEPT,
    )


def write_focus_allocated(frame: pl.LazyFrame, path: str | Path) -> Path:
    """Write allocated charges as CSV or Parquet, all of them or none.

    CSV is UTF-8, quoted as in RFC 4180; amounts have all their decimals (``2.0``), moments read
    ``2026-10-01T00:00:00Z``. This file is data for programs: text stays as it is, ``=cmd|...`` too.
    For people and spreadsheets there are `write_xlsx` and `write_csv`.

    Parameters
    ----------
    frame : polars.LazyFrame
        Result of `focus_allocated`.
    path : str or pathlib.Path
        File to write, ending in ``.csv`` or ``.parquet``.

    Raises
    ------
    InputError
        When the name ends otherwise or the file cannot be written.
    """
    target = Path(path)
    if target.suffix not in (".csv", ".parquet"):
        raise InputError("the name does not tell the format", file=target, hint="end it in .csv or .parquet")
    with written_beside(target) as partial:
        if target.suffix == ".parquet":
            frame.sink_parquet(partial)
        else:
            spelled = [
                plain(pl.col(name)) if dtype.is_decimal() else pl.col(name).dt.strftime(_MOMENT)
                for name, dtype in frame.collect_schema().items()
                if dtype.is_decimal() or dtype == pl.Datetime
            ]
            frame.with_columns(spelled).sink_csv(partial)
    return target


def _month_start() -> pl.Expr:
    return (pl.col("x_BillingMonth") + "-01").str.to_datetime("%Y-%m-%d", time_unit="us", time_zone="UTC")


def _day() -> pl.Expr:
    return pl.col("x_ChargeDate").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _pair(column: str, key: str) -> pl.Expr:
    """Write `"key": value` as JSON, null where there is no value."""
    whole = pl.struct(pl.col(column).alias(key)).struct.json_encode()
    return pl.when(pl.col(column).is_not_null()).then(whole.str.slice(1, whole.str.len_chars() - 2))


def _tags() -> pl.Expr:
    pairs = [_pair(f"x_{name}", PREFIX + name) for name in DIMENSIONS]
    return pl.lit("{") + pl.concat_str(pairs, separator=",", ignore_nulls=True) + pl.lit("}")


def _used(given: list[str]) -> tuple[str, ...]:
    use = ("x_UsageUnit", "x_UsageQuantity")
    return use if set(use) <= set(given) else ()


def _details(given: list[str]) -> pl.Expr:
    parts = [pl.lit('"AllocatedRatio":') + pl.col("_ratio")]
    if _used(given):
        quantity = pl.lit('"UsageQuantity":') + plain(pl.col("x_UsageQuantity"))
        unit = _pair("x_UsageUnit", "UsageUnit")
        # FOCUS: a quantity has its unit beside it.
        parts += [unit, pl.when(unit.is_not_null()).then(quantity)]
    element = pl.concat_str(parts, separator=",", ignore_nulls=True)
    whole = pl.lit('{"Elements":[{') + element + pl.lit("}]}")
    return pl.when(pl.col("_ratio").is_not_null()).then(whole)


def _with_ratios(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.with_row_index("_row")
    parts = frame.filter(pl.col("_origin").is_not_null()).select(
        "_row", *_ORIGIN, "EffectiveCost", "BilledCost"
    )
    rows: list[int] = []
    shares: list[str | None] = []
    grouped = parts.group_by(_ORIGIN).agg(
        pl.col(name).sort_by("_row") for name in ("_row", "EffectiveCost", "BilledCost")
    )
    for numbers, effective, billed in grouped.select("_row", "EffectiveCost", "BilledCost").iter_rows():
        rows += numbers
        shares += _ratios(effective) or _ratios(billed) or [None] * len(numbers)
    found = pl.DataFrame({"_row": rows, "_ratio": shares}, schema={"_row": pl.UInt32, "_ratio": pl.String})
    return frame.join(found, on="_row", how="left").sort("_row").drop("_row")


def _ratios(parts: list[Decimal]) -> list[str] | None:
    """Divide signed parts by their sum, to 18 decimals that add up to 1 (largest remainder)."""
    units = [int(part.scaleb(SCALE)) for part in parts]
    whole = sum(units)
    if whole == 0:
        return None
    if whole < 0:
        units, whole = [-u for u in units], -whole
    shares = [u * _ONE // whole for u in units]
    behind = sorted(range(len(units)), key=lambda i: (-(units[i] * _ONE % whole), i))
    for i in behind[: _ONE - sum(shares)]:
        shares[i] += 1
    return [_decimal(share) for share in shares]


def _decimal(share: int) -> str:
    sign, (before, after) = "-" if share < 0 else "", divmod(abs(share), _ONE)
    return f"{sign}{before}.{after:018d}".rstrip("0").rstrip(".")
