"""The proof of a merge: what every lab counts is counted by the portal once, or elsewhere in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError, ReconciliationError
from finops_lab.ingestion import lake
from finops_lab.ingestion.run import FETCHED
from finops_lab.merging.reading import Reading, counted, per_file
from finops_lab.merging.sameness import Left
from finops_lab.money import MONEY

__all__ = ["RECEIPT", "receipt_of", "withdrawn"]

# The columns of a merge's receipt.
RECEIPT: dict[str, pl.DataType | type[pl.DataType]] = {
    "lab": pl.String,
    "file": pl.String,
    "BillingCurrency": pl.String,
    "rows": pl.Int64,
    "BilledCost": MONEY,
    "counted": MONEY,
    "elsewhere": MONEY,
    "why": pl.String,
}
_KEYS = ["x_SourceFile", "BillingCurrency"]


def receipt_of(
    readings: Sequence[Reading],
    portal: Reading,
    left: Mapping[tuple[str, str], Left],
    conflicts: pl.DataFrame,
    *,
    own_config: bool,
) -> pl.DataFrame:
    """Compare the portal with its labs, file by file, and add up what counts.

    Parameters
    ----------
    readings : sequence of Reading
        The labs, each read by itself.
    portal : Reading
        The portal.
    left : mapping
        Files that did not come into the portal.
    conflicts : polars.DataFrame
        Accounts and months of which a preferred lab counts.
    own_config : bool
        Whether the portal's `finops.toml` was given, not merged.

    Returns
    -------
    polars.DataFrame
        The receipt: see `Merged.receipt`.

    Raises
    ------
    InputError
        When a given `finops.toml` lets charges count that a lab's coverage plan leaves out.
    ReconciliationError
        When the portal's rows or sums are not those of the labs.
    """
    gone = [f"{lab}/{path}" for lab, path in left]
    brought = [
        r.costs().with_columns((pl.lit(f"{r.name}/") + pl.col("x_SourceFile")).alias("x_SourceFile"))
        for r in readings
    ]
    rows = pl.concat(brought, how="diagonal_relaxed").filter(~pl.col("x_SourceFile").is_in(gone))
    _equal(per_file(rows), per_file(portal.costs()), "holds")
    log = {
        f"{r.name}/{path}": e
        for r in readings
        for path, e in r.bills.items()
        if f"{r.name}/{path}" not in gone
    }
    here = per_file(portal.counts())
    _equal(per_file(counted(rows, portal.config, log)), here, "counts")

    mine = pl.concat(
        per_file(r.counts()).with_columns(pl.lit(f"{r.name}/").alias("_lab"), pl.lit(place).alias("_place"))
        for place, r in enumerate(readings)
    ).with_columns(pl.concat_str("_lab", "x_SourceFile").alias("x_SourceFile"))
    joined = mine.join(
        here.rename({"rows": "_counted_rows", "BilledCost": "counted"}), on=_KEYS, how="full", coalesce=True
    ).with_columns(pl.col("rows", "_counted_rows").fill_null(0), pl.col("BilledCost", "counted").fill_null(0))
    _no_more_than_the_labs(joined, own_config)
    reasons = pl.DataFrame(
        [(f"{lab}/{path}", said.why) for (lab, path), said in left.items()],
        schema={"x_SourceFile": pl.String, "why": pl.String},
        orient="row",
    )
    settled = "its accounts and months count in the preferred lab, as far as both bill them"
    planned = "left out by a coverage plan: the portal holds what it says twice"
    receipt = (
        joined.join(reasons, on="x_SourceFile", how="left")
        .with_columns(
            pl.col("_lab").str.strip_suffix("/").alias("lab"),
            (pl.col("BilledCost") - pl.col("counted")).alias("elsewhere"),
        )
        .with_columns(
            pl.col("x_SourceFile").str.strip_prefix(pl.col("_lab")).alias("file"),
            pl.when(pl.col("_counted_rows") < pl.col("rows"))
            .then(
                pl.coalesce(
                    "why",
                    pl.when(pl.col("lab").is_in(conflicts.filter(~pl.col("counts"))["lab"].to_list())).then(
                        pl.lit(settled)
                    ),
                    pl.lit(planned),
                )
            )
            .alias("why"),
        )
        .sort("_place", "file", "BillingCurrency")
        .select(pl.col(name).cast(dtype) for name, dtype in RECEIPT.items())
    )
    _totals(receipt, portal)
    return receipt


def _equal(expected: pl.DataFrame, found: pl.DataFrame, what: str) -> None:
    if not expected.equals(found):
        odd = expected.join(found, on=expected.columns, how="anti", nulls_equal=True)
        odd = odd if odd.height else found.join(expected, on=expected.columns, how="anti", nulls_equal=True)
        raise ReconciliationError(
            f"the portal {what} other charges than its labs: {odd['BillingCurrency'][0]} {odd['BilledCost'][0]} "
            f"in {odd['rows'][0]:,} rows, in one of them only",
            file=odd["x_SourceFile"][0],
        )


def _no_more_than_the_labs(joined: pl.DataFrame, own_config: bool) -> None:
    more = joined.filter(pl.col("_counted_rows") > pl.col("rows")).sort(_KEYS)
    if more.height:
        row = more.row(0, named=True)
        said = f"{row['_counted_rows'] - row['rows']:,} charges would count here that its lab leaves out"
        if own_config:
            raise InputError(
                said,
                file=row["x_SourceFile"],
                hint="put the lab's [[coverage]] into the given finops.toml, its paths with the lab's folder in front",
            )
        raise ReconciliationError(said, file=row["x_SourceFile"])


def _totals(receipt: pl.DataFrame, portal: Reading) -> None:
    """Assert, per currency: the portal's sum is the labs' sums less what counts elsewhere."""
    sums = (
        portal.counts().group_by("BillingCurrency").agg(pl.col("BilledCost").sum().alias("portal")).collect()
    )
    labs = receipt.group_by("BillingCurrency").agg(pl.col("BilledCost", "elsewhere").sum())
    both = labs.join(sums, on="BillingCurrency", how="full", coalesce=True).with_columns(
        pl.col("portal").fill_null(0)
    )
    wrong = both.filter((pl.col("BilledCost") - pl.col("elsewhere")).ne_missing(pl.col("portal")))
    if wrong.height:
        raise ReconciliationError(
            f"the portal counts {wrong['portal'][0]} {wrong['BillingCurrency'][0]}, "
            f"its labs {wrong['BilledCost'][0]} less {wrong['elsewhere'][0]}"
        )


def withdrawn(name: str, folder: Path) -> list[str]:
    """Tell which bills a lab's lake still counts although they are no longer delivered to it."""
    notes: list[str] = []
    for path, entry in sorted(lake.files(folder / "lake", "costs").items()):
        root = folder / "lake" if path.startswith(f"{FETCHED}/") else folder / "exports"
        if entry.rows_accepted and not (root / path).exists():
            money = ", ".join(
                f"{fates.get('accepted', '0')} {code}" for code, fates in sorted(entry.money.items())
            )
            notes.append(
                f"{name}: still counts {path} ({money}), which was withdrawn from it: not in the portal"
            )
    return notes
