"""The explorer: a cost of any months by any dimension, from a bar down to the bill rows behind it."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.charts import ranked_bars, spend_trend
from finops_lab.exploring import GROUPS, METRICS, View, as_code, behind, over_time, spend, values
from finops_lab.exploring.views import column
from finops_lab.tables import money_table

if TYPE_CHECKING:
    import altair as alt
    import ipywidgets

__all__ = ["Explorer"]

_SHOWN = 25
# To a selection of ipywidgets, None is "nothing chosen": the unknown value needs a name of its own.
_UNKNOWN = "(unknown)"
_ALL = "—"
_WORDS = {
    "effective": "effective (amortised)",
    "billed": "billed (invoiced)",
    "list": "list",
    "contracted": "contracted",
    "allocated": "allocated (effective, with an owner)",
}
_COMPARISONS = ("nothing", "the period before", "the same months a year ago")


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
        Takes a ledger entry (a dict) and returns the bill rows behind it.
    folder : str, optional
        The lab's folder, for the code shown.
    by : str
        The group to begin with.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        Its controls by name, for tests and for notebooks that set them.
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

        self._entries, self._currency, self._months = entries, currency, list(months)
        self._rows, self._folder = rows, folder
        self._where: dict[str, tuple[str | None, ...]] = {}
        self._listed: list[dict[str, Any]] = []
        self._busy = False
        groups = [name for name in GROUPS if name != "day"]
        last = self._months[-1]
        wide = w.Layout(width="98%")
        self.controls: dict[str, Any] = {
            "metric": w.Dropdown(options=[(_WORDS[m], m) for m in METRICS], description="Cost", layout=wide),
            "by": w.Dropdown(options=groups, value=by, description="By", layout=wide),
            "first": w.Dropdown(options=self._months, value=last, description="From", layout=wide),
            "last": w.Dropdown(options=self._months, value=last, description="To", layout=wide),
            "against": w.Dropdown(
                options=_COMPARISONS, value=_COMPARISONS[1], description="Against", layout=wide
            ),
            "filter": w.Dropdown(options=[_ALL, *groups], description="Filter by", layout=wide),
            "values": w.SelectMultiple(options=[], description="is", rows=6, layout=wide),
            "clear": w.Button(description="Clear filters", icon="times", layout=wide),
            "drill": w.Dropdown(options=[_ALL], description="Look behind", layout=wide),
            "entry": w.Dropdown(options=[_ALL], description="Bill rows of", layout=wide),
        }
        self.parts: dict[str, ipywidgets.HTML] = {
            name: w.HTML() for name in ("said", "chart", "table", "entries", "bill", "code", "export")
        }
        side = [self.controls[name] for name in ("metric", "by", "first", "last", "against")]
        side += [self.controls[name] for name in ("filter", "values", "clear", "drill", "entry")]
        beside = w.HBox(
            [self.parts["chart"], self.parts["table"]], layout=w.Layout(flex_flow="row wrap", gap="24px")
        )
        more = w.Tab([self.parts[name] for name in ("entries", "bill", "code", "export")])
        more.titles = ("Ledger entries", "Bill rows and rule", "Show as code", "Export")
        main = w.VBox([self.parts["said"], beside, more], layout=w.Layout(flex="1 1 0%", min_width="0"))
        left = w.VBox(side, layout=w.Layout(flex="0 0 300px"))
        self.box = w.HBox([left, main], layout=w.Layout(align_items="flex-start"))
        self.box.add_class("finops-explorer")
        self._listen()
        self._redraw()

    def __repr__(self) -> str:
        return f"Explorer({self.view}; .view .table .code)"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.box)

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
        """Return the months to compare with; None where the lab has nothing of them."""
        how = self.controls["against"].value
        if how == _COMPARISONS[0]:
            return None
        places = {month: place for place, month in enumerate(self._months)}
        length = places[last] - places[first] + 1
        back = length if how == _COMPARISONS[1] else 12
        if places[first] < back:
            return None
        return self._months[places[first] - back], self._months[places[last] - back]

    def _listen(self) -> None:
        for name in ("metric", "by", "first", "last", "against"):
            self.controls[name].observe(self._changed, "value")
        self.controls["filter"].observe(self._choose_filter, "value")
        self.controls["values"].observe(self._filtered, "value")
        self.controls["clear"].on_click(self._clear)
        self.controls["drill"].observe(self._drill, "value")
        self.controls["entry"].observe(self._look_behind, "value")

    def _changed(self, change: dict[str, Any]) -> None:
        if self._busy:
            return
        first, last = self.controls["first"], self.controls["last"]
        if last.value < first.value:  # the other end follows the one that was moved
            self._quietly(last if change["owner"] is first else first, change["new"])
        self._redraw()

    def _choose_filter(self, change: dict[str, Any]) -> None:
        name = change["new"]
        found = [] if name == _ALL else values(self._entries, name)
        chosen = self._where.get(name, ())
        self._busy = True
        self.controls["values"].options = [_UNKNOWN if value is None else value for value in found]
        self.controls["values"].value = tuple(_UNKNOWN if v is None else v for v in found if v in chosen)
        self._busy = False

    def _filtered(self, change: dict[str, Any]) -> None:
        if not self._busy and self.controls["filter"].value != _ALL:
            wanted = tuple(None if value == _UNKNOWN else value for value in change["new"])
            self._where[self.controls["filter"].value] = wanted
            self._redraw()

    def _clear(self, _: object) -> None:
        self._where = {}
        self._quietly(self.controls["filter"], _ALL)
        self._choose_filter({"new": _ALL})
        self._redraw()

    def _quietly(self, control: Any, value: object) -> None:
        self._busy = True
        control.value = value
        self._busy = False

    def _redraw(self) -> None:
        view = self.view
        table = spend(self._entries, view)
        key = column(view.by)
        self.parts["said"].value = self._sentence(view, table)
        names = table[key].fill_null(_UNKNOWN).to_list()[:200]
        self._busy = True
        keep = self.controls["drill"].value
        self.controls["drill"].options = [_ALL, *names]
        self.controls["drill"].value = keep if keep in names else _ALL
        self._busy = False
        self.parts["chart"].value, self.parts["table"].value = self._drawn(view, table)
        self.parts["code"].value = f"<pre>{html.escape(as_code(view, self._folder))}</pre>"
        self.parts["export"].value = _download(table, f"{view.by}-{view.first}-{view.last}.csv")
        self._show_entries()

    def _sentence(self, view: View, table: pl.DataFrame) -> str:
        months = view.first if view.first == view.last else f"{view.first} to {view.last}"
        told = [f"<b>{html.escape(_WORDS[view.metric])}</b> cost of {months} by {html.escape(view.by)}"]
        told.append(f"{table.height:,} lines of {table['rows'].sum():,} bill rows")
        for name, wanted in view.where.items():
            said = ", ".join(_UNKNOWN if value is None else value for value in wanted)
            told.append(f"only {html.escape(name)} {html.escape(said)}")
        if self.controls["against"].value != _COMPARISONS[0]:
            ends = view.against
            told.append(
                "there is nothing to compare with"
                if ends is None
                else f"against {ends[0] if ends[0] == ends[1] else ' to '.join(ends)}"
            )
        return f'<div class="mathjax_ignore">{"; ".join(told)}.</div>'

    def _drawn(self, view: View, table: pl.DataFrame) -> tuple[str, str]:
        if table["amount"].is_null().all():
            nothing = "<p>There are no such charges, or nobody knows their cost.</p>"
            return nothing, ""
        title = f"{_WORDS[view.metric].partition(' (')[0].capitalize()} cost by {view.by}"
        named = table.with_columns(pl.col(column(view.by)).fill_null("unknown"))
        if view.first == view.last:
            bars = named.select(label=column(view.by), amount="amount")
            chart = ranked_bars(bars, title=title, unit=self._currency, value_title="Cost")
        else:
            chart = spend_trend(
                over_time(self._entries, view), title=title, unit=self._currency, value_title="Cost"
            )
        money = [name for name in ("amount", "before", "change") if name in table.columns]
        shares = [name for name in ("share", "change_share") if name in table.columns]
        shown = money_table(
            named.select(column(view.by), *money, *shares, "rows").head(_SHOWN),
            title=f"{title}, {self._currency}",
            subtitle=f"The first {_SHOWN} of {table.height:,}" if table.height > _SHOWN else None,
            id="explored",
            currency=self._currency,
            money_columns=money,
            percent_columns=shares,
            number_columns=["rows"],
            labels={"rows": "Bill rows", "share": "Share"}
            | ({"change_share": "Change, %"} if shares[1:] else {}),
            unknown="unknown, or nothing to compare with",
        )
        return _picture(chart), shown.html

    def _drill(self, _: object) -> None:
        if not self._busy:
            self._show_entries()

    def _show_entries(self) -> None:
        value = self.controls["drill"].value
        if value == _ALL:
            self._listed = []
            self.parts["entries"].value = "<p>Choose a line under <i>Look behind</i>.</p>"
        else:
            found = behind(self._entries, self.view, None if value == _UNKNOWN else value, 100)
            self._listed = found.to_dicts()
            shown = found[[c.name for c in found if c.null_count() < found.height]]
            self.parts["entries"].value = _grid(shown)
        self._busy = True
        self.controls["entry"].options = [
            (_ALL, -1),
            *(
                (f"{n + 1}: {row['x_ChargeDate']}, {row['ServiceName']}", n)
                for n, row in enumerate(self._listed)
            ),
        ]
        self.controls["entry"].value = -1
        self._busy = False
        self.parts["bill"].value = "<p>Choose an entry under <i>Bill rows of</i>.</p>"

    def _look_behind(self, change: dict[str, Any]) -> None:
        if self._busy or change["new"] is None or change["new"] < 0:
            return
        entry = self._listed[change["new"]]
        rule = entry.get("x_AllocationRule") or "no rule"
        said = f"<p>Owner <b>{html.escape(str(entry['x_team']))}</b>, by {html.escape(rule)}.</p>"
        self.parts["bill"].value = said + _grid(self._rows(entry).head(100))


def _picture(chart: alt.LayerChart) -> str:
    """Draw a chart as an image with its alt text: nothing is asked of any server."""
    import vl_convert

    spec = chart.to_dict()
    data = base64.b64encode(vl_convert.vegalite_to_svg(spec).encode()).decode()
    name = html.escape(str(spec.get("description", "")), quote=True)
    return f'<img alt="{name}" src="data:image/svg+xml;base64,{data}" style="max-width:100%">'


def _grid(frame: pl.DataFrame) -> str:
    """Write a frame as a plain table that scrolls."""
    if frame.is_empty():
        return "<p>None.</p>"
    head = "".join(f'<th scope="col">{html.escape(name.removeprefix("x_"))}</th>' for name in frame.columns)
    texts = frame.with_columns(
        pl.selectors.decimal().round(6).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape('' if v is None else str(v))}</td>" for v in row) + "</tr>"
        for row in texts.iter_rows()
    )
    return (
        '<div class="mathjax_ignore" tabindex="0" role="group" aria-label="rows" '
        'style="overflow:auto;max-height:360px">'
        f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _download(table: pl.DataFrame, name: str) -> str:
    """Return a link that saves the table, exact to the last digit, without asking a server."""
    data = base64.b64encode(table.write_csv().encode()).decode()
    return (
        f'<p><a download="{html.escape(name, quote=True)}" href="data:text/csv;base64,{data}">'
        f"Save {table.height:,} lines as CSV</a>, with exact amounts.</p>"
    )
