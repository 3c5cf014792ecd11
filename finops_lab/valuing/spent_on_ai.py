"""AI spend of a lab's bills: what rules find of it is kept by billing month, and only what changed is anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from importlib.metadata import version as package_version
from pathlib import Path

import polars as pl

from finops_lab import allocation, contracts
from finops_lab.calendar import format_month
from finops_lab.config.dimensions import with_accounts
from finops_lab.ingestion import lake
from finops_lab.keeping import digest, form_of, in_form, only, partition_values, put
from finops_lab.lab import Lab
from finops_lab.measuring import FOLDER
from finops_lab.unit_economics.ai_spend import LINES, AiSpend, added_up, ai_lines

__all__ = ["ai_spend"]

_KIND = "ai_spend"
_MONEY = ("BilledCost", "EffectiveCost", "BilledCost_gross", "EffectiveCost_gross")


def ai_spend(
    lab: Lab,
    first: date | None = None,
    last: date | None = None,
    *,
    metric: str = "EffectiveCost",
    store: bool = True,
) -> AiSpend:
    """Find the AI spend of a lab's bills, by kind, rule and service.

    Charges have the model, the feature and the team that the dimensions of `finops.toml` give their
    bill row; what is split or shared later stays with the row.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    first, last : datetime.date, optional
        First day of the first and of the last month of use; all without them.
    metric : str
        ``EffectiveCost`` or ``BilledCost``.
    store : bool
        Keep what was worked out below ``lake/rollups``, and use what is kept. A lab that was opened
        as of a date uses what is kept and writes nothing.

    Returns
    -------
    finops_lab.unit_economics.ai_spend.AiSpend
        In the lab's currency where `finops.toml` has rates.

    Raises
    ------
    InputError
        When the metric is another.
    ConfigError
        When a rule looks at a column that the bill does not have.
    CurrencyError
        When a month and currency has no rate.
    """
    lines = _lines(lab, store)
    if first is not None:
        lines = lines.filter(pl.col("month") >= first)
    if last is not None:
        lines = lines.filter(pl.col("month") <= last)
    found = lines.collect()
    if lab.config.rates:
        # Rates are of a month of use, and are looked up by its name.
        named = found.with_columns(
            pl.Series("x_ChargeMonth", map(format_month, found["month"]), dtype=pl.String)
        )
        found = allocation.convert(named, lab.config.rates, lab.currency, amounts=_MONEY)
    return added_up(found, metric=metric)


def _lines(lab: Lab, store: bool) -> pl.LazyFrame:
    home = lab.folder / "lake"
    files: dict[str, list[str]] = {}
    for name in lake.data_files_of(home, "costs", lab.as_of):
        files.setdefault(partition_values(name)["x_BillingMonth"], []).append(name)
    dimensions = with_accounts(lab.config.dimensions, lab.config.accounts)
    settled = digest(
        [
            contracts.version("costs"),
            package_version("finops-lab"),
            repr(lab.plans("costs")),
            repr(dimensions),
            repr(lab.config.ai_spend),
            # Names of data files are used once in the life of a table.
            str(lake.identity(home, "costs")),
            repr(LINES),
        ]
    )

    def made(month: str) -> pl.DataFrame:
        costs = lab.costs().filter(pl.col("x_BillingMonth") == month)
        day = pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate")
        return ai_lines(allocation.assign(costs.with_columns(day), dimensions), lab.config.ai_spend)

    folder, form = home / FOLDER / _KIND, form_of(LINES)
    writes = store and lab.as_of is None
    found, wanted = [], set()
    for month, names in sorted(files.items()):
        place = folder / f"{month}-{digest([settled, names])[:16]}.parquet"
        wanted.add(place.name)
        found.append(_kept(place, form, made, month, reads=store, writes=writes))
    if writes:
        only(folder, wanted)
    return pl.concat(found) if found else pl.LazyFrame(schema=LINES)


def _kept(
    place: Path,
    form: bytes,
    made: Callable[[str], pl.DataFrame],
    month: str,
    *,
    reads: bool,
    writes: bool,
) -> pl.LazyFrame:
    """Return what is kept of a month; where nothing is, work it out and keep it."""
    if reads and in_form(place, form):
        return pl.scan_parquet(place, glob=False, hive_partitioning=False)
    frame = made(month)
    if writes:
        put(frame, place)
    return frame.lazy()
