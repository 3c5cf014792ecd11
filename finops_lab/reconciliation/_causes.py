"""Why calculated and billed differ: causes of one series of days, in exact fractions of a dollar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

from finops_lab.reconciliation._bill import Line
from finops_lab.reconciliation._telemetry import Part

__all__ = ["CAUSES", "Case", "explain"]

# In the order in which they are taken out of the gap; `calculated.py` defines them.
CAUSES = (
    "cached_tokens",
    "service_tier",
    "failed_calls",
    "lag",
    "telemetry_not_on_bill",
    "traffic_not_seen",
    "sampling",
    "unpriced",
    "price_change",
    "rounding",
    "other_charges",
)
_ZERO = Fraction(0)
_SIGMAS = 3
_CLEAR = 20  # how many times its rounding a difference must be to be put down to a price
_DAY = timedelta(days=1)


@dataclass
class Case:
    """Telemetry and charges of one day that are about the same tokens.

    `own_rates` and `plain_rates` are what a token of each charge of `usage` costs by the book in its
    own tier and in the standard one; `past_rates` all that tokens of charges without a price ever
    cost. `tiers_of_bill` says that only the bill knows the tiers.
    """

    parts: list[Part] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    own_rates: list[Fraction | None] = field(default_factory=list)
    plain_rates: list[Fraction | None] = field(default_factory=list)
    past_rates: frozenset[Fraction] = frozenset()
    tiers_of_bill: bool = False
    causes: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(CAUSES, _ZERO))

    @property
    def usage(self) -> list[Line]:
        """The charges that are for use."""
        return [line for line in self.lines if line.usage]

    @property
    def calculated(self) -> Fraction:
        """The naive amount."""
        return sum((part.naive for part in self.parts), _ZERO)

    @property
    def billed(self) -> Fraction:
        """The amount on the bill."""
        return sum((line.amount for line in self.lines), _ZERO)

    @property
    def billed_tokens(self) -> Fraction | None:
        """Tokens on the bill; None where a charge does not count them."""
        counts = [line.tokens for line in self.usage]
        known = [count for count in counts if count is not None]
        return sum(known, _ZERO) if len(known) == len(counts) else None

    @property
    def tokens(self) -> int:
        """Tokens of telemetry."""
        return sum(part.tokens for part in self.parts)

    @property
    def sampled(self) -> bool:
        """Whether its telemetry is a sample."""
        return any(part.sampled for part in self.parts)

    def sums(self, *, failed: bool, priced: bool) -> tuple[int, Fraction]:
        """Return tokens and their worth by the book."""
        found = [part for part in self.parts if part.failed == failed and part.priced == priced]
        return sum(part.tokens for part in found), sum((part.tiered for part in found), _ZERO)


class _Pool:
    """Tokens of a case that are thought to be on the bill, and what they are worth by the book."""

    def __init__(self, case: Case) -> None:
        ok, worth = case.sums(failed=False, priced=True)
        failed, failed_worth = case.sums(failed=True, priced=True)
        self.priced, self.worth = Fraction(ok + failed), worth + failed_worth
        self.failed, self.failed_worth = Fraction(failed), failed_worth
        self.failed_unpriced = Fraction(case.sums(failed=True, priced=False)[0])
        self.unpriced = self.failed_unpriced + case.sums(failed=False, priced=False)[0]
        self.moved = _ZERO  # tokens billed here that were used on a day beside; negative: the other way

    def missing(self, billed: Fraction) -> Fraction:
        """Return the tokens of the bill that are not in the pool; negative for too many here."""
        return billed - self.priced - self.unpriced - self.moved

    def rate(self) -> Fraction | None:
        """Return what one of the tokens is worth on average."""
        return self.worth / self.priced if self.priced else None

    def drop_failed(self, tokens: Fraction) -> Fraction:
        """Take tokens of failed calls out; return their worth."""
        taken = min(tokens, self.failed)
        worth = self.failed_worth * taken / self.failed if self.failed else _ZERO
        self.priced -= taken
        self.worth -= worth
        self.unpriced -= min(tokens - taken, self.failed_unpriced)
        return worth


def explain(series: Mapping[date, Case], step: Fraction, first: date, last: date) -> None:
    """Fill in the causes of a series: one model's tokens of one direction and tier, day by day.

    `step` is the smallest amount of the bill. Lag is looked for on all days; samples are judged on
    those from `first` to `last`, on which the provider's calls were logged at all.
    """
    pools = {day: _Pool(case) for day, case in series.items()}
    for case in series.values():
        _book_prices(case)
    logged: dict[date, Case] = {}
    if any(case.sampled for case in series.values()):
        logged = {day: case for day, case in series.items() if first <= day <= last}
        _failed_in_samples(logged, pools)
        if not _by_chance(logged, pools):
            logged = {}
    else:
        # A whole day that is billed beside itself has its failed calls with it.
        _lag(series, pools, edges=False)
        _failed(series, pools)
        _lag(series, pools, edges=True)
    for day, case in series.items():
        _volume(case, pools[day], day in logged)
        _price_and_rest(case, pools[day], step)


def _book_prices(case: Case) -> None:
    for part in case.parts:
        case.causes["cached_tokens"] += part.cached - part.naive
        case.causes["service_tier"] += part.tiered - part.cached


def _failed(series: Mapping[date, Case], pools: Mapping[date, _Pool]) -> None:
    """Take out what failed calls cost where the bill has no room for their tokens."""
    for day, case in series.items():
        billed = case.billed_tokens
        if billed is not None and (spare := -pools[day].missing(billed)) > 0:
            case.causes["failed_calls"] -= pools[day].drop_failed(spare)


def _failed_in_samples(series: Mapping[date, Case], pools: Mapping[date, _Pool]) -> None:
    """Give one answer for all days: a day's estimate is too coarse to tell."""
    off = failed = _ZERO
    counted = [day for day, case in series.items() if case.billed_tokens is not None]
    for day in counted:
        off += pools[day].missing(series[day].billed_tokens or _ZERO)
        failed += pools[day].failed + pools[day].failed_unpriced
    if abs(off + failed) < abs(off):
        for day in counted:
            tokens = pools[day].failed + pools[day].failed_unpriced
            series[day].causes["failed_calls"] -= pools[day].drop_failed(tokens)


