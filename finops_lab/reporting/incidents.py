"""The post-mortem of an incident: what it cost, whose money that is, what happened, what to ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import polars as pl

from finops_lab.charts.expected import expected_days
from finops_lab.lab import Lab, open_lab
from finops_lab.money import MONEY, exact_sum
from finops_lab.reporting.dashboards.board import utc
from finops_lab.reporting.executing import ReportFiles, Run, run_notebook
from finops_lab.reporting.section import Section, money, plain, prose
from finops_lab.tables import Table, money_table
from finops_lab.watching.impact import impact
from finops_lab.watching.incident import Incident, incident
from finops_lab.wording import plural

__all__ = ["PostMortem", "postmortem", "run_postmortem"]

_LEAST_SHARE = 0.01  # of the damage: smaller parts are told in one row
_SAME = Decimal("0.001")  # of what was expected
_KINDS = {"config": "configuration change"}
_MOST = 60  # rows of what happened


@dataclass(frozen=True)
class PostMortem:
    """An incident in hindsight; each method builds one section.

    Attributes
    ----------
    lab : Lab
        The opened lab.
    found : Incident
        What is known of it.
    scope : str
        As it was asked for, such as ``team=research``.
    """

    lab: Lab
    found: Incident
    scope: str

    def __repr__(self) -> str:
        return f"PostMortem({self.lab.name}, {self.found.scope}, {self._span})"

    def _repr_html_(self) -> str:
        note = f"  \n{self.lab.config.lab.note}" if self.lab.config.lab.note else ""
        return prose(f"**{plain(self.lab.name)}** · {plain(self.found.scope)} · {self._span}{note}")

    @property
    def _span(self) -> str:
        first, last = self.found.first, self.found.last
        return f"{first}" if first == last else f"{first} to {last}"

    @property
    def _currency(self) -> str:
        return str(self.found.impact["BillingCurrency"][0])

    def cost(self) -> Section:
        """Show what the incident cost, with its interval, and the days around it."""
        row = self.found.impact.row(0, named=True)
        said = f"**The incident {self.found.sentence}.** {plain(self.found.explanation.sentence)}"
        names = {"actual": "Actual", "expected": "Expected", "excess": "Actual less expected"}
        lows, highs = (None, "low", "excess_low"), (None, "high", "excess_high")
        bounds = [
            {
                "what": label,
                "amount": row[name],
                "low": _amount(row[low]) if low else None,
                "high": _amount(row[high]) if high else None,
            }
            for (name, label), low, high in zip(names.items(), lows, highs, strict=True)
        ]
        schema = {"what": pl.String} | dict.fromkeys(("amount", "low", "high"), MONEY)
        table = money_table(
            pl.DataFrame(bounds, schema=schema),
            title=f"Cost impact of {self.found.scope}, {self._span}",
            subtitle=f"Effective cost of use; bounds from {plural(row['spans'], 'earlier span')} of as many days"
            if row["low"] is not None
            else "Effective cost of use",
            id="impact",
            currency=self._currency,
            money_columns=("amount", "low", "high"),
            labels={"what": "What", "low": "Low (90 %)", "high": "High (90 %)"},
            unknown="the bill says it to the cent, or too few earlier days tell",
        )
        # After the incident the expectation has seen it, and is none.
        until = pl.when(pl.col("day") <= self.found.last)
        days = self.found.days.with_columns(until.then(n).alias(n) for n in ("expected", "low", "high"))
        chart = expected_days(days, title=f"Spend of {self.found.scope} by day", unit=self._currency)
        return Section(
            "cost", said, (chart, table), {"impact": row, "sentence": self.found.explanation.sentence}
        )

    def timeline(self) -> Section:
        """Show deploys, jobs and events in order of time, and telemetry by day."""
        happened, days = self.found.happened, self.found.telemetry
        if happened.is_empty() and days.is_empty():
            said = "**No deploy, job or telemetry is known** of these days."
            return Section("timeline", said, values={"missing": said})
        kinds = happened["kind"].value_counts().sort("kind").rows()
        counted = ", ".join(plural(count, _KINDS.get(kind, kind)) for kind, count in kinds)
        said = f"**{counted or 'Nothing'}** from two days before to the end."
        parts: list[Table] = []
        if happened.height:
            parts.append(
                money_table(
                    happened.head(_MOST).select(*utc("ts"), "kind", "what"),
                    title="What happened, in order of time",
                    subtitle=f"The first {_MOST} of {happened.height}" if happened.height > _MOST else None,
                    id="happened",
                    currency=self._currency,
                    money_columns=(),
                    labels={"ts": "When (UTC)", "kind": "Kind", "what": "What"},
                )
            )
        if days.height:
            wide = days.pivot(on="metric", index="day", values="value", maintain_order=True).sort("day")
            near = wide.filter(pl.col("day").is_between(self._near[0], self._near[1]))
            parts.append(
                money_table(
                    near,
                    title="Telemetry by day (UTC)",
                    subtitle="Of the whole lab: from a week before to two days after",
                    id="telemetry",
                    currency=self._currency,
                    money_columns=(),
                    number_columns={name: 0 for name in near.columns if name != "day"},
                    labels={"day": "Day", "gpu_hours": "GPU-hours of jobs begun"},
                    unknown="nothing was recorded",
                )
            )
        return Section("timeline", said, tuple(parts), {"happened": happened.to_dicts()})

    @property
    def _near(self) -> tuple[date, date]:
        return self.found.first - timedelta(days=7), self.found.last + timedelta(days=2)

    def checklist(self) -> Section:
        """Answer what is asked first in every incident."""
        table = money_table(
            self.found.checklist,
            title="Asked first",
            id="checklist",
            currency=self._currency,
            money_columns=(),
            labels={"question": "Question", "answer": "Answer"},
        )
        first = self.found.checklist.row(0, named=True)
        said = f"**{first['question']}** {plain(first['answer'][:1].upper() + first['answer'][1:])}."
        return Section("checklist", said, (table,), {"checklist": self.found.checklist.to_dicts()})

    def causes(self) -> Section:
        """Show what coincides, volume and price, and earlier events that were alike."""
        why = self.found.explanation
        parts: list[Table] = []
        if why.causes.height:
            parts.append(_causes(why.causes, self._currency))
        if why.bridge.height:
            parts.append(_bridge(why.bridge, self._currency))
        if why.similar.height:
            parts.append(_similar(why.similar, self._currency))
        said = (
            f"**{plural(why.causes.height, 'candidate')} coincide{'s' if why.causes.height == 1 else ''}**: "
            "to be looked at, not proved."
            if why.causes.height
            else "**Nothing that is known coincides.**"
        )
        if why.similar.height:
            said += f" {plural(why.similar.height, 'earlier event')} like it."
        values = {"causes": why.causes.to_dicts(), "bridge": why.bridge.to_dicts()}
        return Section("causes", said, tuple(parts), values)

    def damage(self) -> Section:
        """Show whose money it is: parts of each dimension add up to the whole."""
        damage = self.found.damage
        if damage.is_empty():
            return Section("damage", "**The bill does not say whose money it is.**", values={"damage": []})
        parts = []
        for rows in damage.partition_by("dimension", maintain_order=True):
            large = rows.filter(pl.col("share").abs() >= _LEAST_SHARE)
            if large.height:
                parts.append(_shares(large, rows, self._currency))
        if damage["share"].null_count() == damage.height:
            nothing = "**No more was paid than expected**, and no less: there are no parts of it."
            return Section("damage", nothing, values={"damage": damage.to_dicts()})
        top = (
            damage.drop_nulls("share")
            .sort(pl.col("share").abs(), descending=True)
            .group_by("dimension", maintain_order=True)
            .first()
        )
        said = ", ".join(
            plain(f"{row['dimension']} {row['value'] or 'none named'} {row['share']:.0%}")
            for row in top.rows(named=True)
        )
        said = f"**Largest parts**: {said}.{self._otherwise()}"
        return Section("damage", said, tuple(parts), {"damage": damage.to_dicts()})

    def _otherwise(self) -> str:
        """Say so where parts, which are held against the weeks before, come to something else."""
        row, parts = self.found.impact.row(0, named=True), self.found.explanation.excess
        if parts is None or abs(parts - row["excess"]) <= _SAME * max(abs(row["expected"]), Decimal(1)):
            return ""
        told, whole = (money(one, self._currency) for one in (parts, row["excess"]))
        return f" They are held against the mean of the weeks before, which makes {told} instead of {whole}."

    def provenance(self) -> Section:
        """Name inputs, versions and parameters that reproduce this page."""
        from finops_lab.reporting.sections.provenance import made_from

        asked = {"Days": self._span, "Scope": self.scope or "everything", "Currency": self._currency}
        return made_from(self.lab, asked)


def postmortem(
    lab: str | Lab, start: str | date, end: str | date, scope: str = "", currency: str = ""
) -> PostMortem:
    """Look at an incident in hindsight; the result's methods are the sections of its report.

    Parameters
    ----------
    lab : str or Lab
        The lab or its folder; the packaged sample lab when empty.
    start, end : str or datetime.date
        First and last day, such as ``2026-10-12``.
    scope : str
        Whose spend, such as ``team=research`` or ``service=Compute Engine``; everything when empty.
    currency : str
        ISO 4217 code of what is looked at; when empty, that of the most money of the scope.

    Returns
    -------
    PostMortem

    Raises
    ------
    InputError
        As `finops_lab.watching.incident.incident`.

    Examples
    --------
    >>> fl.postmortem("", "2026-10-12", "2026-10-16", "team=research").cost()  # doctest: +SKIP
    """
    opened = open_lab(lab or None, progress=False) if isinstance(lab, str) else lab
    return PostMortem(opened, incident(opened, start, end, scope, currency=currency or None), scope)


def run_postmortem(
    lab: Lab,
    start: str,
    end: str,
    out: Path,
    *,
    scope: str = "",
    currency: str = "",
    progress: bool = False,
) -> ReportFiles:
    """Run the post-mortem's notebook and write its HTML page, notebook and JSON.

    Parameters
    ----------
    lab, start, end, scope, currency
        As for `postmortem`; the lab is opened already.
    out : pathlib.Path
        Folder of reports; files go to ``out/2026-10/postmortem-2026-10-12-team-research.{html,ipynb,json}``,
        with the currency behind the scope where one is asked for.
    progress : bool
        Show a bar of the cells done on standard error.

    Returns
    -------
    ReportFiles

    Raises
    ------
    InputError
        A parameter is wrong or the lab knows nothing of these days; nothing is run.
    RunError
        When a cell fails; the failed notebook is kept beside the reports.
    """
    # What can be refused is refused here; why and whose is worked out once, in the notebook.
    found = impact(lab, start, end, scope, currency=currency or None)
    name = f"postmortem-{found.first}-{_slug(scope or 'total')}" + (
        f"-{currency.lower()}" if currency else ""
    )
    title = f"Post-mortem of {found.scope}, {found.first} to {found.last}: {lab.name}"
    asked = {"start": f"{found.first}", "end": f"{found.last}", "scope": scope, "currency": currency}
    run = Run("postmortem.ipynb", name, title, "post-mortem", asked)
    return run_notebook(lab, run, out / f"{found.first:%Y-%m}", progress=progress)


def _slug(scope: str) -> str:
    """Write a scope as part of a file name; where signs are lost, a digest keeps like ones apart.

    Examples
    --------
    >>> _slug("team=research"), _slug("team:a b") == _slug("team:a-b")
    ('team-research', False)
    """
    plainly = re.sub("[=:]", "-", scope, count=1).lower()
    words = "".join(c if c.isalnum() or c in "-_." else "-" for c in plainly)
    lost = words != re.sub("[=:]", "-", scope, count=1)
    return words + (f"-{sha256(scope.encode()).hexdigest()[:6]}" if lost else "")


def _amount(statistic: float | None) -> Decimal | None:
    """Write a statistic as an amount, to be shown."""
    return None if statistic is None else Decimal(f"{statistic:.2f}")


def _causes(causes: pl.DataFrame, currency: str) -> Table:
    away = pl.col("hours_before").abs().round(1).cast(pl.String)
    side = pl.when(pl.col("hours_before") < 0).then(pl.lit("after")).otherwise(pl.lit("before"))
    when = pl.format("{} h {}", away, side).alias("when")
    fits = pl.when(pl.col("matched") != "").then("matched").alias("matched")
    return money_table(
        causes.select("kind", *utc("ts"), when, "what", fits, "score"),
        title="What coincides",
        subtitle="Candidates to look at: that one of them caused it is for you to find out",
        id="causes",
        currency=currency,
        money_columns=(),
        number_columns={"score": 2},
        labels={
            "ts": "When (UTC)",
            "what": "What",
            "matched": "Fits in",
            "when": "From its first day, 00:00",
            "score": "Fit, 0 to 1",
        },
        unknown="fits in no slice of the bill that is known",
    )


def _bridge(bridge: pl.DataFrame, currency: str) -> Table:
    return money_table(
        bridge.select("label", "amount", "share", "words"),
        title="Volume, price and the rest",
        subtitle="Terms add up to the excess of what explains it",
        id="bridge",
        currency=currency,
        money_columns=("amount",),
        percent_columns={"share": 0},
        labels={"label": "Term", "share": "Of the change", "words": "What it is"},
        unknown="the data do not say",
    )


def _similar(similar: pl.DataFrame, currency: str) -> Table:
    whose = pl.concat_str("dimension", "value", separator=" ", ignore_nulls=True)
    # A table has one currency: an event in another is told without its money.
    amount = pl.when(pl.col("BillingCurrency") == currency).then("excess_amount")
    return money_table(
        similar.select(
            pl.col("first").dt.date().alias("from"),
            whose.alias("what"),
            amount.alias("amount"),
            "status",
            "similarity",
        ),
        title="Earlier events like it",
        id="similar",
        currency=currency,
        money_columns=("amount",),
        percent_columns={"similarity": 0},
        labels={"from": "From", "what": "What", "amount": "At stake"},
        unknown="no money is known, or it is in another currency",
    )


def _shares(large: pl.DataFrame, rows: pl.DataFrame, currency: str) -> Table:
    name = str(rows["dimension"][0])
    named = pl.col("value").fill_null("none named")
    shown = large.select(named, "actual", "expected", "excess", "share")
    rest = rows.join(large, on="value", how="anti", nulls_equal=True)
    if rest.height:
        sums = {c: exact_sum(rest[c].to_list()) for c in ("actual", "expected", "excess")}
        small = {"value": plural(rest.height, "smaller part"), **sums, "share": rest["share"].sum()}
        shown = pl.concat([shown, pl.DataFrame([small], schema=shown.schema)])
    total = {c: exact_sum(rows[c].to_list()) for c in ("actual", "expected", "excess")}
    return money_table(
        shown,
        title=f"Whose money it is, by {name}",
        subtitle="Parts add up to the whole",
        id=f"damage-{name}",
        currency=currency,
        money_columns=("actual", "expected", "excess"),
        percent_columns={"share": 0},
        labels={"value": name.capitalize(), "excess": "Actual less expected", "share": "Of the damage"},
        total_row=total,
    )
