"""Do the days of a bill fit: missing days, open months, late and future charges."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from finops_lab.calendar import add_months, format_month, is_closed, months_from, parse_month
from finops_lab.doctor._model import Look, Tables, Told, check, total
from finops_lab.doctor._rows import ACCOUNT, examples, flagged
from finops_lab.doctor._words import amount, days, listed, place, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_START, _END = pl.col("ChargePeriodStart"), pl.col("ChargePeriodEnd")
_DAY = timedelta(days=1)
# A daily series that lacks more days than this was not used daily.
_DENSE = 0.8
_LATE_DAYS = 92
_OPEN_DAYS = 30
_RESTATED = "Anthropic cost report"


def _daily(tables: Tables) -> pl.LazyFrame:
    """Return the days with charges of a day or less, per account."""
    short = (_END - _START).is_between(timedelta(), timedelta(hours=25)) & (
        pl.col("ChargeCategory") == "Usage"
    )
    return (
        tables.costs.filter(short)
        .with_columns(_START.dt.date().alias("day"))
        .group_by(*ACCOUNT, "day")
        .agg(pl.col("BilledCost").abs().sum().alias("money"))
        .sort(*ACCOUNT, "day")
    )


@check(
    "missing days",
    table="costs",
    severity="warning",
    meaning="A provider's account has days without any charge between days that have some.",
    fix="export these days again; until then leave the month out of trends and forecasts",
)
def _missing_days(tables: Tables) -> Look:
    found = yield _daily(tables)
    told = []
    for (provider, account, currency), rows in found.group_by(ACCOUNT, maintain_order=True):
        seen = rows["day"].to_list()
        length = (seen[-1] - seen[0]).days + 1
        missing = sorted({seen[0] + n * _DAY for n in range(length)} - set(seen))
        if not missing:
            continue
        money = total(rows["money"])
        dense = len(seen) >= _DENSE * length
        told.append(
            Told(
                place(provider, account, span(seen[0], seen[-1])),
                f"{plural(len(missing), 'day')} of {length:,} without a charge: {days(missing)}; a day with "
                f"charges has {amount(money / len(seen), str(currency))} on average",
                None,
                str(currency),
                money / len(seen) * len(missing) if dense else None,
                severity=None if dense else "info",
                fix=None if dense else "nothing, if the account is not used every day",
            )
        )
    return told


@check(
    "missing months",
    table="costs",
    severity="warning",
    meaning="A provider's account has no charge in a whole month between months that have some.",
    fix="ingest the exports of these months, or the trend of this account breaks",
)
def _missing_months(tables: Tables) -> Look:
    months = pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("month")
    found = yield (
        tables.costs.group_by(*ACCOUNT, months)
        .agg(pl.col("BilledCost").abs().sum().alias("money"))
        .sort(*ACCOUNT, "month")
    )
    told = []
    for (provider, account, currency), rows in found.group_by(ACCOUNT, maintain_order=True):
        seen = rows["month"].to_list()
        every = [format_month(m) for m in months_from(parse_month(seen[0]), parse_month(seen[-1]))]
        missing = [month for month in every if month not in set(seen)]
        if missing:
            told.append(
                Told(
                    place(provider, account, span(seen[0], seen[-1])),
                    f"{plural(len(missing), 'month')} without a charge: {listed(missing)}",
                    None,
                    str(currency),
                    total(rows["money"]) / len(seen) * len(missing),
                )
            )
    return told


@check(
    "incomplete month",
    table="costs",
    severity="info",
    meaning="The newest month of an account ends before its last day, or is not over.",
    fix="compare per day, cut at the last complete day, and forecast on closed months only",
)
def _incomplete_month(tables: Tables) -> Look:
    found = yield _daily(tables)
    if found.is_empty():
        return []
    newest = found["day"].max()
    assert isinstance(newest, date)
    told = []
    for (provider, account, currency), rows in found.group_by(ACCOUNT, maintain_order=True):
        last: date = rows["day"][-1]
        month = last.replace(day=1)
        end = add_months(month, 1) - _DAY
        if add_months(month, 1) <= newest.replace(day=1):
            told.append(
                Told(
                    place(provider, account, format_month(month)),
                    f"no daily charge since {last}, while other accounts have some until {newest}",
                    None,
                    str(currency),
                    fix="nothing, if the account was closed; else its newest exports are missing",
                )
            )
        elif last < end:
            over = tables.today is not None and is_closed(month, tables.today)
            told.append(
                Told(
                    place(provider, account, format_month(month)),
                    f"charges of {format_month(month)} end on {last}, {plural((end - last).days, 'day')} "
                    f"before the month's end" + (f", though it is over by {tables.today}" if over else ""),
                    None,
                    str(currency),
                    total(rows.filter(pl.col("day") >= month)["money"]),
                    severity="warning" if over else None,
                    fix="export the month again" if over else None,
                )
            )
    return told


@check(
    "late charges",
    table="costs",
    severity="info",
    meaning="Usage billed in a later month than it was used in, and not marked as a correction.",
    fix="show the month by ChargePeriodStart once its late charges are in, and keep the last days of a "
    "month out of forecasts",
)
def _late_charges(tables: Tables) -> Look:
    late = (pl.col("BillingPeriodStart") > _START) & pl.col("ChargeClass").is_null()
    by_days = (pl.col("BillingPeriodStart") - _START).dt.total_days()
    found = yield flagged(
        tables.costs, late, used_from=_START.min(), used_to=_START.max(), days=by_days.max()
    )
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'charge')} of {span(row['used_from'].date(), row['used_to'].date())} billed "
            f"in {span(row['first'], row['last'])} ({amount(row['money'], row['BillingCurrency'])})",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
            severity="warning" if row["days"] > _LATE_DAYS else None,
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "charges after their billing period",
    table="costs",
    severity="warning",
    meaning="Usage begins after the end of the billing period it stands in.",
    fix="check both periods of the export; usage cannot be billed before it happens",
)
def _charges_after_their_billing_period(tables: Tables) -> Look:
    early = (pl.col("BillingPeriodEnd") <= _START) & (pl.col("ChargeCategory") == "Usage")
    found = yield flagged(tables.costs, early, used_to=_START.max())
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'Usage row')} up to {row['used_to'].date()} billed in "
            f"{span(row['first'], row['last'])}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "periods without length",
    table="costs",
    severity="warning",
    meaning="A charge's period ends when it begins, or is not a billing month at all.",
    fix="ends are exclusive in FOCUS: a day's charge ends at the next midnight",
)
def _periods_without_length(tables: Tables) -> Look:
    empty = _END == _START
    length = (pl.col("BillingPeriodEnd") - pl.col("BillingPeriodStart")).dt.total_days()
    odd = (length < 27) | (length > 32)
    parts = [
        flagged(tables.costs, empty).with_columns(pl.lit("have a charge period of no length").alias("what")),
        flagged(tables.costs, odd).with_columns(
            pl.lit("have a billing period that is no month").alias("what")
        ),
    ]
    found = yield pl.concat(parts)
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'row')} {row['what']}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
            severity="info" if "billing" in row["what"] else None,
            fix="totals by BillingPeriodStart are not monthly for these rows"
            if "billing" in row["what"]
            else None,
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "future charges",
    table="costs",
    severity="error",
    meaning="Usage of days that have not come yet.",
    fix="check the clock and date order (day and month swapped?) of the export",
)
def _future_charges(tables: Tables) -> Look:
    if tables.today is None:
        return []
    # What was paid before and is spread over later months is billed 0 there.
    billed = pl.col("BilledCost") != 0
    after = (_START.dt.date() > tables.today) & (pl.col("ChargeCategory") == "Usage") & billed
    found = yield flagged(tables.costs, after, used_to=_START.max())
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'Usage row')} up to {row['used_to'].date()}, after {tables.today} "
            f"({amount(row['money'], row['BillingCurrency'])})",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "bill not final",
    table="costs",
    severity="info",
    meaning="Costs of a report that its vendor still restates: Anthropic's is not final for about 30 days.",
    fix="fetch the report again after 30 days; show its last month as preliminary",
)
def _bill_not_final(tables: Tables) -> Look:
    files = [e.path for table, e in tables.log if table == "costs" and e.format == _RESTATED]
    if not files or tables.today is None:
        return []
    open_days = _START.dt.date() > tables.today - timedelta(days=_OPEN_DAYS)
    found = yield flagged(tables.costs, pl.col("x_SourceFile").is_in(files) & open_days)
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], span(row["first"], row["last"])),
            f"{plural(row['rows'], 'charge')} of the last {_OPEN_DAYS} days before {tables.today} "
            f"({amount(row['money'], row['BillingCurrency'])}) may still change",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


CHECKS = (
    _missing_days,
    _missing_months,
    _incomplete_month,
    _late_charges,
    _charges_after_their_billing_period,
    _periods_without_length,
    _future_charges,
    _bill_not_final,
)
