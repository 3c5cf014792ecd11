"""What a lab's telemetry adds up to, kept day by day: only days that changed are rolled up again.

Each roll-up is a file below ``lake/rollups`` that is named after everything it was worked out from:
the day's data files, the contract, the release of this package, the coverage plans that act, the
rules that spell owners. Calls are also kept added up by month, since figures are told by the month.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from importlib.metadata import version as package_version
from itertools import groupby
from pathlib import Path

import polars as pl

from finops_lab import contracts
from finops_lab.allocation import spelled
from finops_lab.config import Dimensions
from finops_lab.config.dimensions import with_accounts
from finops_lab.contracts import DIMENSIONS
from finops_lab.ingestion import lake
from finops_lab.keeping import digest, form_of, in_form, only, partition_values, put
from finops_lab.lab import Lab
from finops_lab.service_levels.events import BY_CALL, events
from finops_lab.service_levels.kpi import BURNED
from finops_lab.service_levels.kpi import burned_months as burned
from finops_lab.service_levels.schemas import EVENTS
from finops_lab.unit_economics import gpus, histogram, requests
from finops_lab.unit_economics._engine_buckets import counted_buckets
from finops_lab.unit_economics.schemas import (
    BY_ENGINE,
    ENGINE_BUCKETS,
    GPU_DAYS,
    HISTOGRAMS,
    REQUEST_DAYS,
    REQUEST_MONTHS,
)

__all__ = [
    "FOLDER",
    "burned_months",
    "call_events",
    "gpu_days",
    "histograms",
    "request_days",
    "request_months",
    "requests_of",
]

FOLDER = "rollups"
_Kept = Path | pl.DataFrame  # a roll-up that is kept, or what could not be
_LONGEST_DAYS = 3  # of the windows that burn rates are looked at in
_SCHEMAS: Mapping[str, Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "request_days": REQUEST_DAYS,
    "request_months": REQUEST_MONTHS,
    "histogram_days": HISTOGRAMS,
    "histogram_months": HISTOGRAMS,
    "gpu_days": GPU_DAYS,
    "engine_days": ENGINE_BUCKETS,
    "engine_months": ENGINE_BUCKETS,
    "call_events": EVENTS,
    "burned_months": BURNED,
}


def request_days(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the lab's calls rolled up by day.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    store : bool
        Keep what was worked out below ``lake/rollups``, and use what is kept. Without it everything
        is worked out again and nothing is written. A lab that was opened as of a date uses what is
        kept and writes nothing.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_DAYS`, sorted; empty without calls. What is kept
        is read when the frame is collected: do so before the lab is opened on other data.
    """
    return _calls(lab, store).days("request_days")


def requests_of(lab: Lab) -> pl.LazyFrame:
    """Return the lab's calls themselves, their owners spelled as those of the ledger and of roll-ups."""
    return _calls(lab, store=False).rows


