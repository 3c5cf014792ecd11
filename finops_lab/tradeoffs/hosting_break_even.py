"""Machines of one's own against a vendor's API: from which volume, and at which utilization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError, NoDataError
from finops_lab.money import MONEY, divided, exact_sum

__all__ = ["HostingBreakEven", "hosting_break_even"]

Floats = npt.NDArray[np.float64]
_MTOK = 1_000_000
_FIGURES: dict[str, pl.DataType | type[pl.DataType]] = {
    "figure": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "unit": pl.String,
}
_CURVE: dict[str, pl.DataType | type[pl.DataType]] = {
    "tokens_per_month": pl.Float64,
    "machines": pl.Int64,
    "hosted_per_month": pl.Float64,
    "hosted_per_mtok": pl.Float64,
    "api_per_month": pl.Float64,
    "api_per_mtok": pl.Float64,
}
_POINTS = 101


@dataclass(frozen=True)
class HostingBreakEven:
    """What serving takes on machines of one's own and by an API, and where the two meet.

    Attributes
    ----------
    figures : polars.DataFrame
        ``figure``, ``value``, ``lo``, ``hi`` (interval over days; null where unknown), ``unit``:
        ``hosted_per_mtok`` and ``api_per_mtok`` (per million tokens, as billed); ``tokens_per_month``
        (served by the machines); ``break_even_tokens_per_month`` (from here on the machines that there
        are take less than the API); ``utilization``; ``utilization_needed`` (at which a token takes as
        much as by the API); ``capacity_tokens_per_month`` (what the machines could serve at
        `max_utilization`); ``saving_per_month`` (API's price of the tokens served - the machines).
    curve : polars.DataFrame
        Both ways by volume, machines added one by one where those that there are do not suffice:
        ``tokens_per_month``, ``machines`` (Int64), ``hosted_per_month``, ``hosted_per_mtok``,
        ``api_per_month``, ``api_per_mtok`` (Float64). Empty without a known utilization.
    verdict : str
        ``cheaper now``, ``cheaper from the break-even volume``, ``dearer at any volume`` (even at
        `max_utilization`), ``not decided by these days``, or ``utilization unknown``. The first three
        hold in all draws but what the interval leaves on that side (95 % at a level of 0.9).
    chance_cheaper_now, chance_reachable : float or None
        Shares of the draws in which the machines are cheaper at the volume they serve, and in which
        they are at `max_utilization`.
    hosted_amount, api_amount : Decimal
        The bills that this rests on.
    currency : str or None
        Of all amounts.
    notes : tuple of str
        What to know beside.
    """

    figures: pl.DataFrame
    curve: pl.DataFrame
    verdict: str
    chance_cheaper_now: float | None
    chance_reachable: float | None
    hosted_amount: Decimal
    api_amount: Decimal
    currency: str | None
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"HostingBreakEven({self.verdict}; .figures .curve .notes)"


def hosting_break_even(
    hosted: pl.DataFrame,
    api: pl.DataFrame,
    *,
    max_utilization: float = 0.8,
    machines: int = 1,
    days_per_month: int = 30,
    level: float = 0.9,
    draws: int = 2000,
    block_days: int = 7,
    seed: int = 0,
    currency: str | None = None,
) -> HostingBreakEven:
    """Tell from which volume machines of one's own take less than an API, with its uncertainty.

    Parameters
    ----------
    hosted : polars.DataFrame
        One row per ``day`` (Date): ``amount`` (Decimal, the bill of the machines), ``tokens`` (served, read
        and written), and where it is known ``utilization`` (0 to 1, share of their time in use).
    api : polars.DataFrame
        ``day``, ``amount`` (Decimal, the API's bill), ``tokens``. Other days than `hosted` are fine.
    max_utilization : float
        The most that the machines may be in use without missing their latency: measure it, see
        `finops_lab.tradeoffs.measured_capacity`.
    machines : int
        How many there are, for the steps of the curve.
    days_per_month : int
        Days of the month that figures are told for.
    level : float
        Of the intervals.
    draws, block_days, seed : int
        Bootstrap over days, in blocks so that weekdays stay together (one day where there are fewer than
        two blocks of days).
    currency : str, optional
        Told along.

    Returns
    -------
    HostingBreakEven

    Raises
    ------
    InputError
        A missing column, a day told twice, or a parameter that is none.
    NoDataError
        No day with both money and tokens, on one side.

    Notes
    -----
    With H the machines' amount and T their tokens per day, u their utilization and p the API's price per
    token: break-even volume H / p, utilization needed u (H / T) / p; a token is a token, read or written,
    on either side. Circular moving blocks: Politis and Romano, "A circular block-resampling procedure for
    stationary data", 1992; days of both sides are drawn together where they are the same. Draws are
    widened for the few blocks that there are, so that intervals cover (`benchmarks/tradeoffs.py`).

    Examples
    --------
    >>> from datetime import date
    >>> days = [date(2026, 10, day) for day in range(1, 31)]
    >>> hosted = pl.DataFrame({"day": days, "amount": [Decimal(48)] * 30, "tokens": [12_000_000] * 30,
    ...     "utilization": [0.2] * 30})
    >>> api = pl.DataFrame({"day": days, "amount": [Decimal(6)] * 30, "tokens": [3_000_000] * 30})
    >>> found = hosting_break_even(hosted, api, draws=100)
    >>> needed = found.figures.filter(figure="utilization_needed")["value"][0]
    >>> found.verdict, round(needed, 6)
    ('cheaper from the break-even volume', 0.4)
    """
    if not 0 < max_utilization <= 1:
        raise InputError(f"max_utilization is above 0 and at most 1, not {max_utilization}")
    if not 0 < level < 1:
        raise InputError(f"level is between 0 and 1, not {level}")
    for name, number in (
        ("machines", machines),
        ("days_per_month", days_per_month),
        ("draws", draws),
        ("block_days", block_days),
    ):
        if number < 1:
            raise InputError(f"{name} is a whole number from 1 up, not {number}")
    notes: list[str] = []
    mine = _days(hosted, "hosted", notes, utilization=True)
    theirs = _days(api, "api", notes)
    own, other = exact_sum(mine["amount"]), exact_sum(theirs["amount"])
    if not other > 0 or not theirs["tokens"].sum() > 0:
        raise NoDataError("the API's days have no money or no tokens, so a token has no price")
    known = mine["utilization"].null_count() == 0
    if not known:
        gone = mine["utilization"].null_count()
        notes.append(f"utilization unknown on {gone} of {mine.height} days: nothing is said about it")
    rng = np.random.default_rng(seed)
    same = mine["day"].equals(theirs["day"])
    picked = _blocks(mine.height, draws, block_days, rng)
    picked_api = picked if same else _blocks(theirs.height, draws, block_days, rng)
    a, t = (mine[name].cast(pl.Float64).to_numpy() for name in ("amount", "tokens"))
    u = mine["utilization"].to_numpy() if known else np.full(mine.height, np.nan)
    b, s = (theirs[name].cast(pl.Float64).to_numpy() for name in ("amount", "tokens"))
    point = _figures(a, t, u, b, s, days_per_month, max_utilization)
    drawn = _figures(
        a[picked], t[picked], u[picked], b[picked_api], s[picked_api], days_per_month, max_utilization
    )
    wide = _widening(min(mine.height, theirs.height), block_days, level)
    drawn = {name: _widened(float(point[name]), draw, wide) for name, draw in drawn.items()}
    # Where both are the bill over its tokens, the exact quotient is told.
    exact = {
        "hosted_per_mtok": divided(own, int(mine["tokens"].sum()), _MTOK),
        "api_per_mtok": divided(other, int(theirs["tokens"].sum()), _MTOK),
    }
    rows = []
    tail = (1 - level) / 2
    for name, unit in _UNITS.items():
        value, several = float(point[name]), drawn[name]
        said = exact.get(name)
        several = several[np.isfinite(several)]
        # Draws without a figure would narrow the interval of the others.
        lo, hi = np.quantile(several, [tail, 1 - tail]) if len(several) == draws else (None, None)
        rows.append((name, float(said) if said is not None else _known(value), lo, hi, unit))
    cheaper_now = float((drawn["saving_per_month"] > 0).mean())
    reachable = float((drawn["utilization_needed"] < max_utilization).mean()) if known else None
    verdict = (
        "cheaper now"
        if cheaper_now >= 1 - tail
        else "utilization unknown"
        if reachable is None
        else "cheaper from the break-even volume"
        if reachable >= 1 - tail
        else "dearer at any volume"
        if reachable <= tail
        else "not decided by these days"
    )
    return HostingBreakEven(
        pl.DataFrame(rows, schema=_FIGURES, orient="row"),
        _curve(point, machines) if known else pl.DataFrame(schema=_CURVE),
        verdict,
        cheaper_now,
        reachable,
        own,
        other,
        currency,
        tuple(notes),
    )


_UNITS = {
    "hosted_per_mtok": "amount per million tokens",
    "api_per_mtok": "amount per million tokens",
    "tokens_per_month": "tokens",
    "break_even_tokens_per_month": "tokens",
    "utilization": "share",
    "utilization_needed": "share",
    "capacity_tokens_per_month": "tokens",
    "saving_per_month": "amount",
}


def _days(frame: pl.DataFrame, side: str, notes: list[str], *, utilization: bool = False) -> pl.DataFrame:
    for name in ("day", "amount", "tokens"):
        if name not in frame.columns:
            raise InputError(f"the days of {side} have no such column", column=name)
    if not frame.schema["amount"].is_decimal():
        raise InputError(f"the amounts of {side} are money, so Decimals", column="amount")
    busy = pl.col("utilization") if "utilization" in frame.columns else pl.lit(None)
    days = frame.select(
        "day",
        pl.col("amount").cast(MONEY),
        pl.col("tokens").cast(pl.Int64),
        *([busy.cast(pl.Float64).alias("utilization")] if utilization else []),
    ).sort("day")
    if days["day"].is_duplicated().any():
        day = days.filter(pl.col("day").is_duplicated())["day"][0]
        raise InputError(f"the days of {side} tell {day} twice", column="day")
    whole = days.drop_nulls(["day", "amount", "tokens"])
    if whole.height < days.height:
        notes.append(f"{days.height - whole.height} days of {side} lack money or tokens and are left out")
    if whole.is_empty():
        raise NoDataError(f"no day of {side} has both money and tokens")
    if (whole["tokens"] < 0).any():
        raise InputError(f"the tokens of {side} are below 0", column="tokens")
    if utilization and not whole["utilization"].drop_nulls().is_between(0, 1).all():
        raise InputError("a utilization is a share from 0 to 1", column="utilization")
    return whole


def _blocks(days: int, draws: int, length: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw days with replacement, as runs of days that go round the end."""
    length = _length(days, length)
    starts = rng.integers(0, days, size=(draws, -(-days // length)))
    runs = (starts[:, :, None] + np.arange(length)) % days
    return runs.reshape(draws, -1)[:, :days]


def _length(days: int, length: int) -> int:
    return length if days >= 2 * length else 1


def _widening(days: int, length: int, level: float) -> float:
    """Return how much wider intervals must be than what a few blocks of days tell.

    With k blocks the bootstrap's variance is short of the true one by 1 / k, and is itself uncertain:
    overlapping blocks know as much as 1.5 (k - 1) degrees of freedom (Kuensch, "The Jackknife and the
    Bootstrap for General Stationary Observations", Annals of Statistics 17(3), 1989).
    """
    from scipy.special import ndtri, stdtrit

    run = _length(days, length)
    blocks = days / run
    if blocks <= 1:
        return 1.0
    freedom = (blocks - 1) * (1.5 if run > 1 else 1.0)
    p = 0.5 + level / 2
    return float(stdtrit(freedom, p) / ndtri(p) * math.sqrt(blocks / (blocks - 1)))


def _widened(value: float, draws: Floats, by: float) -> Floats:
    """Draw the draws away from the value: by ratio where all are above 0, else by difference."""
    if value > 0 and (draws > 0).all() and np.isfinite(draws).all():
        return value * (draws / value) ** by
    return value + (draws - value) * by


def _figures(
    a: Floats, t: Floats, u: Floats, b: Floats, s: Floats, month: int, most: float
) -> dict[str, Floats]:
    """Return all figures; days are the last axis."""
    amount, tokens, busy = (x.mean(axis=-1) for x in (a, t, u))
    with np.errstate(divide="ignore", invalid="ignore"):
        price = b.sum(axis=-1) / s.sum(axis=-1)
        each = amount / tokens
        needed = busy * each / price
        return {
            "hosted_per_mtok": each * _MTOK,
            "api_per_mtok": price * _MTOK,
            "tokens_per_month": tokens * month,
            "break_even_tokens_per_month": amount / price * month,
            "utilization": busy,
            "utilization_needed": needed,
            "capacity_tokens_per_month": tokens / busy * most * month,
            "saving_per_month": (price * tokens - amount) * month,
            "amount_per_month": amount * month,
        }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _curve(point: dict[str, Floats], machines: int) -> pl.DataFrame:
    capacity, even = (float(point[n]) for n in ("capacity_tokens_per_month", "break_even_tokens_per_month"))
    now, price = float(point["tokens_per_month"]), float(point["api_per_mtok"])
    if not math.isfinite(capacity) or capacity <= 0:
        return pl.DataFrame(schema=_CURVE)
    volume = np.linspace(0, 1.5 * max(now, min(even, 2 * capacity), capacity), _POINTS)[1:]
    steps = np.maximum(machines, np.ceil(volume / capacity * machines - 1e-9)).astype(np.int64)
    hosted = steps / machines * float(point["amount_per_month"])
    return pl.DataFrame(
        {
            "tokens_per_month": volume,
            "machines": steps,
            "hosted_per_month": hosted,
            "hosted_per_mtok": hosted / volume * _MTOK,
            "api_per_month": volume / _MTOK * price,
            "api_per_mtok": np.full(len(volume), price),
        },
        schema=_CURVE,
    )
