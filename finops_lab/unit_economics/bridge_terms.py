"""The terms of the bridge between two months, and how one cell's change is split into them, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import factorial
from typing import Literal

from finops_lab.errors import ReconciliationError
from finops_lab.money import SCALE

__all__ = ["FACTORS", "TERMS", "Factors", "Method", "exact_terms", "rounded"]

Method = Literal["sequential", "shapley"]

# In the order of the bridge: a label for charts, and what an analyst reads.
TERMS: dict[str, tuple[str, str]] = {
    "days": ("Days in the month", "the months are not equally long"),
    "requests": ("Requests per day", "calls a day, repeats not counted, at the mix of the month before"),
    "model_mix": ("Model mix", "requests moved to dearer or cheaper models"),
    "variant_mix": ("Variant mix", "requests moved to dearer or cheaper variants of a model"),
    "retries": ("Retries", "calls that repeat a failed one, per request"),
    "tokens": ("Tokens per call", "more or fewer input and output tokens in a call"),
    "cache": ("Cache-hit rate", "another share of the input read from, or written to, a prompt cache"),
    "price": ("Price", "what a weighted token cost, at the volume and mix of the later month"),
    "commitments": (
        "Commitments",
        "discount of commitments on what they covered, their unused part, and purchases",
    ),
    "new": ("New models and variants", "calls and spend only in the later month"),
    "vanished": ("Vanished models and variants", "calls and spend only in the month before"),
    "idle": ("Idle capacity", "capacity that was paid for and not used"),
    "training": ("Training", "entries whose activity is training"),
    "not_measured": ("Not measured", "spend that no telemetry sees: no volume to hold it against"),
    "other": ("Other charges", "entries whose activity is neither inference nor training"),
    "credits": ("Credits", "charges of category Credit"),
    "corrections": ("Corrections", "adjustments, and corrections of months already invoiced"),
    "tax": ("Tax", "charges of category Tax"),
}
# What the spend of a cell is the product of, in the order in which the sequential method changes it.
FACTORS = ("days", "requests", "model_mix", "variant_mix", "retries", "tokens", "cache", "price")
_OF_CALLS = frozenset(FACTORS[:5])
_ZERO = Fraction(0)


@dataclass(frozen=True)
class Factors:
    """What the spend of a cell is made of in one month; the product is the spend.

    Attributes
    ----------
    days, requests, model_mix, variant_mix, retries : Fraction
        Days of the month, requests a day of all cells, share of the model in them, share of the
        variant in the model's, calls per request.
    tokens : tuple of Fraction
        Input and output tokens per call.
    cache : tuple of Fraction
        Shares of the input read from a cache and written to one.
    price, discount : Fraction
        Spend per weighted token without what commitments took off, and that discount (negative).
    """

    days: Fraction
    requests: Fraction
    model_mix: Fraction
    variant_mix: Fraction
    retries: Fraction
    tokens: tuple[Fraction, Fraction]
    cache: tuple[Fraction, Fraction]
    price: Fraction
    discount: Fraction = _ZERO


def exact_terms(
    start: Factors, end: Factors, weights: Sequence[Fraction] | None, method: Method = "sequential"
) -> dict[str, Fraction]:
    """Split the change of a cell's spend into its factors, without rounding and without a rest.

    Parameters
    ----------
    start, end : Factors
        The cell in both months.
    weights : sequence of Fraction or None
        Weight of an uncached input, cache-read, cache-write and output token; None where the cell
        is not told in tokens: its calls count alike then.
    method : {"sequential", "shapley"}
        ``sequential`` changes one factor after the other in the order of `FACTORS`, those before
        it at the end's value and those after it at the start's (chain substitution). ``shapley``
        is the mean over all orders, which favours none.

    Returns
    -------
    dict of str to Fraction
        `FACTORS` and ``commitments``; they add up to the change.

    Examples
    --------
    >>> one, half = Fraction(1), Fraction(1, 2)
    >>> july = Factors(Fraction(31), Fraction(10), one, one, one, (half, half), (0 * one, 0 * one), Fraction(2))
    >>> august = Factors(Fraction(31), Fraction(20), one, one, one, (half, half), (0 * one, 0 * one), one)
    >>> {name: str(v) for name, v in exact_terms(july, august, None).items() if v}
    {'requests': '620', 'price': '-620'}
    >>> {name: str(v) for name, v in exact_terms(july, august, None, "shapley").items() if v}
    {'requests': '465', 'price': '-465'}
    """
    names = [name for name in FACTORS if getattr(start, name) != getattr(end, name)]
    if start.discount != end.discount and "price" not in names:
        names.append("price")
    terms = dict.fromkeys((*FACTORS, "commitments"), _ZERO)
    volume = _volumes(start, end, weights)
    for place, name in enumerate(names):
        for share, sets in _orders(names, place, method):
            if name == "price":
                volumes = sum((volume(before) for before in sets), _ZERO)
                terms["price"] += share * volumes * (end.price - start.price)
                terms["commitments"] += share * volumes * (end.discount - start.discount)
                continue
            for at, later in ((start, False), (end, True)):
                some = [before for before in sets if ("price" in before) == later]
                moved = sum((volume(before | {name}) - volume(before) for before in some), _ZERO)
                terms[name] += share * moved * (at.price + at.discount)
    return terms


def _orders(
    names: Sequence[str], place: int, method: Method
) -> Iterator[tuple[Fraction, list[frozenset[str]]]]:
    """Yield sets of factors that may have changed before the one at `place`, and what a set counts."""
    if method == "sequential":
        yield Fraction(1), [frozenset(names[:place])]
        return
    others = [*names[:place], *names[place + 1 :]]
    for size in range(len(names)):
        # Shapley's weight: the share of all orders in which just these come before the factor.
        share = Fraction(factorial(size) * factorial(len(others) - size), factorial(len(names)))
        yield share, [frozenset(before) for before in combinations(others, size)]


def _volumes(
    start: Factors, end: Factors, weights: Sequence[Fraction] | None
) -> Callable[[frozenset[str]], Fraction]:
    """Return the weighted tokens (calls, without weights) where the factors of a set are the end's."""

    @cache
    def calls(ended: frozenset[str]) -> Fraction:
        product = Fraction(1)
        for name in _OF_CALLS:
            value: Fraction = getattr(end if name in ended else start, name)
            product *= value
        return product

    @cache
    def weighed(ended: frozenset[str]) -> Fraction:
        if weights is None:
            return Fraction(1)
        plain, cached, write, output = weights
        inputs, outputs = (end if "tokens" in ended else start).tokens
        read, written = (end if "cache" in ended else start).cache
        blend = plain * (1 - read - written) + cached * read + write * written
        return inputs * blend + outputs * output

    @cache
    def volume(ended: frozenset[str]) -> Fraction:
        return calls(ended & _OF_CALLS) * weighed(ended - _OF_CALLS - {"price"})

    return volume


def rounded(parts: Sequence[Fraction], total: Decimal) -> list[Decimal]:
    """Round parts of any sign to 18 decimals so that they add up to their total exactly.

    Largest remainder: all are rounded down, the missing units of the last decimal go to those cut
    the most, the earlier first on a tie. Each part is off by less than one unit.

    Raises
    ------
    ReconciliationError
        When the parts do not add up to the total: a defect.

    Examples
    --------
    >>> [str(part) for part in rounded([Fraction(1, 3), Fraction(2, 3), Fraction(-1)], Decimal(0))]
    ['0.333333333333333333', '0.666666666666666667', '-1.000000000000000000']
    """
    if sum(parts, _ZERO) != Fraction(total):
        raise ReconciliationError("the terms of a bridge do not add up to its change")
    units = [part * 10**SCALE for part in parts]
    floors = [unit.numerator // unit.denominator for unit in units]
    missing = int(Fraction(total) * 10**SCALE) - sum(floors)
    order = sorted(range(len(parts)), key=lambda n: (floors[n] - units[n], n))
    for n in order[:missing]:
        floors[n] += 1
    return [Decimal((n < 0, tuple(map(int, str(abs(n)))), -SCALE)) for n in floors]