def request_months(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the lab's calls rolled up by month.

    Parameters are those of `request_days`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`, sorted; empty without calls.
    """

    def added(days: pl.LazyFrame, _: date) -> pl.DataFrame:
        return requests.months(days).collect()

    return _calls(lab, store).months("request_months", "request_days", added)


def histograms(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the durations of the lab's successful calls, in buckets, by month.

    Parameters are those of `request_days`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.HISTOGRAMS`, sorted; empty without calls. Read it with
        `finops_lab.unit_economics.histogram.quantiles`.
    """

    def merged(days: pl.LazyFrame, _: date) -> pl.DataFrame:
        return histogram.merged([days]).select(list(HISTOGRAMS))

    return _calls(lab, store).months("histogram_months", "histogram_days", merged)


def gpu_days(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the lab's GPU time rolled up by day.

    Parameters are those of `request_days`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`, sorted; empty without samples.
    """
    return _Shelf(lab, "gpu_samples", _gpu_day, ("gpu_days",), store).days("gpu_days")


def engine_buckets(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the durations that the lab's serving engines counted themselves, by month.

    Parameters are those of `request_days`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.unit_economics.schemas.ENGINE_BUCKETS`, sorted; empty without histograms.
    """

    def of_day(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
        return {"engine_days": counted_buckets(rows, BY_ENGINE).select(_casts(ENGINE_BUCKETS)).sort(keys)}

    def added(days: pl.LazyFrame, _: date) -> pl.DataFrame:
        sums = days.group_by(keys).agg(pl.col("calls", "rows").sum())
        return sums.select(_casts(ENGINE_BUCKETS)).sort(keys).collect()

    keys = list(ENGINE_BUCKETS)[:-2]
    shelf = _Shelf(lab, "latency_histograms", of_day, ("engine_days",), store)
    return shelf.months("engine_months", "engine_days", added)


def _casts(schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> list[pl.Expr]:
    return [pl.col(name).cast(kind) for name, kind in schema.items()]


def call_events(lab: Lab, *, store: bool = True) -> pl.LazyFrame:
    """Return the good and bad calls of the lab's objectives, in slots of five minutes.

    Parameters are those of `request_days`.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.schemas.EVENTS`, sorted by day; empty without calls or objectives.
    """
    return _promised(lab, store).days("call_events")


def burned_months(lab: Lab, *, at: datetime | None = None, store: bool = True) -> pl.LazyFrame:
    """Return how the error budgets of the lab's objectives about calls burned, by month.

    Parameters
    ----------
    lab, store
        As in `request_days`.
    at : datetime.datetime, optional
        How far the month that it lies in has run, where that is not over: what is kept of such a
        month is of that moment.

    Returns
    -------
    polars.LazyFrame
        `finops_lab.service_levels.kpi.BURNED`; empty without calls or objectives.
    """
    slos = lab.slos()
    mine = slos.filter(pl.col("objective").is_in(BY_CALL))

    def of_month(days: pl.LazyFrame, month: date) -> pl.DataFrame:
        return burned(days, mine, months=[month], at=at)

    if mine.is_empty():
        return pl.LazyFrame(schema=BURNED)
    return _promised(lab, store).months("burned_months", "call_events", of_month, before=_LONGEST_DAYS, at=at)


def _promised(lab: Lab, store: bool) -> _Shelf:
    slos = lab.slos()

    def of_day(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
        return {"call_events": events(rows, slos).select(list(EVENTS)).collect()}

    settled = (repr(slos.rows()),)
    return _Shelf(lab, "inference_requests", of_day, ("call_events",), store, settled)


def _calls(lab: Lab, store: bool) -> _Shelf:
    return _Shelf(lab, "inference_requests", _request_day, ("request_days", "histogram_days"), store)


def _request_day(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    rolled = requests.partial(rows)
    return {"request_days": rolled.days, "histogram_days": rolled.histograms}


def _gpu_day(rows: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    return {"gpu_days": gpus.partial(rows)}


@dataclass(frozen=True)
class _Shelf:
    """The kept roll-ups of one table of a lab."""

    lab: Lab
    table: str
    work: Callable[[pl.LazyFrame], Mapping[str, pl.DataFrame]]
    kinds: tuple[str, ...]  # what `work` makes of a day
    store: bool
    settled: tuple[str, ...] = ()  # what `work` depends on besides the rows

    @property
    def folder(self) -> Path:
        return self.lab.folder / "lake" / FOLDER

    @property
    def writes(self) -> bool:
        return self.store and self.lab.as_of is None

    @cached_property
    def rows(self) -> pl.LazyFrame:
        # Owners are spelled as the ledger spells them, or a team's calls would not find its money.
        rows = self.lab.table(self.table)
        names = [name for name in DIMENSIONS if name in contracts.dtypes(self.table)]
        return spelled(rows, names, self.rules)

    @cached_property
    def rules(self) -> Dimensions:
        return with_accounts(self.lab.config.dimensions, self.lab.config.accounts)

    @cached_property
    def digests(self) -> dict[str, str]:
        """What each day's roll-up is worked out from, in order of days."""
        home = self.lab.folder / "lake"
        files: dict[str, list[str]] = {}
        for name in lake.data_files_of(home, self.table, self.lab.as_of):
            files.setdefault(partition_values(name)["day"], []).append(name)
        settled = digest(
            [
                contracts.version(self.table),
                package_version("finops-lab"),
                repr(self.lab.plans(self.table)),
                repr(self.rules),
                *self.settled,
                # Names of data files are used once in the life of a table.
                str(lake.identity(home, self.table)),
                *(repr(_SCHEMAS[kind]) for kind in self.kinds),
            ]
        )
        return {day: digest([settled, names])[:16] for day, names in sorted(files.items())}

    def days(self, kind: str) -> pl.LazyFrame:
        """Return what the days of the lab add up to."""
        found = [self._day(day, kind) for day in self.digests]
        self._forget()
        return _together(found, kind)

    def months(
        self,
        kind: str,
        of: str,
        add_up: Callable[[pl.LazyFrame, date], pl.DataFrame],
        *,
        before: int = 0,
        at: datetime | None = None,
    ) -> pl.LazyFrame:
        """Return days of the kind `of` added up to months; so many days `before` one count for it too.

        A month that is not over at the moment `at` is kept for that moment.
        """
        months: dict[str, list[str]] = {day[:7]: [] for day in self.digests}
        for month, days in months.items():
            begin = (date.fromisoformat(f"{month}-01") - timedelta(days=before)).isoformat()
            days += [day for day in self.digests if begin <= day and day[:7] <= month]
        found, wanted, form = [], set(), form_of(_SCHEMAS[kind])
        for month, days in months.items():
            runs_on = at is not None and f"{at:%Y-%m}" <= month
            known = [self.digests[day] for day in days] + ([str(at)] if runs_on else [])
            made_of = digest([repr(_SCHEMAS[kind]), known])[:16]
            place = self.folder / kind / f"{month}-{made_of}.parquet"
            wanted.add(place.name)
            kept: _Kept | None = place if self.store and in_form(place, form) else None
            if kept is None:
                whole = _together([self._day(day, of) for day in days], of)
                kept = self._keep(add_up(whole, date.fromisoformat(f"{month}-01")), place, form)
            found.append(kept)
        self._forget()
        if self.writes:
            only(self.folder / kind, wanted)
        return _together(found, kind)

    @cached_property
    def forms(self) -> dict[str, bytes]:
        """What tells that a file holds a kind of roll-up."""
        return {kind: form_of(_SCHEMAS[kind]) for kind in self.kinds}

    def _day(self, day: str, kind: str) -> _Kept:
        """Return one day's roll-up, worked out where it is not kept."""
        places = {name: self.folder / name / f"{day}-{self.digests[day]}.parquet" for name in self.kinds}
        if self.store and in_form(places[kind], self.forms[kind]):
            return places[kind]
        made = self.work(self.rows.filter(pl.col("day") == date.fromisoformat(day)))
        found = {name: self._keep(made[name], place, self.forms[name]) for name, place in places.items()}
        return found[kind]

    def _keep(self, frame: pl.DataFrame, place: Path, form: bytes) -> _Kept:
        """Keep a frame; where it cannot be written, the frame itself is returned."""
        if not self.writes:
            return frame
        put(frame, place)
        return place if in_form(place, form) else frame

    def _forget(self) -> None:
        """Remove the roll-ups of days that are gone or have changed."""
        if self.writes:
            wanted = {f"{day}-{digest}.parquet" for day, digest in self.digests.items()}
            for kind in self.kinds:
                only(self.folder / kind, wanted)


def _together(parts: list[_Kept], kind: str) -> pl.LazyFrame:
    """Put roll-ups together in their order; files that follow one another are read in one scan."""
    frames = []
    for kept, some in groupby(parts, lambda part: isinstance(part, Path)):
        if kept:
            frames.append(pl.scan_parquet(list(some), glob=False, hive_partitioning=False))  # type: ignore[arg-type]
        else:
            frames += [frame.lazy() for frame in some if isinstance(frame, pl.DataFrame)]
    return pl.concat(frames) if frames else pl.LazyFrame(schema=_SCHEMAS[kind])
