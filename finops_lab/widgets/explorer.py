"""The explorer: a cost of any months by any dimension, from a bar down to the bill rows behind it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.calendar import add_months, format_month, parse_month
from finops_lab.charts import ranked_bars, spend_trend
from finops_lab.errors import FinopsError, InputError
from finops_lab.exploring import (
    GROUPS,
    METRICS,
    Look,
    View,
    as_code,
    behind,
    explained,
    look,
    spend,
    values,
)
from finops_lab.exploring.views import column
from finops_lab.money import format_money
from finops_lab.tables import money_table
from finops_lab.widgets import drawn

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["Explorer"]

# Lines of the table; lines to look behind and values to filter by; entries; bill rows.
_SHOWN, _CHOICES, _ENTRIES, _ROWS = 25, 500, 100, 200
# Bars stand beside their table; a trend needs more width.
_NARROW, _WIDE = 400, "finops-wide"
# To a selection of ipywidgets, None is "nothing chosen": the unknown value needs a name of its own.
_UNKNOWN = "(unknown)"
_ALL = "(nothing)"
_WORDS = {
    "effective": "effective (amortised)",
    "billed": "billed (invoiced)",
    "list": "list",
    "contracted": "contracted",
    "allocated": "allocated (with an owner)",
}
_NOTHING, _BEFORE, _YEAR_AGO = _COMPARISONS = ("nothing", "the period before", "a year before")
_TABS = ("Ledger entries", "Bill rows and rule", "Show as code", "Export")


class Explorer:
    """An explorer of a ledger; display it, or read `view`, `table` and `code`.

    Parameters
    ----------
    entries : polars.LazyFrame
        Rows of the `ledger` contract, in one currency. It is queried at every change, never loaded
        whole.
    currency : str
        ISO 4217 code of the amounts.
    months : sequence of str
        Months there are, such as ``2026-10``, in order.
    rows : callable
        Takes a ledger entry (a dict) and returns the bill rows behind it, as
        `finops_lab.exploring.bill_rows` does.
    folder : str, optional
        The lab's folder, for the code shown.
    by : str
        The group to begin with.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        Its controls by name, for tests and for notebooks that set them: ``metric``, ``by``,
        ``first``, ``last``, ``against``, ``filter``, ``values``, ``clear``, ``drill``, ``entry``.
    parts : dict of str to ipywidgets.HTML
        What it shows: ``said``, ``chart``, ``table``, ``entries``, ``bill``, ``code``, ``export``.

    Raises
    ------
    InputError
        When charges cannot be told by `by`.
    """

    def __init__(
        self,
        entries: pl.LazyFrame,
        currency: str,
        months: Sequence[str],
        rows: Callable[[dict[str, Any]], pl.DataFrame],
        *,
        folder: str | None = None,
        by: str = "team",
    ) -> None:
        import ipywidgets as w

        groups = [name for name in GROUPS if name != "day"]
        if by not in groups:
            raise InputError(f"the explorer cannot begin with {by!r}", hint=f"groups: {', '.join(groups)}")
        self._entries, self._currency, self._months = entries, currency, list(months)
        self._rows, self._folder = rows, folder
        self._where: dict[str, tuple[str | None, ...]] = {}
        self._lines: dict[str, str | None] = {}
        self._listed: list[dict[str, Any]] = []
        self._quiet = 0
        last = self._months[-1]
        self.controls: dict[str, Any] = {
            "metric": w.Dropdown(options=[(_WORDS[m], m) for m in METRICS], description="Cost"),
            "by": w.Dropdown(options=groups, value=by, description="By"),
            "first": w.Dropdown(options=self._months, value=last, description="From"),
            "last": w.Dropdown(options=self._months, value=last, description="To"),
            "against": w.Dropdown(options=_COMPARISONS, value=_BEFORE, description="Compare with"),
            "filter": w.Dropdown(options=[_ALL, *groups], description="Filter by"),
            "values": w.SelectMultiple(options=[], description="Only these (Ctrl adds)", rows=4),
            "clear": w.Button(description="Clear all filters", icon="times"),
            "drill": w.Select(options=[], description="Look behind", rows=6),
            "entry": w.Select(options=[], description="Bill rows of", rows=6),
        }
        self.parts: dict[str, ipywidgets.HTML] = {
            name: w.HTML() for name in ("said", "chart", "table", "entries", "bill", "code", "export")
        }
        self._tabs = w.Tab([self.parts[name] for name in ("entries", "bill", "code", "export")])
        self._tabs.titles = _TABS
        choose = w.Box([c for name, c in self.controls.items() if name not in ("drill", "entry")])
        choose.add_class("finops-controls")
        beside = w.Box([self.parts["chart"], self.parts["table"]])
        beside.add_class("finops-shown")
        self.parts["table"].add_class("finops-figures")
        deeper = w.Box([self.controls["drill"], self.controls["entry"]])
        deeper.add_class("finops-deeper")
        self.box = w.VBox([w.HTML(drawn.STYLE), choose, self.parts["said"], beside, deeper, self._tabs])
        self.box.add_class("finops-explorer")
        self._listen()
        self._draw()

    def __repr__(self) -> str:
        return f"Explorer({self.view}; .view .table .code)"

    def _ipython_display_(self) -> None:
        from IPython.display import Javascript, display

        display(self.box, Javascript(drawn.SCRIPT))

    @property
    def view(self) -> View:
        """What is looked at."""
        first, last = self.controls["first"].value, self.controls["last"].value
        return View(
            first,
            last,
            metric=self.controls["metric"].value,
            by=self.controls["by"].value,
            against=self._against(first, last),
            where={name: wanted for name, wanted in self._where.items() if wanted},
        )

    @property
    def table(self) -> pl.DataFrame:
        """The figures shown, all lines of them."""
        return spend(self._entries, self.view)

    @property
    def code(self) -> str:
        """Python that gives the same figures."""
        return as_code(self.view, self._folder)

    def _against(self, first: str, last: str) -> tuple[str, str] | None:
        """Return the months to compare with; None where the ledger tells of none: that is not nothing spent."""
        how = self.controls["against"].value
        if how == _NOTHING:
            return None
        begin, end = parse_month(first), parse_month(last)
        back = 12 * (end.year - begin.year) + end.month - begin.month + 1 if how == _BEFORE else 12
        ends = format_month(add_months(begin, -back)), format_month(add_months(end, -back))
        told = self._months[0] <= ends[0] and any(ends[0] <= month <= ends[1] for month in self._months)
        return ends if told else None

    # --- what happens when a control changes -----------------------------------------------------

    def _listen(self) -> None:
        for name in ("metric", "by", "first", "last", "against"):
            self.controls[name].observe(self._heard(self._changed), "value")
        self.controls["filter"].observe(self._heard(self._choose_filter), "value")
        self.controls["values"].observe(self._heard(self._filtered), "value")
        self.controls["clear"].on_click(self._heard(self._clear))
        self.controls["drill"].observe(self._heard(self._drill), "value")
        self.controls["entry"].observe(self._heard(self._look_behind), "value")

    def _heard(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
        """Act on what the user changes, not on what follows it; what goes wrong is said in place."""

        def acting(change: Any) -> None:
            if not self._quiet:
                try:
                    act(change)
                except FinopsError as error:
                    self.parts["said"].value = drawn.note(str(error), alert=True)
                except (OSError, pl.exceptions.ComputeError):
                    # Kept months are replaced when the ledger changes, and this one reads the old.
                    said = "The ledger has changed since: run this cell again."
                    self.parts["said"].value = drawn.note(said, alert=True)

        return acting

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def _changed(self, change: dict[str, Any]) -> None:
        first, last = self.controls["first"], self.controls["last"]
        if last.value < first.value:  # the other end follows the one that was moved
            with self._quietly():
                (last if change["owner"] is first else first).value = change["new"]
        self._draw()

    def _choose_filter(self, change: dict[str, Any]) -> None:
        name = change["new"]
        found = [] if name == _ALL else values(self._entries, name, _CHOICES)
        self._choices = _named(found)
        chosen = self._where.get(name, ())
        with self._quietly():
            self.controls["values"].options = list(self._choices)
            self.controls["values"].value = tuple(k for k, v in self._choices.items() if v in chosen)

    def _filtered(self, change: dict[str, Any]) -> None:
        if self.controls["filter"].value != _ALL:
            self._where[self.controls["filter"].value] = tuple(self._choices[key] for key in change["new"])
            self._draw()

    def _clear(self, _: object) -> None:
        self._where = {}
        with self._quietly():
            self.controls["filter"].value = _ALL
        self._choose_filter({"new": _ALL})
        self._draw()

    def _drill(self, _: object) -> None:
        self._tabs.selected_index = 0
        self._show_entries()

    def _look_behind(self, change: dict[str, Any]) -> None:
        if change["new"] is None:
            return
        self._tabs.selected_index = 1
        entry = self._listed[change["new"]]
        rows, first = self._rows(entry), ("BillingCurrency", self.view.amount)
        said = f"Owner {entry['x_team']}, by {entry['x_AllocationRule'] or 'no rule'} ({entry['x_AllocationMethod']})."
        more = f" The first {_ROWS} are listed." if rows.height > _ROWS else ""
        told = drawn.note(f"{said} {explained(rows, entry, self.view.amount)}{more}")
        self.parts["bill"].value = told + (
            drawn.grid(_filled(rows.head(_ROWS).select(*first, pl.exclude(first))), "bill rows")
            if rows.height
            else ""
        )

    # --- what is shown ---------------------------------------------------------------------------

    def _draw(self) -> None:
        view = self.view
        seen = look(self._entries, view)
        table = seen.table
        keep = self._lines.get(self.controls["drill"].value or "", _ALL)
        self._lines = _named(table[column(view.by)].cast(pl.String).to_list()[:_CHOICES])
        amounts = table["amount"].to_list()
        labels = [
            f"{key}: {format_money(a, self._currency)}" for key, a in zip(self._lines, amounts, strict=False)
        ]
        with self._quietly():
            drill = self.controls["drill"]
            drill.options = list(zip(labels, self._lines, strict=True))
            drill.value = next((key for key, value in self._lines.items() if value == keep), None)
        self.parts["said"].value = self._sentence(view, table)
        chart = self.parts["chart"]
        (chart.remove_class if view.first == view.last else chart.add_class)(_WIDE)
        chart.value, self.parts["table"].value = self._drawn(view, seen)
        self.parts["code"].value = drawn.code(as_code(view, self._folder))
        months = view.first if view.first == view.last else f"{view.first}-to-{view.last}"
        name = f"{view.metric}-by-{view.by.replace(' ', '-')}-{months}.csv"
        self.parts["export"].value = drawn.download(table, name)
        self._show_entries()

    def _sentence(self, view: View, table: pl.DataFrame) -> str:
        cost, months = html.escape(_WORDS[view.metric]).capitalize(), _span(view.first, view.last)
        parts = [f"<b>{cost}</b> cost of {months} by {view.by}"]
        if table["amount"].count():
            amount, rows = table.select(pl.col("amount", "rows").sum()).row(0)
            total = html.escape(format_money(amount, self._currency))
            lines, rows = _count(table.height, "line"), _count(rows, "bill row")
            parts.append(f"<b>{total}</b> in {lines} of {rows}")
        for name, wanted in view.where.items():
            said = ", ".join(_UNKNOWN if value is None else value for value in wanted)
            parts.append(f"only {html.escape(name)} {html.escape(said)}")
        if view.against:
            parts.append(f"compared with {_span(*view.against)}")
        elif self.controls["against"].value != _NOTHING:
            parts.append("nothing to compare with: the ledger begins later or has a gap there")
        if table.height > _CHOICES:
            parts.append(f"the largest {_CHOICES} can be looked behind")
        return f'<div class="mathjax_ignore" role="status" style="margin:8px 0">{"; ".join(parts)}.</div>'

    def _drawn(self, view: View, seen: Look) -> tuple[str, str]:
        table = seen.table
        if table.is_empty():
            return drawn.note("There are no such charges in these months."), ""
        cost = f"{view.metric.capitalize()} cost"
        title = f"{cost} by {view.by}"
        words = {"title": title, "unit": self._currency, "value_title": cost}
        named = table.with_columns(pl.col(column(view.by)).fill_null(_UNKNOWN))
        if table["amount"].is_null().all():
            chart = drawn.note("Nobody knows this cost of these charges.")
        elif view.first == view.last:
            bars = named.select(label=column(view.by), amount="amount")
            chart = drawn.picture(ranked_bars(bars, **words), _NARROW)
        elif seen.months["amount"].count():
            chart = drawn.picture(spend_trend(seen.months, **words))
        else:
            chart = drawn.note("There are no such charges in these months, only in those before.")
        compared = ["before", "change"] if view.against else []
        shares = ["change_share" if view.against else "share"]
        columns = ["amount", *compared, *shares, *([] if compared else ["rows"])]
        shown = money_table(
            named.select(column(view.by), *columns).head(_SHOWN),
            title=f"{title}, {self._currency}",
            subtitle=f"The first {_SHOWN} of {table.height:,}; Export has all"
            if table.height > _SHOWN
            else None,
            id="explored",
            currency=self._currency,
            money_columns=["amount", *compared],
            percent_columns=shares,
            number_columns=[] if compared else ["rows"],
            labels={
                column(view.by): view.by.capitalize(),
                **({"change_share": "Change, %"} if compared else {"rows": "Bill rows"}),
            },
            unknown="unknown, or nothing to compare with",
        )
        return chart, shown.html

    def _show_entries(self) -> None:
        chosen = self.controls["drill"].value
        if chosen is None:
            self._listed = []
            self.parts["entries"].value = drawn.note("Choose a line under “Look behind”.")
        else:
            found = behind(self._entries, self.view, self._lines[chosen], _ENTRIES + 1)
            more = found.height > _ENTRIES
            self._listed = found.head(_ENTRIES).to_dicts()
            said = (
                f"{chosen}: the {_ENTRIES} largest entries; there are more."
                if more
                else f"{chosen}: {_count(found.height, 'entry')}."
            )
            self.parts["entries"].value = drawn.note(said) + drawn.grid(
                _filled(found.head(_ENTRIES)), "ledger entries"
            )
        name = self.view.amount
        with self._quietly():
            self.controls["entry"].options = [
                (self._line(row, name), n) for n, row in enumerate(self._listed)
            ]
            self.controls["entry"].value = None
        self.parts["bill"].value = drawn.note("Choose an entry under “Bill rows of”.")

    def _line(self, entry: dict[str, Any], name: str) -> str:
        what = entry["ServiceName"] or entry["ProviderName"]
        return f"{entry['x_ChargeDate']}, {what}: {format_money(entry[name], self._currency)}"


def _named(found: Sequence[str | None]) -> dict[str, str | None]:
    """Give each value a text of its own: to a control, None is nothing."""
    unknown = _UNKNOWN
    while unknown in found:
        unknown = f"({unknown})"
    return {unknown if value is None else value: value for value in found}


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out columns in which nothing is known."""
    return frame[[one.name for one in frame if one.null_count() < frame.height]]


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _count(number: int, what: str) -> str:
    return (
        f"{number:,} {what}"
        if number == 1
        else f"{number:,} {what.removesuffix('y')}{'ies' if what.endswith('y') else 's'}"
    )
