"""`[anomalies]`, `[[alerts]]`, `[[quiet]]`, `[[sinks]]`: what is looked for, who is told, when and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, model_validator

from finops_lab.config._base import Exact, Model, Names
from finops_lab.config.dimensions import check_patterns

__all__ = ["AlertRule", "Anomalies", "Quiet", "Sink"]

Severity = Literal["page", "ticket"]
# Columns of events that a rule may look at.
_LOOKED_AT = (
    "kind",
    "failure_mode",
    "detector",
    "metric",
    "unit",
    "dimension",
    "value",
    "x_provider",
    "x_service",
    "x_team",
    "x_model",
    "x_feature",
    "grain",
    "direction",
    "budget",
    "severity",
)
# Of daily spend, of hours of telemetry, and of drifts.
_DETECTORS = ("daily spend", "hour of week", "cusum of ratio")
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-(([01]\d|2[0-3]):([0-5]\d)|24:00)$")
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no day such as 2026-10-05, nor 2026-10-05T08:00:00Z") from None


Moment = Annotated[datetime | date, BeforeValidator(_moment)]


def _check_where(where: Mapping[str, Names]) -> None:
    for column in where:
        if column not in _LOOKED_AT:
            raise ValueError(f"events have no column {column!r}: write one of {', '.join(_LOOKED_AT)}")
    check_patterns(where)


class Anomalies(Model):
    """`[anomalies]`: how much is found, and what is too small to tell.

    `false_alarms_per_month` is the budget of one series and month; `budgets` gives detectors a budget
    of their own. `by` are the dimensions that daily spend is looked at by. What is at stake below
    `least_amount`, in the lab's currency, is not told. Spend and telemetry of `holidays` are neither judged
    nor learned from.
    """

    false_alarms_per_month: float = Field(default=1.0, gt=0, le=31)
    budgets: dict[str, Annotated[float, Field(gt=0, le=31)]] = Field(default_factory=dict)
    by: Names = ("provider", "service", "team", "model", "feature")
    least_amount: Exact = Field(default=Decimal(0), ge=0)
    holidays: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _names_detectors(self) -> Anomalies:
        for name in self.budgets:
            if name not in _DETECTORS:
                raise ValueError(f"no detector {name!r} has a budget: write one of {', '.join(_DETECTORS)}")
        return self


class AlertRule(Model):
    """`[[alerts]]`: events that page somebody, or become a ticket.

    The first rule that fits counts, the built-in ones after these. `where` picks events by their
    columns, as in a dimension's rule. All limits that are given must be reached: money at stake
    (`amount_at_least`), the same per day (`per_day_at_least`), as a share of the month's budget
    (`budget_share_at_least`), actual over expected (`times_expected`), and how long it has lasted
    (`minutes_at_least`). What is unknown reaches no limit. `sinks` are all where none is named.
    """

    name: str = Field(min_length=1)
    severity: Literal["page", "ticket", "none"]
    where: dict[str, Names] = Field(default_factory=dict)
    amount_at_least: Exact | None = Field(default=None, ge=0)
    per_day_at_least: Exact | None = Field(default=None, ge=0)
    budget_share_at_least: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    times_expected: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    minutes_at_least: int = Field(default=0, ge=0)
    sinks: Names = ()

    @model_validator(mode="after")
    def _looks_at_columns(self) -> AlertRule:
        _check_where(self.where)
        return self


class Quiet(Model):
    """`[[quiet]]`: hours in which tickets wait, or a span of time whose events were planned.

    ``effect = "wait"`` speaks of when people are told: tickets wait until it ends, pages do not.
    ``effect = "suppress"`` speaks of what happens: events that begin from `first` to `last` and fit
    `where` are not told, pages neither, but for those with more than `up_to_amount` at stake.
    Days and moments without an offset, `hours` and `days` are of `timezone`. Both ends are included;
    a day is all of it. Hours such as ``22:00-07:00`` end on the next day; `days` say when they begin.
    """

    name: str = Field(min_length=1)
    effect: Literal["wait", "suppress"] = "wait"
    first: Moment | None = Field(default=None, alias="from")
    last: Moment | None = Field(default=None, alias="to")
    hours: str | None = None
    days: Names = ()
    timezone: str = "UTC"
    where: dict[str, Names] = Field(default_factory=dict)
    up_to_amount: Exact | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _says_when(self) -> Quiet:
        _check_where(self.where)
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {self.timezone!r}, such as Europe/Berlin") from None
        if self.hours is not None and not _HOURS.match(self.hours):
            raise ValueError(f'{self.hours!r} are no hours: write them like "22:00-07:00"')
        if wrong := [day for day in self.days if day not in _WEEK]:
            raise ValueError(f"{wrong[0]!r} is no day: write {', '.join(_WEEK)}")
        if (self.first is None) != (self.last is None):
            raise ValueError("write both from and to")
        recurs = self.hours is not None or bool(self.days)
        if recurs == (self.first is not None):
            raise ValueError("write from and to, or hours, days or both")
        if self.effect == "suppress" and recurs:
            raise ValueError("what was planned has a begin and an end: suppress needs from and to")
        if self.effect == "wait" and (self.where or self.up_to_amount is not None):
            raise ValueError("tickets of all kinds wait: where and up_to_amount are for suppress")
        if set(self.days) == set(_WEEK) and self.hours is None:
            raise ValueError("tickets would wait for ever: leave a day out, or write hours")
        if (span := self.span) is not None and span[1] <= span[0]:
            raise ValueError("`to` is before `from`")
        return self

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Begin and end in UTC, the end excluded; None where it recurs."""
        if self.first is None or self.last is None:
            return None
        last = self.last
        end = last + timedelta(0 if isinstance(last, datetime) else 1)
        return self._utc(self.first), self._utc(end) + timedelta(microseconds=isinstance(last, datetime))

    def until(self, moment: datetime) -> datetime | None:
        """Return when the quiet ends that a moment is in, in UTC; None where it is in none."""
        span = self.span
        if span is not None:
            return span[1] if span[0] <= moment < span[1] else None
        zone = ZoneInfo(self.timezone)
        begins, ends = self._of_day()
        today = moment.astimezone(zone).date()
        for day in (today - timedelta(1), today):
            if self.days and _WEEK[day.weekday()] not in self.days:
                continue
            last = day + timedelta(1) if ends <= begins else day
            begin = datetime.combine(day, begins, zone).astimezone(UTC)
            end = datetime.combine(last, ends, zone).astimezone(UTC)
            if begin <= moment < end:
                return end
        return None

    def _of_day(self) -> tuple[time, time]:
        if self.hours is None:
            return time(0), time(0)
        begin, _, end = self.hours.partition("-")
        return time.fromisoformat(begin), time(0) if end == "24:00" else time.fromisoformat(end)

    def _utc(self, moment: datetime | date) -> datetime:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, time(0))
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.timezone))
        return zoned.astimezone(UTC)


