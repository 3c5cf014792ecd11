"""Two labs that bill one account and month from different files: a conflict, never a sum."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from finops_lab.config import Coverage
from finops_lab.errors import InputError
from finops_lab.merging.reading import UNIT
from finops_lab.money import MONEY

__all__ = ["CONFLICTS", "MergeConflict", "conflicts_of", "settling_plans"]

_KEYS = (*UNIT, "SubAccountId")
# The columns of what labs say of one account and month.
CONFLICTS: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(_KEYS, pl.String),
    "lab": pl.String,
    "rows": pl.Int64,
    "BillingCurrency": pl.String,
    "BilledCost": MONEY,
    "counts": pl.Boolean,
}


class MergeConflict(InputError):
    """Labs bill the same account and month, from different files.

    Attributes
    ----------
    conflicts : polars.DataFrame
        What each lab says: ``ProviderName``, ``BillingAccountId``, ``x_BillingMonth``,
        ``SubAccountId``, ``lab``, ``rows``, ``BillingCurrency``, ``BilledCost``, ``counts`` (null).
    """

    def __init__(self, message: str, conflicts: pl.DataFrame, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.conflicts = conflicts


def conflicts_of(
    costs: Mapping[str, pl.LazyFrame], prefer: str | None, *, sub_accounts: bool
) -> pl.DataFrame:
    """Find the accounts and months of which several labs hold charges.

    Parameters
    ----------
    costs : mapping
        By lab: the bill rows that count there, of files that come into the portal.
    prefer : str, optional
        The lab that counts.
    sub_accounts : bool
        Labs may hold different sub accounts of one account: compare those.

    Returns
    -------
    polars.DataFrame
        A row per account, month, lab and currency: `MergeConflict.conflicts`, with ``counts``
        saying what comes into the sum. ``SubAccountId`` is null unless `sub_accounts`.

    Raises
    ------
    MergeConflict
        When there is a conflict that `prefer` does not settle.
    """
    sub = pl.col("SubAccountId") if sub_accounts else pl.lit(None, pl.String).alias("SubAccountId")
    amounts = ("BillingCurrency", "BilledCost")
    frames = [
        rows.select(*UNIT, sub, pl.lit(lab).alias("lab"), pl.lit(place).alias("_place"), *amounts)
        for place, (lab, rows) in enumerate(costs.items())
    ]
    if not frames:
        return pl.DataFrame(schema=CONFLICTS)
    found = (
        pl.concat(frames)
        .group_by(*_KEYS, "lab", "_place", "BillingCurrency")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("BilledCost").sum().cast(MONEY))
        .collect()
        # A null sub account is a value like any other: charges of the account as a whole.
        .filter(pl.col("lab").n_unique().over(_KEYS) > 1)
        .with_columns((pl.col("lab") == pl.lit(prefer or "")).alias("counts"))
        .sort(*_KEYS, "_place", "BillingCurrency", nulls_last=True)
    )
    open_ones = found.filter(
        ~pl.col("counts").any().over(_KEYS) | (pl.col("SubAccountId").is_null() & pl.lit(sub_accounts))
    )
    if open_ones.height:
        _refuse(open_ones.with_columns(pl.lit(None, pl.Boolean).alias("counts")), costs, sub_accounts, prefer)
    return found.select(*CONFLICTS)


def _refuse(
    found: pl.DataFrame, costs: Mapping[str, pl.LazyFrame], sub_accounts: bool, prefer: str | None
) -> None:
    first = found.join(
        found.head(1).select(_KEYS), on=_KEYS, how="semi", nulls_equal=True, maintain_order="left"
    )
    provider, account, month, sub = first.select(_KEYS).row(0)
    said = ", ".join(
        f"{lab} {amount.normalize():f} {currency} in {rows:,} rows"
        for lab, amount, currency, rows in first.select(
            "lab", "BilledCost", "BillingCurrency", "rows"
        ).iter_rows()
    )
    more = found.select(_KEYS).unique().height - 1
    what = f"{provider} / {account} / {month}" + (f" / {sub or 'no sub account'}" if sub_accounts else "")
    labs = first["lab"].unique(maintain_order=True).to_list()
    hint = f"say which lab is authoritative: prefer = {' or '.join(map(repr, labs))}"
    if sub_accounts and sub is None:
        hint = "charges of the account as a whole must be delivered to one lab only"
    elif not sub_accounts and _apart([costs[lab] for lab in labs], (provider, account, month)):
        hint += "; or sub_accounts=True: here the labs hold different sub accounts of it"
    raise MergeConflict(
        f"{what} is billed in several labs from different files: {said}"
        + (f" (and {more} more accounts and months)" if more else "")
        + (f"; {prefer} is none of them" if prefer and prefer not in labs else ""),
        found.select(*CONFLICTS),
        hint,
    )


def _apart(costs: Sequence[pl.LazyFrame], unit: tuple[str, str, str]) -> bool:
    """Tell whether labs hold different sub accounts of an account."""
    own = pl.all_horizontal(pl.col(name) == value for name, value in zip(UNIT, unit, strict=True))
    seen: set[str | None] = set()
    for rows in costs:
        here = set(rows.filter(own).select(pl.col("SubAccountId").unique()).collect().to_series())
        if None in here or here & seen:
            return False
        seen |= here
    return True


def settling_plans(conflicts: pl.DataFrame, prefer: str | None) -> list[Coverage]:
    """Return coverage plans that leave out what the preferred lab counts already.

    Examples
    --------
    >>> row = {"ProviderName": "AWS", "BillingAccountId": "1", "x_BillingMonth": "2026-10",
    ...        "SubAccountId": None, "lab": "b", "counts": False}
    >>> settling_plans(pl.DataFrame([row]), "a")[0].name
    'a before b: AWS / 1 / 2026-10'
    """
    rest = conflicts.filter(~pl.col("counts")).select("lab", *_KEYS).unique().sort("lab", *_KEYS)
    return [
        Coverage(
            name=f"{prefer} before {lab}: {' / '.join(value for value in unit if value is not None)}",
            authoritative=(f"{prefer}/*",),
            overlap=(f"{lab}/*",),
            where={
                name: (_literal(value),) for name, value in zip(_KEYS, unit, strict=True) if value is not None
            },
        )
        for lab, *unit in rest.iter_rows()
    ]


def _literal(value: str) -> str:
    return f"~^{re.escape(value)}$" if value.startswith("~") else value
