"""The weekly review: anomalies of a week, who is told of them, and who spent most."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from finops_lab.calendar import parse_day
from finops_lab.errors import InputError
from finops_lab.lab import Lab, open_lab
from finops_lab.reporting.dashboards.anomalous import days_words
from finops_lab.reporting.executing import ReportFiles, Run, run_notebook
from finops_lab.reporting.section import Section, exact, money, plain, prose
from finops_lab.tables import Table, money_table
from finops_lab.telling import Told, alerts
from finops_lab.watching import Watched, anomalies, spenders
from finops_lab.wording import plural

__all__ = ["Weekly", "run_weekly", "weekly"]

_DAYS = 7
_DIMENSIONS = ("provider", "service", "team", "model", "feature")


@dataclass(frozen=True)
class Weekly:
    """A week of a lab; each method builds one section.

    Attributes
    ----------
    lab : Lab
        The opened lab.
    last : datetime.date
        The last day of the week.
    top : int
        Anomalies and spenders that are shown.
    whole : Watched
        What was found up to then.
    """

    lab: Lab
    last: date
    top: int
    whole: Watched = field(repr=False)

    def __repr__(self) -> str:
        return f"Weekly({self.lab.name}, {self.first} to {self.last})"

    def _repr_html_(self) -> str:
        note = f"  \n{self.lab.config.lab.note}" if self.lab.config.lab.note else ""
        return prose(
            f"**{plain(self.lab.name)}** · {self.first} to {self.last} · effective cost of use{note}"
        )

    @property
    def first(self) -> date:
        """The first day of the week."""
        return self.last - timedelta(days=_DAYS - 1)

    @cached_property
    def week(self) -> Watched:
        """The anomalies that touch the week."""
        return self.whole.between(self.first, self.last)

    @cached_property
    def told(self) -> Told:
        """The alerts since the first day, as of the end of the last."""
        return alerts(self.lab, self.first, at=self.last + timedelta(days=1))

    def anomalies(self) -> Section:
        """Show the anomalies, most money at stake first, each with a sentence."""
        roots = self.week.roots
        if roots.is_empty():
            return Section("anomalies", "**No anomaly in this week.**", values={"events": []})
        shown = roots.head(self.top)
        sentences = self.week.sentences(shown)
        # A table has one currency; what nobody can price stands with the rest where there is but one.
        found = shown["BillingCurrency"].drop_nulls().unique().sort().to_list()
        several = [*found, *([None] if shown["BillingCurrency"].null_count() else [])]
        currencies = several if len(found) > 1 else [found[0] if found else self.lab.currency]
        said = f"**{plural(roots.height, 'anomaly')}** in the week"
        top = shown.row(0, named=True)
        if top["excess_amount"] is not None:
            amount = money(abs(top["excess_amount"]), top["BillingCurrency"])
            side = "above" if top["excess_amount"] > 0 else "below"
            # Charges under another owner's name are at stake, and no more than was expected of all.
            said += f", the largest with {amount} " + (
                f"{side} what was expected" if top["kind"] != "failure_mode" else "at stake"
            )
        said += ". What is a part of another one is not shown."
        tables = [_events(shown, sentences, one, roots.height, len(found) > 1) for one in currencies]
        rows = [{**row, "sentence": sentences[row["id"]]} for row in shown.to_dicts()]
        return Section("anomalies", said, tuple(tables), {"events": rows})

    def alerts(self) -> Section:
        """Show who is told of what, and how many alerts are held back."""
        rows = self.told.alerts
        sent = rows.filter(pl.col("state").is_in(["send", "quiet", "waiting"]))
        pages = sent.filter(severity="page").height
        tickets = plural(sent.height - pages, "ticket")
        said = f"**{plural(pages, 'page')} and {tickets}** that came since {self.first} or lasted until then"
        held = rows.height - sent.height
        said += f"; {plural(held, 'alert')} held back by rules." if held else "."
        if sent.is_empty():
            return Section("alerts", said, values={"alerts": []})
        shown = sent.head(self.top)
        table = money_table(
            shown.select("severity", pl.col("begin").dt.replace_time_zone(None), "rule", "sentence", "state"),
            title="Alerts, pages first",
            subtitle=f"The first {self.top} of {sent.height}" if sent.height > self.top else None,
            id="alerts",
            currency=self.lab.currency,
            money_columns=(),
            labels={"begin": "Since (UTC)", "sentence": "Why", "state": "Done with it"},
            unknown="nothing is said of it",
        )
        return Section("alerts", said, (table,), {"alerts": sent.to_dicts()})

    def spenders(self) -> Section:
        """Show who spent most, against the week before and what was expected."""
        ranked = spenders(self.whole, self.last, most=self.top)
        if ranked.is_empty():
            return Section("spenders", "**No charges in this week.**", values={"spenders": []})
        tables = []
        for name in _DIMENSIONS:
            for rows in ranked.filter(dimension=name).partition_by("BillingCurrency", maintain_order=True):
                tables.append(_spenders(rows, name, self._billed(str(rows["BillingCurrency"][0]))))
        total = ranked.filter(pl.col("dimension") == "total").to_dicts()
        said = "; ".join(
            f"**{money(row['amount'], row['BillingCurrency'])}** in the week{self._billed(row['BillingCurrency'])}, "
            f"{money(row['before'], row['BillingCurrency'])} in the week before"
            for row in total
        )
        return Section("spenders", f"{said}." if said else "", tuple(tables), {"spenders": ranked.to_dicts()})

    def _billed(self, currency: str) -> str:
        """Say how many days of the week are billed, where some are not: what is missing is no saving."""
        mine = pl.col("day").is_between(self.first, self.last), pl.col("amount").is_not_null()
        total = self.whole.days.filter(*mine, dimension="total", BillingCurrency=currency)
        known = total["day"].n_unique()
        return "" if known == _DAYS else f", {known} of {_DAYS} days billed"

    def provenance(self) -> Section:
        """Name inputs, versions and parameters that reproduce this page."""
        from finops_lab.reporting.sections.provenance import made_from

        return made_from(self.lab, {"Week": f"{self.first} to {self.last}", "Shown": f"{self.top}"})


def weekly(lab: str | Lab = "", last: str | date = "", top: int = 10) -> Weekly:
    """Look at a week of a lab; the result's methods are the sections of its review.

    Parameters
    ----------
    lab : str or Lab
        The lab or its folder; the packaged sample lab when empty.
    last : str or datetime.date
        The last day of the week, such as ``2026-10-18``. By default the last one with charges.
    top : int
        Anomalies and spenders that are shown.

    Returns
    -------
    Weekly

    Raises
    ------
    InputError
        A day that is none, a `top` below 1, or a week without charges.

    Examples
    --------
    >>> fl.weekly(last="2026-10-18").anomalies()  # doctest: +SKIP
    """
    opened = open_lab(lab or None, progress=False) if isinstance(lab, str) else lab
    if top < 1:
        raise InputError(f"top {top}: how many are shown", hint="1 at the least")
    day = _last(opened, last)
    if not date.min + timedelta(days=2 * _DAYS) < day < date.max:
        raise InputError(f"no charges in the week up to {day}", hint="choose another last day")
    whole = anomalies(opened, until=day, at=day + timedelta(days=1))
    if whole.days.filter(pl.col("day") > day - timedelta(days=_DAYS), pl.col("amount") != 0).is_empty():
        raise InputError(f"no charges in the week up to {day}", hint="choose another last day")
    return Weekly(opened, day, top, whole)


def run_weekly(lab: Lab, last: str, out: Path, *, top: int = 10, progress: bool = False) -> ReportFiles:
    """Run the weekly review's notebook and write its HTML page, notebook and JSON.

    Parameters
    ----------
    lab, last, top
        As for `weekly`; the lab is opened already.
    out : pathlib.Path
        Folder of reports; files go to ``out/2026-10/weekly-review-2026-10-18.{html,ipynb,json}``.
    progress : bool
        Show a bar of the cells done on standard error.

    Returns
    -------
    ReportFiles

    Raises
    ------
    InputError
        A parameter is wrong or the week has no charges; nothing is run.
    RunError
        When a cell fails; the failed notebook is kept beside the reports.
    """
    found = weekly(lab, last, top)
    title = f"Weekly review, {found.first} to {found.last}: {lab.name}"
    asked = {"last": f"{found.last}", "top": top}
    run = Run("weekly_review.ipynb", f"weekly-review-{found.last}", title, "weekly review", asked)
    return run_notebook(lab, run, out / f"{found.last:%Y-%m}", progress=progress)


def _last(lab: Lab, last: str | date) -> date:
    if last:
        return parse_day(last, "the last day")
    newest = lab.costs().select(pl.col("ChargePeriodStart").max()).collect().item()
    if newest is None:
        raise InputError("the lab has no charges to look at")
    day: date = newest.date()
    return day


def _events(
    shown: pl.DataFrame, sentences: dict[str, str], currency: str | None, of: int, several: bool
) -> Table:
    mine = pl.col("BillingCurrency").eq_missing(pl.lit(currency, pl.String))
    rows = shown.filter(mine) if several else shown
    table = rows.select(
        days_words().alias("days"),
        pl.col("excess_amount").alias("at_stake"),
        pl.Series("why", [sentences[one] for one in rows["id"]], dtype=pl.String),
        "status",
        "id",
    )
    rest = of - shown.height
    return money_table(
        table,
        title="Anomalies of the week" + (f" in {currency}" if several and currency else ""),
        subtitle="The most first; below zero: less than expected" + (f"; {rest} more" if rest else ""),
        id="anomalies" + (f"-{(currency or 'none').lower()}" if several else ""),
        currency=currency or "USD",
        money_columns={"at_stake": 0},
        labels={"days": "Days (UTC)", "at_stake": "Money at stake", "why": "Why", "id": "Id"},
        unknown="nobody can price it",
    )


def _spenders(rows: pl.DataFrame, name: str, billed: str) -> Table:
    currency = str(rows["BillingCurrency"][0])
    shown = exact(rows.select("value", "amount", "before", "change", "expected"), "expected")
    return money_table(
        shown.with_columns(pl.col("value").fill_null("none named")),
        title=f"Top spenders by {name}{billed}",
        subtitle="Against the week before, and what was expected on the day before the week",
        id=f"spenders-{name}-{currency.lower()}",
        currency=currency,
        money_columns=("amount", "before", "change", "expected"),
        labels={
            "value": name.capitalize(),
            "amount": "This week",
            "before": "Week before",
            "change": "Change",
            "expected": "Expected",
        },
        unknown="too few days before",
    )
