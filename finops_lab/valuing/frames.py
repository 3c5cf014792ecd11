"""The frames that a lab's value is worked out from, each made once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import polars as pl

from finops_lab import bookkeeping, contracts, measuring
from finops_lab.allocation import convert
from finops_lab.allocation.amortization import amortize
from finops_lab.calendar import add_months, format_month
from finops_lab.config import Activity
from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import Lab
from finops_lab.money import one_currency
from finops_lab.unit_economics._engine_buckets import counted_buckets
from finops_lab.unit_economics.activity import currency_of
from finops_lab.unit_economics.requests import months, roll_up
from finops_lab.unit_economics.schemas import BY_ENGINE, ENGINE_BUCKETS

__all__ = ["Frames"]

_SHORTEST = 28  # days: a month of bills that come by the day reaches it


@dataclass(frozen=True)
class Frames:
    """What is known of some months of a lab.

    Attributes
    ----------
    lab : Lab
        An opened lab.
    first, last : datetime.date
        First day of the first and of the last month.
    at : datetime.datetime, optional
        How far the last month has run (UTC), where it is not over. Without it, it has run to the end
        of the lab's `as_of`, or of the latest day that bills, requests or GPU samples tell of: no clock
        is asked, or the same inputs would tell another figure tomorrow. With it, what the lab tells of
        later days does not count.

    Raises
    ------
    InputError
        When `at` is before the last month.
    """

    lab: Lab
    first: date
    last: date
    at: datetime | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.at <= _midnight(self.last):
            raise InputError(f"{format_month(self.last)} has not begun at {self.at:%Y-%m-%d %H:%M}")

    @property
    def rules(self) -> tuple[Activity, ...]:
        """What inference is and what training, as `finops.toml` says."""
        return self.lab.config.activities

    @property
    def end(self) -> date:
        """The day after the last month."""
        return add_months(self.last, 1)

    @cached_property
    def until(self) -> date:
        """The day after the last one that is over: nobody can say that data of days to come is late."""
        if self.at is not None:
            return self.at.date()
        if self.lab.as_of is not None:
            return self.lab.as_of + timedelta(days=1)
        told = [self.entries["x_ChargeDate"], self.called["day"], self.gpu_days["day"]]
        days: list[date] = pl.concat(told).drop_nulls().unique().to_list()
        seen = max(days, default=None)
        if seen is None or seen + timedelta(days=1) < self.end:
            # Of months that nobody has seen a day of, none is over.
            seen = max(filter(None, (seen, self._latest)), default=None)
        return self.end if seen is None else seen + timedelta(days=1)

    @property
    def _latest(self) -> date | None:
        """The latest day of all that the lab tells of: what it goes on after is over. None without any."""
        days = [measuring.request_days(self.lab), measuring.gpu_days(self.lab)]
        found = [frame.select(pl.col("day").max()) for frame in days]
        with suppress(NoDataError):
            found.append(bookkeeping.scan(self.lab).select(pl.col("x_ChargeDate").max()))
        days_of: list[date] = [day for frame in pl.collect_all(found) if (day := frame.item()) is not None]
        return max(days_of, default=None)

    @property
    def open_at(self) -> datetime | None:
        """How far the last month has run, where it is not over; None where it is, or tells nothing."""
        moment = self.at or _midnight(self.until)
        if self.at is None and self.lab.as_of is None and self._by_month:
            return None
        return moment if _midnight(self.last) < moment < _midnight(self.end) else None

    @property
    def up_to(self) -> date | None:
        """The last day known of the last month, where it is not over."""
        return (self.open_at - timedelta(seconds=1)).date() if self.open_at else None

    @property
    def _cut(self) -> date | None:
        """The first day of the last month that does not count, because `at` is before it."""
        return self.up_to + timedelta(days=1) if self.at is not None and self.up_to is not None else None

    @property
    def days_known(self) -> int | None:
        """How many days of the last month can be compared with others; None where it is over.

        Raises
        ------
        InputError
            When none of them is over.
        """
        if self.open_at is None:
            return None
        days = (self.open_at.date() - self.last).days
        # Calls of days that no bill tells of yet would look like a fall of prices.
        billed = self.entries.filter(pl.col("x_ChargeMonth") == format_month(self.last))["x_ChargeDate"]
        dated: list[int] = billed.dt.day().unique().to_list()
        if len(dated) > 1:
            days = min(days, max(dated))
        if days < 1:
            raise InputError(f"no day of {format_month(self.last)} is over at {self.open_at:%Y-%m-%d %H:%M}")
        return days

    @property
    def _by_month(self) -> bool:
        """Whether bills alone tell of the last month, and stop where those of months before it do.

        A bill with all charges on the first, or on the fifth of every month, is no daily bill that has
        come so far.
        """
        if not all((days < self.last).all() for days in (self.called["day"], self.gpu_days["day"])):
            return False
        day = self.entries.filter(pl.col("x_ChargeMonth") == format_month(self.last))["x_ChargeDate"]
        if set(day) == {self.last}:
            return True
        before = pl.col("x_ChargeDate").filter(pl.col("x_ChargeMonth") < format_month(self.last))
        with suppress(NoDataError):
            latest = bookkeeping.scan(self.lab).select(before.dt.day().max()).collect().item()
            reached = day.dt.day().max()
            return isinstance(reached, int) and latest == reached < _SHORTEST
        return False

    @cached_property
    def entries(self) -> pl.DataFrame:
        """Ledger entries of the months, in the lab's currency where there are rates."""
        within = pl.col("x_ChargeMonth").is_between(
            pl.lit(format_month(self.first)), pl.lit(format_month(self.last))
        )
        try:
            kept = bookkeeping.scan(self.lab).filter(within, self._known("x_ChargeDate")).collect()
        except NoDataError:  # telemetry without bills tells how long calls took, and how many failed
            return pl.DataFrame(schema=contracts.dtypes("ledger"))
        if self.lab.config.rates:
            return convert(kept, self.lab.config.rates, self.lab.currency)
        one_currency(kept["BillingCurrency"].unique())
        return kept

    @cached_property
    def bill_rows(self) -> pl.DataFrame:
        """Bill rows of the months, by ``month`` of use and ``provider``: accepted and rejected ``rows``.

        Rejected rows tell no month that could be trusted: they count in each that their file tells of.
        """
        bad = self.lab.quarantine().filter(pl.col("table") == "costs")
        rejected = bad.group_by("source_file").agg(pl.len().alias("bad")).collect()
        # Most labs reject nothing, and need not read which file a row is from.
        file = pl.col("x_SourceFile").cast(pl.String) if rejected.height else pl.lit(None, pl.String)
        counted = (
            self.table("costs", "ChargePeriodStart")
            .group_by(
                pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month"),
                pl.col("ProviderName").cast(pl.String).alias("provider"),
                file.alias("source_file"),
            )
            .agg(pl.len().alias("rows"))
        )
        told = counted.join(rejected.lazy(), on="source_file", how="left")
        rows = pl.col("rows").sum() + pl.col("bad").fill_null(0).sum()
        return told.group_by("month", "provider").agg(rows.cast(pl.Int64).alias("rows")).collect()

    @property
    def pool(self) -> pl.Expr:
        """The pool of an entry as telemetry calls it: the ledger has the name of the split."""
        names = {split.name: split.idle_pool for split in self.lab.config.splits if split.idle_pool}
        return pl.col("x_PoolId").cast(pl.String).replace(names) if names else pl.col("x_PoolId")

    @cached_property
    def requests(self) -> pl.DataFrame:
        """Calls of the months, rolled up by month."""
        if self._cut is not None:
            return months(self.request_days.lazy()).collect()
        return measuring.request_months(self.lab).filter(self._month()).collect()

    @cached_property
    def request_days(self) -> pl.DataFrame:
        """Calls of the months, rolled up by day."""
        return measuring.request_days(self.lab).filter(self.within("day")).collect()

    @cached_property
    def called(self) -> pl.DataFrame:
        """The days of the months that there are calls of: ``day`` alone, each once."""
        days = measuring.request_days(self.lab).select("day").filter(self.within("day"))
        return days.unique().collect()

    @cached_property
    def histograms(self) -> pl.DataFrame:
        """Durations of the months' calls, in buckets."""
        kept = measuring.histograms(self.lab).filter(self._month())
        if self._cut is None:
            return kept.collect()
        rows = measuring.requests_of(self.lab).filter(self.within("day"), pl.col("day") >= self.last)
        return pl.concat([kept.filter(pl.col("month") < self.last).collect(), roll_up(rows).histograms])

    @cached_property
    def engine_buckets(self) -> pl.DataFrame:
        """Durations that engines counted themselves."""
        kept = measuring.engine_buckets(self.lab).filter(self._month())
        if self._cut is None:
            return kept.collect()
        rows = self.table("latency_histograms", "ts").filter(pl.col("ts").dt.date() >= self.last)
        now = counted_buckets(rows, BY_ENGINE).select(pl.col(n).cast(t) for n, t in ENGINE_BUCKETS.items())
        return pl.concat([kept.filter(pl.col("month") < self.last).collect(), now])

    @cached_property
    def gpu_days(self) -> pl.DataFrame:
        """GPU time of the months, by day."""
        return measuring.gpu_days(self.lab).filter(self.within("day")).collect()

    @cached_property
    def jobs(self) -> pl.DataFrame:
        """Attempts of training, of all months: one may begin before the first."""
        begun = self._known("ts_start").fill_null(True)
        return self.lab.table("training_jobs").filter(begun).collect()

    @cached_property
    def evictions(self) -> pl.DataFrame:
        """Spot evictions up to the last month: since the first one, a month without any had none."""
        lost = pl.col("ts_lost").cast(pl.Date)
        return self.lab.table("spot_evictions").filter(lost < (self._cut or self.end)).collect()

    @cached_property
    def deploys(self) -> pl.DataFrame:
        """Deployments of all months: a version serves from one before the first month."""
        return self.lab.table("deploys").collect()

    @cached_property
    def schedule(self) -> pl.DataFrame | None:
        """Training spread over the life of what it made; None where no deploy tells that life.

        Jobs tell what they cost in USD: beside money of another currency there is none.
        """
        if currency_of(self.entries) != "USD":
            return None
        makes = self.jobs.lazy().filter(pl.col("kind").is_in(["train", "retrain", "finetune", "tune"]))
        if self.deploys.is_empty() or self.jobs.is_empty():
            return None
        last = self.end - timedelta(days=1)
        whole = amortize(makes, self.deploys.lazy(), by="time", last=last)
        return whole.schedule.filter(pl.col("month").is_between(self.first, self.last))

    def table(self, name: str, moment: str) -> pl.LazyFrame:
        """Return the rows of a table whose `moment` lies in the months."""
        return self.lab.table(name).filter(self.within(moment))

    def _month(self) -> pl.Expr:
        return pl.col("month").is_between(self.first, self.last)

    def within(self, column: str) -> pl.Expr:
        """Tell which rows of a day or moment lie in the months."""
        day = pl.col(column).cast(pl.Date)
        return (day >= self.first) & (day < (self._cut or self.end))

    def _known(self, column: str) -> pl.Expr:
        """Tell which rows of a day or moment are not after `at`."""
        return pl.lit(True) if self._cut is None else pl.col(column).cast(pl.Date) < self._cut


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
