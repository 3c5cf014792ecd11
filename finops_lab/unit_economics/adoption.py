"""Whether AI spend is large enough for a FinOps practice of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

import polars as pl

from finops_lab.calendar import month_name, parse_month
from finops_lab.config import AdoptionRule
from finops_lab.errors import NoDataError
from finops_lab.money import MONEY, format_money
from finops_lab.unit_economics.ai_spend import AiSpend

__all__ = ["Adoption", "adoption"]

Verdict = Literal["yes", "perhaps", "no", "unknown"]


@dataclass(frozen=True)
class Adoption:
    """Whether an AI FinOps practice is worth it, and the figures behind the answer.

    Attributes
    ----------
    month : datetime.date
        First day of the month that was looked at.
    verdict : {"yes", "perhaps", "no", "unknown"}
        ``perhaps`` where only what may be AI, besides what certainly is, fulfils the rule.
    answer : str
        The answer in words.
    figures : polars.DataFrame
        ``what``, ``certain``, ``at_most`` (with what may be AI) and ``threshold`` (Decimal), and
        ``holds`` (String: ``yes``, ``perhaps``, ``no``, ``unknown``): the share of the bill and the
        teams.
    """

    month: date
    verdict: Verdict
    answer: str
    figures: pl.DataFrame


def adoption(
    found: AiSpend, month: str | date, rule: AdoptionRule | None = None, *, currency: str | None = None
) -> Adoption:
    """Decide by share of the bill and number of teams whether an AI FinOps practice is worth it.

    Parameters
    ----------
    found : AiSpend
        What `finops_lab.unit_economics.ai_spend.ai_spend` returned.
    month : str or datetime.date
        The month to look at.
    rule : AdoptionRule, optional
        ``[adoption]`` of `finops.toml`; more than 10 % of the bill and at least two teams without it.
    currency : str, optional
        Which currency's bill; needed where the month has several.

    Returns
    -------
    Adoption

    Raises
    ------
    NoDataError
        No charges in the month and currency, or several currencies and none named.

    Examples
    --------
    >>> from finops_lab.money import MONEY
    >>> months = pl.DataFrame({"month": [date(2026, 10, 1)], "BillingCurrency": ["USD"], "whole": [100],
    ...     "certain": [8], "possible": [4], "certain_share": [Decimal("0.08")], "at_most_share": [Decimal("0.12")]})
    >>> teams = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "BillingCurrency": ["USD"] * 2,
    ...     "team": ["a", "b"], "certain": [5, 3], "possible": [0, 4]})
    >>> print(adoption(AiSpend("EffectiveCost", pl.DataFrame(), months, teams), "2026-10").answer)
    Perhaps: 8.0 % of the bill of October 2026 is AI spend for certain and up to 12.0 % may be ($8.00 to $12.00 \
of $100.00), in 2 teams. An AI FinOps practice is worth it above 10 % in at least 2 teams: look at what may be AI.
    """
    rule = rule or AdoptionRule()
    day = (month if isinstance(month, date) else parse_month(month)).replace(day=1)
    months = found.months.filter(pl.col("month") == day)
    if currency is not None:
        months = months.filter(BillingCurrency=currency)
    if months.height != 1:
        raise NoDataError(
            f"{months.height or 'no'} bills in {month_name(day)}" + (f" in {currency}" if currency else ""),
            hint="name the currency" if months.height else None,
        )
    line = months.row(0, named=True)
    teams = found.teams.filter(pl.col("month") == day, pl.col("BillingCurrency") == line["BillingCurrency"])
    known = not found.teams.is_empty()
    sure = teams.filter(pl.col("certain") > 0).height if known else None
    most = teams.filter((pl.col("certain") > 0) | (pl.col("possible") > 0)).height if known else None
    shares = (line["certain_share"], line["at_most_share"])
    tests = (
        _holds(*(None if share is None else share > rule.share_above for share in shares)),
        _holds(*(None if n is None else n >= rule.teams_at_least for n in (sure, most))),
    )
    verdict = _together(tests)
    rows = [
        ("share of the bill", *shares, rule.share_above, tests[0]),
        (
            "teams with AI spend",
            *(None if n is None else Decimal(n) for n in (sure, most)),
            Decimal(rule.teams_at_least),
            tests[1],
        ),
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "what": pl.String,
        **dict.fromkeys(("certain", "at_most", "threshold"), MONEY),
        "holds": pl.String,
    }
    return Adoption(
        day,
        verdict,
        _words(line, day, sure, most, rule, verdict),
        pl.DataFrame(rows, schema=schema, orient="row"),
    )


def _holds(certain: bool | None, at_most: bool | None) -> Verdict:
    if certain is None or at_most is None:
        return "unknown"
    return "yes" if certain else "perhaps" if at_most else "no"


def _together(tests: tuple[Verdict, Verdict]) -> Verdict:
    """Both must hold: one that fails settles it, whatever the other is."""
    for verdict in ("no", "unknown", "perhaps"):
        if verdict in tests:
            return verdict
    return "yes"


def _words(
    line: dict[str, object],
    day: date,
    sure: int | None,
    most: int | None,
    rule: AdoptionRule,
    verdict: Verdict,
) -> str:
    ask = f"above {rule.share_above:.0%} in at least {rule.teams_at_least} {_teams(rule.teams_at_least)}".replace(
        "%", " %"
    )
    money = {name: Decimal(str(line[name])) for name in ("whole", "certain", "possible")}
    if line["certain_share"] is None:
        return (
            f"Unknown: the bill of {month_name(day)} has no charge above zero. "
            f"An AI FinOps practice is worth it {ask}."
        )
    low, high = (
        f"{Decimal(str(line[name])):.1%}".replace("%", " %") for name in ("certain_share", "at_most_share")
    )
    unit = str(line["BillingCurrency"])
    known, maximum = (format_money(n, unit) for n in (money["certain"], money["certain"] + money["possible"]))
    whole = format_money(money["whole"], unit)
    share = f"{low} of the bill of {month_name(day)} is AI spend for certain"
    share += (
        f" and up to {high} may be ({known} to {maximum} of {whole})"
        if money["possible"]
        else f" ({known} of {whole})"
    )
    if sure is None or most is None:
        where = "the bill names no teams"
    else:
        where = f"in {sure} {_teams(sure)}" if sure == most else f"in {sure} to {most} teams"
    end = {
        "yes": f"An AI FinOps practice is worth it: it is {ask}.",
        "perhaps": f"An AI FinOps practice is worth it {ask}: look at what may be AI.",
        "no": f"An AI FinOps practice is worth it only {ask}.",
        "unknown": f"An AI FinOps practice is worth it {ask}: give charges their teams.",
    }[verdict]
    return f"{verdict.capitalize()}: {share}, {where}. {end}"


def _teams(number: int) -> str:
    return "team" if number == 1 else "teams"
