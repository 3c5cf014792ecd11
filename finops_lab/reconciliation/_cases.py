"""Telemetry and charges laid side by side: who is about the same tokens as whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from itertools import chain, combinations
from typing import NamedTuple

from finops_lab.reconciliation._bill import Billed, Line
from finops_lab.reconciliation._causes import Case
from finops_lab.reconciliation._telemetry import BUCKETS, Asked, Rated, Seen, Usage

__all__ = ["Key", "cases"]

_KNOWN = {(bucket.direction, bucket.cache) for bucket in BUCKETS}
Model = tuple[str, str]


class Key(NamedTuple):
    """What a line of the reconciliation is about."""

    provider: str
    model: str
    day: date
    direction: str | None
    cache: str | None


class _Manner(NamedTuple):
    """How the bill tells one model's tokens apart, and so how telemetry is added up."""

    spans: list[tuple[date, date]]
    directed: bool
    merged: frozenset[str]  # cache actions that the bill counts as plain input
    by_tier: bool
    tiers_of_bill: bool

    def day(self, day: date) -> date:
        """Return the first day of the charge that holds a day, where charges are longer than one."""
        return next((first for first, last in self.spans if first <= day <= last), day)

    def key(self, seen: Seen) -> Key:
        """Return the line that tokens of telemetry belong to."""
        day = self.day(seen.day)
        if not self.directed:
            return Key(seen.provider, seen.model, day, None, None)
        cache = None if seen.cache in self.merged else seen.cache
        return Key(seen.provider, seen.model, day, seen.direction, cache)


def cases(
    usage: Usage, bill: Billed, rated: Rated
) -> tuple[dict[Key, list[Case]], list[tuple[str, dict[date, Case]]]]:
    """Return the cases of each line, and the same cases as series of days with their provider."""
    of_usage: dict[Model, list[Seen]] = {}
    for where in usage.parts:
        of_usage.setdefault((where.provider, where.model), []).append(where)
    of_bill: dict[Model, list[Line]] = {}
    for line in bill.lines:
        of_bill.setdefault((line.provider, line.model), []).append(line)
    manners = {
        model: _manner(model, of_usage.get(model, []), of_bill.get(model, []), usage)
        for model in {*of_usage, *of_bill}
    }
    rates = rated.ask(_asked(bill), usage.names)
    past = rated.ever(_silent(bill), usage.names)
    found: dict[tuple[Key, str], Case] = {}
    for model in sorted(manners):
        manner = manners[model]
        for where in sorted(of_usage.get(model, []), key=str):
            case = found.setdefault((manner.key(where), where.tier if manner.by_tier else ""), Case())
            case.parts += usage.parts[where]
        for line in of_bill.get(model, []):
            key = Key(*model, manner.day(line.day), line.direction, line.cache)
            tier = (line.tier or "standard") if manner.by_tier else ""
            case = found.setdefault((key, tier), Case(tiers_of_bill=manner.tiers_of_bill))
            case.tiers_of_bill = manner.tiers_of_bill
            case.lines.append(line)
            if line.usage:
                own, plain = _questions(line, bill)
                case.own_rates.append(rates.get(own) if own else None)
                case.plain_rates.append(rates.get(plain) if plain else None)
                case.past_rates |= past.get(_any_day(own), frozenset()) if own else frozenset()
    lines: dict[Key, list[Case]] = {}
    series: dict[tuple[object, ...], dict[date, Case]] = {}
    for (key, tier), case in found.items():
        lines.setdefault(key, []).append(case)
        series.setdefault((key.provider, key.model, key.direction, key.cache, tier), {})[key.day] = case
    return lines, [(str(name[0]), days) for name, days in series.items()]


def _asked(bill: Billed) -> Iterator[Asked]:
    for line in bill.lines:
        for question in _questions(line, bill) if line.usage else ():
            if question is not None:
                yield question


def _silent(bill: Billed) -> Iterator[Asked]:
    """Return the tokens that the bill counts and does not price."""
    for line in bill.lines:
        own = _questions(line, bill)[0]
        if own is not None and line.usage and line.unit_price is None and line.tokens is not None:
            yield _any_day(own)


def _any_day(asked: Asked) -> Asked:
    return asked._replace(day=date.min)


def _questions(line: Line, bill: Billed) -> tuple[Asked | None, Asked | None]:
    """Return the questions for the price of a charge's tokens: in its tier, and in the standard one."""
    name = next((name for _, name in bill.names[line.provider, line.model] if name), "")
    if not name or line.direction is None or (line.direction, line.cache) not in _KNOWN:
        return None, None
    rest = (line.direction, line.cache, line.day)
    return (
        Asked(line.provider, name, line.tier or "standard", *rest),
        Asked(line.provider, name, "standard", *rest),
    )


def _manner(model: Model, there: list[Seen], here: list[Line], usage: Usage) -> _Manner:
    charges = [line for line in here if line.usage]
    spans = sorted({(line.day, line.until) for line in charges if line.until is not None})
    tiers = any(line.tier is not None for line in charges)
    directed = not charges or any(line.direction is not None for line in charges)
    return _Manner(
        [(first, last) for first, last in spans if last is not None],
        directed,
        _merged(there, charges, usage) if directed else frozenset(),
        tiers and model in usage.tiered,
        tiers and model not in usage.tiered,
    )


def _merged(there: list[Seen], charges: list[Line], usage: Usage) -> frozenset[str]:
    """Return the cache actions that the bill's plain input seems to hold: those that bring it nearest."""
    plain = [line for line in charges if line.direction == "Input" and line.cache is None]
    named = {line.cache for line in charges}
    open_ = sorted({where.cache for where in there if where.cache is not None} - named)
    if not plain or not open_:
        return frozenset()
    if any(line.tokens is None for line in plain):
        return frozenset(open_)
    tokens = {
        cache: sum(part.tokens for where in there if _is_input(where, cache) for part in usage.parts[where])
        for cache in (None, *open_)
    }
    billed = sum((line.tokens or Fraction(0) for line in plain), Fraction(0))
    choices = chain.from_iterable(combinations(open_, size) for size in range(len(open_) + 1))
    return frozenset(
        min(choices, key=lambda chosen: abs(billed - sum(tokens[cache] for cache in (None, *chosen))))
    )


def _is_input(where: Seen, cache: str | None) -> bool:
    return where.direction == "Input" and where.cache == cache