def _by_chance(series: Mapping[date, Case], pools: Mapping[date, _Pool]) -> bool:
    """Tell whether sampling can explain by how much all days together are off."""
    off = variance = _ZERO
    for day, case in series.items():
        billed = case.billed_tokens
        if billed is not None:
            off += pools[day].missing(billed)
            variance += sum((part.variance for part in case.parts), _ZERO)
    return off * off <= _SIGMAS * _SIGMAS * variance


def _lag(series: Mapping[date, Case], pools: Mapping[date, _Pool], *, edges: bool) -> None:
    """Move tokens that one day lacks on the bill and a day beside it has too many of."""
    for day in sorted(series):
        for other in (day + _DAY, day - _DAY):
            if other not in series or pools[day].unpriced:
                continue
            billed, billed_there = series[day].billed_tokens, series[other].billed_tokens
            rate = pools[day].rate()
            if billed is None or billed_there is None or rate is None:
                continue
            late, early = -pools[day].missing(billed), pools[other].missing(billed_there)
            edge = edges and (day.year, day.month) != (other.year, other.month)
            if late <= 0 or early <= 0 or not (edge or late == early):
                continue
            moved = min(late, early)
            pools[day].moved -= moved
            pools[other].moved += moved
            series[day].causes["lag"] -= moved * rate
            series[other].causes["lag"] += moved * rate