class Sink(Model):
    """`[[sinks]]`: where alerts are written or sent to; without one they go nowhere.

    ``file`` appends a JSON line to `path`, below the lab's folder. ``webhook`` posts the alert as
    JSON, ``slack`` as a message of an incoming webhook, ``alertmanager`` to the API below `url`.
    An address that is a secret stands in the environment variable that `url_env` names; `headers_env`
    names variables by header. `severities` limits what is sent. `hold_hours` is how long Alertmanager
    takes an alert that goes on for firing: longer than from one run to the next.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    kind: Literal["file", "webhook", "slack", "alertmanager"]
    path: str | None = Field(default=None, min_length=1)
    url: str | None = None
    url_env: str | None = Field(default=None, pattern=_VARIABLE)
    headers_env: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], str] = Field(default_factory=dict)
    severities: Annotated[
        tuple[Severity, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)
    ] = (
        "page",
        "ticket",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    retries: int = Field(default=2, ge=0, le=10)
    hold_hours: float = Field(default=26.0, gt=0, le=240)

    @model_validator(mode="after")
    def _has_a_place(self) -> Sink:
        if self.kind == "file":
            if self.path is None or self.url is not None or self.url_env is not None or self.headers_env:
                raise ValueError("a file needs path, and nothing of an address")
            return self
        if self.path is not None:
            raise ValueError(f"{self.kind} has no path: it needs url or url_env")
        if (self.url is None) == (self.url_env is None):
            raise ValueError("write url, or url_env where the address is a secret")
        if self.url is not None:
            check_url(self.url)
        for name in self.headers_env.values():
            if not re.match(_VARIABLE, name):
                raise ValueError(f"{name!r} names no environment variable")
        return self


def check_url(url: str) -> None:
    """Refuse what is no address of a server, or holds credentials.

    Raises
    ------
    ValueError
        Without the address in it where that may be a secret.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("that is no address of a server: write it like http://localhost:9093")
    if parts.username is not None:
        raise ValueError("the address holds credentials: name their variables by headers_env")
