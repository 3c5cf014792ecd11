"""When a commitment is recommended: only where the forecast behind it can be relied upon."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from finops_lab.forecasting import backtest
from finops_lab.forecasting.chances import over_months

__all__ = ["CHECKS", "Rule", "checks", "verdict"]

CHECKS: dict[str, pl.DataType | type[pl.DataType]] = {
    "check": pl.String,
    "value": pl.Float64,
    "limit": pl.Float64,
    "holds": pl.Boolean,
    "says": pl.String,
}


_NOTHING = 1.0  # sMAPE, in percent, that is as good as no error


@dataclass(frozen=True)
class Rule:
    """What must hold for a recommendation.

    Attributes
    ----------
    least_months : int
        Months of history, at least; and no fewer than `history_per_term` x the months of the term.
    history_per_term : float
        Months of history for each month of the term.
    most_width : float
        The 80 % interval of the demand of the whole term, as a share of its forecast, at most.
    most_mase : float
        Mean absolute scaled error of the backtest, at most: 1 is last year's months repeated. Where
        no year-on-year change can scale it, errors below 1 % (sMAPE) count as 0.
    least_coverage : float
        Share of held-out months within the 80 % bounds of the backtest, at least.
    """

    least_months: int = 12
    history_per_term: float = 1.0
    most_width: float = 0.6
    most_mase: float = 1.0
    least_coverage: float = 0.6


def checks(
    panel: pl.DataFrame,
    forecast: pl.DataFrame,
    *,
    term_months: int,
    saving_lo: float | None,
    worst_backtest: float | None,
    rule: Rule | None = None,
) -> pl.DataFrame:
    """Hold a forecast of demand and what came of it before against the rule.

    Parameters
    ----------
    panel : polars.DataFrame
        ``unique_id, ds, y``: the history, of one series.
    forecast : polars.DataFrame
        As `finops_lab.forecasting.forecast` gives, for the months of the term.
    term_months : int
        The term.
    saving_lo : float, optional
        What would be saved if demand came out at its lower 80 % bound in all months.
    worst_backtest : float, optional
        The least that the same way to decide would have saved at earlier months.
    rule : Rule, optional
        Limits; the usual ones without it.

    Returns
    -------
    polars.DataFrame
        `CHECKS`: six rows. What is not known does not hold.

    Examples
    --------
    >>> from datetime import date
    >>> panel = pl.DataFrame({"unique_id": "a", "ds": [date(2026, 10, 1)], "y": [1.0]})
    >>> ahead = pl.DataFrame({"unique_id": "a", "yhat": 10.0, "lo_80": 9.0, "hi_80": 12.0, "lo_95": 8.0, "hi_95": 13.0})
    >>> found = checks(panel, ahead, term_months=1, saving_lo=5.0, worst_backtest=None)
    >>> found.filter("holds")["check"].to_list()
    ['width of the 80 % interval', 'saving at the lower bound']
    """
    rule = rule or Rule()
    whole = over_months(forecast)
    centre, low, high = whole.select("yhat", "lo_80", "hi_80").row(0) if whole.height else (None,) * 3
    width = (high - low) / centre if centre and None not in (low, high) else None
    judged = (
        backtest(panel, months=min(6, term_months), origins=3).filter(model="combination").row(0, named=True)
    )
    scaled = judged["mase"]
    if scaled is None and judged["smape"] is not None and judged["smape"] < _NOTHING:
        scaled = 0.0  # a history without a change has nothing to scale errors by, and here there are none
    needed = max(rule.least_months, round(rule.history_per_term * term_months))
    told = (
        ("months of history", float(panel.height), float(needed), 1, "{0:.0f} months of history, {1:.0f} needed"),
        (
            "width of the 80 % interval", width, rule.most_width, -1,
            "the 80 % interval of the term's demand is {0:.0%} of its forecast, at most {1:.0%} is wanted",
        ),
        (
            "MASE of the backtest", scaled, rule.most_mase, -1,
            "the backtest's MASE is {0:.2f}, at most {1:.2f} is wanted",
        ),
        (
            "coverage of the 80 % interval", judged["coverage_80"], rule.least_coverage, 1,
            "{0:.0%} of held-out months were within the 80 % interval, at least {1:.0%} is wanted",
        ),
        (
            "saving at the lower bound", saving_lo, 0.0, 2,
            "it would save {0:,.0f} if demand came out at its lower 80 % bound",
        ),
        (
            "worst saving of the backtest", worst_backtest, 0.0, 2,
            "decided like this before, it would have saved {0:,.0f} at worst",
        ),
    )  # fmt: skip
    rows = []
    for name, value, limit, way, text in told:
        fits = value is not None and (
            value <= limit if way < 0 else value > limit if way == 2 else value >= limit
        )
        said = text.format(value, limit) if value is not None else f"{name} is not known"
        rows.append((name, value, limit, fits, said))
    return pl.DataFrame(rows, schema=CHECKS, orient="row")


def verdict(found: pl.DataFrame) -> tuple[bool, str]:
    """Tell whether all checks hold, and what does not.

    Examples
    --------
    >>> verdict(pl.DataFrame({"holds": [True, False], "says": ["fine", "5 months of history, 12 needed"]}))
    (False, 'not recommended: 5 months of history, 12 needed')
    """
    failed = found.filter(~pl.col("holds"))["says"].to_list()
    return (True, "recommended") if not failed else (False, "not recommended: " + "; ".join(failed))