def _volume(case: Case, pool: _Pool, chance: bool) -> None:
    usage, billed = case.usage, case.billed_tokens
    amount = sum((line.amount for line in usage), _ZERO)
    if billed is None:
        # The bill counts nothing, but of a charge that nobody here knows all was unseen.
        if not case.parts:
            case.causes["traffic_not_seen"] += amount
        elif not pool.priced:
            case.causes["unpriced"] += amount
        return
    missing = pool.missing(billed)
    rate = pool.rate()
    if missing < 0:
        # What has no price adds nothing to the calculated amount, so it goes first.
        dropped = min(-missing, pool.unpriced)
        pool.unpriced -= dropped
        worth = (missing + dropped) * (rate or _ZERO)
        case.causes["sampling" if chance else "telemetry_not_on_bill"] += worth
    elif missing > 0:
        each = rate if rate is not None else _unseen(case, billed)
        case.causes["sampling" if chance else "traffic_not_seen"] += missing * each
    if pool.unpriced and billed:
        price = _stated(usage, billed)
        if price is None:
            price = _ZERO if pool.priced else amount / billed
        case.causes["unpriced"] += min(pool.unpriced, billed) * price


def _unseen(case: Case, billed: Fraction) -> Fraction:
    """Return the price of a token of which telemetry knows none: by the book, else by the bill."""
    usage = case.usage
    if not case.parts and all(rate is not None for rate in case.own_rates):
        rates = zip(usage, case.own_rates, strict=True)
        return sum(((line.tokens or _ZERO) * (rate or _ZERO) for line, rate in rates), _ZERO) / billed
    price = _stated(usage, billed)
    return price if price is not None else sum((line.amount for line in usage), _ZERO) / billed


def _stated(usage: list[Line], billed: Fraction) -> Fraction | None:
    """Return the mean price that the bill itself states."""
    if any(line.unit_price is None for line in usage):
        return None
    return sum(((line.tokens or _ZERO) * (line.unit_price or _ZERO) for line in usage), _ZERO) / billed


def _price_and_rest(case: Case, pool: _Pool, step: Fraction) -> None:
    usage, billed = case.usage, case.billed_tokens
    case.causes["other_charges"] += sum((line.amount for line in case.lines if not line.usage), _ZERO)
    if case.tiers_of_bill and pool.priced:
        rates = zip(usage, case.own_rates, case.plain_rates, strict=True)
        found = [
            (line.tokens or _ZERO) * (own - plain)
            for line, own, plain in rates
            if own is not None and plain is not None
        ]
        case.causes["service_tier"] += sum(found, _ZERO)
    expected = case.calculated + sum((v for k, v in case.causes.items() if k != "other_charges"), _ZERO)
    stated = [line for line in usage if line.unit_price is not None and line.tokens is not None]
    silent = [line for line in usage if line.unit_price is None or line.tokens is None]
    if stated and (billed or not silent):
        tokens = sum((line.tokens or _ZERO for line in stated), _ZERO)
        share = tokens / billed if billed else Fraction(1)
        priced = sum(((line.tokens or _ZERO) * (line.unit_price or _ZERO) for line in stated), _ZERO)
        case.causes["price_change"] += priced - expected * share
        expected -= expected * share
        for line in stated:
            if line.as_rounded:
                case.causes["rounding"] += line.amount - (line.tokens or _ZERO) * (line.unit_price or _ZERO)
    if silent and (billed is not None or not stated):
        amount, slack = sum((line.amount for line in silent), _ZERO), step * sum(line.rows for line in silent)
        used = _price_used(case, silent, amount, expected, slack)
        case.causes["price_change"] += used - expected
        if abs(amount - used) < slack:
            case.causes["rounding"] += amount - used


def _price_used(
    case: Case, silent: list[Line], amount: Fraction, expected: Fraction, slack: Fraction
) -> Fraction:
    """Return what charges without a price come to at the only price of the book that gives their amount."""
    if abs(amount - expected) < slack or any(line.tokens is None for line in silent):
        return expected
    tokens = sum((line.tokens or _ZERO for line in silent), _ZERO)
    fits = [rate * tokens for rate in case.past_rates if abs(amount - rate * tokens) < slack]
    # A difference near the rounding could be anything.
    clear = len(fits) == 1 and abs(fits[0] - expected) >= _CLEAR * slack
    return fits[0] if clear else expected
