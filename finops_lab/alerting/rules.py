"""Rules: who is told of an event, and what was planned anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal

from finops_lab.calendar import add_months
from finops_lab.config import AlertRule, Config, Event, Quiet

__all__ = ["BUILT_IN", "Planned", "Rules", "planned", "rules_of"]

_UP, _DOWN = ("one_off", "price_rise", "launch"), ("credit", "incomplete", "price_cut")
_SCOPED = {"team": "x_team", "model": "x_model", "feature": "x_feature"}

# They follow the rules of `finops.toml`; the first that fits counts.
BUILT_IN = (
    # Which rates and levels call for a page is settled where they are measured.
    AlertRule(name="service level", severity="page", where={"kind": ("slo",), "severity": ("page",)}),
    AlertRule(name="service level, slow", severity="ticket", where={"kind": ("slo",)}),
    AlertRule(
        name="runaway against the budget",
        severity="page",
        where={"direction": ("up",)},
        budget_share_at_least=0.1,
        times_expected=1.5,
        minutes_at_least=10,
    ),
    AlertRule(
        name="runaway without a budget",
        severity="page",
        where={"direction": ("up",), "budget": ("unknown",)},
        per_day_at_least=Decimal(1000),
        times_expected=1.5,
        minutes_at_least=10,
    ),
    AlertRule(name="everything else", severity="ticket"),
)


@dataclass(frozen=True)
class Planned:
    """Events that were planned: those that begin in a span of time and fit.

    Attributes
    ----------
    name : str
        What the alert says that holds it back.
    begin, end : datetime.datetime
        In UTC, the end excluded.
    where : dict
        As of an `AlertRule`.
    up_to : decimal.Decimal, optional
        Most that was planned; what has more at stake is told.
    pages : bool
        Whether pages are held back too.
    """

    name: str
    begin: datetime
    end: datetime
    where: dict[str, tuple[str, ...]]
    up_to: Decimal | None
    pages: bool


@dataclass(frozen=True)
class Rules:
    """What alerts go by.

    Attributes
    ----------
    alerts : tuple of AlertRule
        Tried in order.
    waits : tuple of Quiet
        When tickets wait.
    planned : tuple of Planned
        What is not told.
    least_amount : decimal.Decimal
        Spend with less at stake is not told.
    """

    alerts: tuple[AlertRule, ...] = BUILT_IN
    waits: tuple[Quiet, ...] = ()
    planned: tuple[Planned, ...] = ()
    least_amount: Decimal = Decimal(0)


def rules_of(config: Config) -> Rules:
    """Take the rules from `finops.toml`, the built-in ones after them.

    Parameters
    ----------
    config : Config
        ``[[alerts]]``, ``[[quiet]]``, ``[[events]]`` and ``[anomalies]``.

    Returns
    -------
    Rules

    Examples
    --------
    >>> rules = rules_of(Config.model_validate({"lab": {"name": "Mine"}}))
    >>> [rule.name for rule in rules.alerts][-1]
    'everything else'
    """
    own = {rule.name for rule in config.alerts}
    return Rules(
        # A rule of the same name takes the place of the built-in one.
        alerts=(*config.alerts, *(rule for rule in BUILT_IN if rule.name not in own)),
        waits=tuple(window for window in config.quiet if window.effect == "wait"),
        planned=planned(config.quiet, config.events),
        least_amount=config.anomalies.least_amount,
    )


def planned(quiet: Sequence[Quiet] = (), events: Sequence[Event] = ()) -> tuple[Planned, ...]:
    """Return what was planned: windows that suppress, and labelled events of spend.

    An event of `finops.toml` covers spend that begins in its months, in its direction and of its
    team or value; a new level covers what begins in its first month. Where it says an amount, up to
    that is not told; where it does not, nobody knows how much was planned, and pages pass.

    Parameters
    ----------
    quiet : sequence of Quiet
        Those that wait pass by.
    events : sequence of Event
        ``[[events]]``.

    Returns
    -------
    tuple of Planned

    Examples
    --------
    >>> training = {"name": "ranker v2", "kind": "one_off", "team": "search", "from": "2026-03", "amount": "42000"}
    >>> (one,) = planned(events=[Event.model_validate(training)])
    >>> str(one.end.date()), one.where["x_team"], one.up_to
    ('2026-04-01', ('search',), Decimal('42000'))
    """
    found = []
    for window in quiet:
        if window.effect == "suppress" and window.span is not None:
            begin, end = window.span
            found.append(Planned(window.name, begin, end, dict(window.where), window.up_to_amount, True))
    for event in events:
        where: dict[str, tuple[str, ...]] = {"kind": ("spend",)}
        if event.kind in (*_UP, *_DOWN):
            where["direction"] = ("up",) if event.kind in _UP else ("down",)
        if event.by is not None and event.value is not None:
            if event.by in _SCOPED:
                where[_SCOPED[event.by]] = (_literal(event.value),)
            else:
                where |= {"dimension": (event.by,), "value": (_literal(event.value),)}
        begin, end = (
            datetime.combine(month, time(0), UTC)
            for month in (event.first, add_months(event.end or event.first, 1))
        )
        found.append(Planned(event.name, begin, end, where, event.amount, event.amount is not None))
    return tuple(found)


def _literal(value: str) -> str:
    """Spell a value that begins with ``~`` so that it is no pattern."""
    if not value.startswith("~"):
        return value
    return "~^" + "".join(c if c.isalnum() else f"\\{c}" if c.isascii() else c for c in value) + "$"
