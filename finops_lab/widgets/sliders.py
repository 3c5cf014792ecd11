"""Sliders of a planned feature: what it costs when a driver is another."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.charts import planned_months
from finops_lab.errors import FinopsError
from finops_lab.money import format_money
from finops_lab.planning.feature_budget import FeatureBudget
from finops_lab.planning.figures import Figures, Served
from finops_lab.planning.sliders import positions, shown
from finops_lab.tables import money_table
from finops_lab.widgets import drawn

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["FeatureSliders"]

_STYLE = """<style>
.finops-planner .widget-hslider { flex-direction: column; align-items: stretch; width: auto; height: auto; margin: 0; }
.finops-planner .widget-hslider .widget-label { width: auto; height: auto; text-align: left; white-space: normal; }
.finops-planner .widget-hslider .slider-container { flex: 0 0 auto; height: 18px; margin: 10px 10px 0; }
.finops-planner .widget-hslider .widget-readout { text-align: left; height: 24px; line-height: 24px; }
</style>"""


class FeatureSliders:
    """Sliders for the drivers of a feature's budget; display it, or read `values` and `figures`.

    A driver that is moved is held at its value, the others keep their ranges and their draws.

    Parameters
    ----------
    budget : FeatureBudget
        From `finops_lab.feature_budget`.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        By key of a driver; also ``model`` and ``reset``.
    parts : dict of str to ipywidgets.HTML
        What it shows: ``said``, ``chart``, ``table``.
    figures : Figures
        What is shown.
    """

    def __init__(self, budget: FeatureBudget) -> None:
        import ipywidgets as w

        self._budget, self._quiet = budget, False
        titles = [title for title, one in budget.served.items() if isinstance(one, Served)]
        self.controls: dict[str, Any] = {
            "model": w.Dropdown(options=titles, description="Model"),
            "reset": w.Button(description="As planned", icon="undo"),
        }
        self._sliders = w.Box([])
        self._sliders.add_class("finops-controls")
        self.parts: dict[str, ipywidgets.HTML] = {name: w.HTML() for name in ("said", "chart", "table")}
        first = w.Box([self.controls["model"], self.controls["reset"]])
        first.add_class("finops-controls")
        beside = w.Box([self.parts["chart"], self.parts["table"]])
        beside.add_class("finops-shown")
        self.parts["chart"].add_class("finops-wide")
        style = w.HTML(drawn.STYLE + _STYLE)
        self.box = w.VBox([style, first, self.parts["said"], self._sliders, beside])
        self.box.add_class("finops-explorer")
        self.box.add_class("finops-planner")
        self._offer()
        self.controls["model"].observe(lambda _: self._offer(), "value")
        self.controls["reset"].on_click(lambda _: self._reset())

    def __repr__(self) -> str:
        return f"FeatureSliders({self._budget.plan.name!r}; .values .figures)"

    def _ipython_display_(self) -> None:
        from IPython.display import Javascript, display

        display(self.box, Javascript(drawn.SCRIPT))

    @property
    def served(self) -> Served:
        """The model chosen."""
        one = self._budget.served[self.controls["model"].value]
        assert isinstance(one, Served)
        return one

    @property
    def values(self) -> dict[str, Decimal]:
        """The drivers that were moved, and where to."""
        likely = self.served.likely
        return {key: self.controls[key].value for key in likely if self.controls[key].value != likely[key]}

    def _offer(self) -> None:
        """Show the sliders that the chosen model needs, where they stood."""
        import ipywidgets as w

        kept = {key: one.value for key, one in self.controls.items() if isinstance(one, w.SelectionSlider)}
        for driver in self.served.drivers:
            places = positions(driver)
            slider = w.SelectionSlider(
                options=[(shown(place, driver.unit), place) for place in places],
                value=kept.get(driver.key) if kept.get(driver.key) in places else driver.likely,
                description=driver.label,
                continuous_update=False,
            )
            slider.observe(lambda _: self._draw(), "value")
            self.controls[driver.key] = slider
        self._sliders.children = [self.controls[driver.key] for driver in self.served.drivers]
        self._draw()

    def _reset(self) -> None:
        self._quiet = True
        try:
            self.controls["model"].value = self._budget.plan.models[0].title
            for key, value in self.served.likely.items():
                self.controls[key].value = value
        finally:
            self._quiet = False
        self._draw()

    def _draw(self) -> None:
        if self._quiet:
            return
        title = self.controls["model"].value
        try:
            self.figures: Figures = self._budget.what_if(self.values, title)
        except FinopsError as error:
            self.parts["said"].value = drawn.note(str(error), alert=True)
            return
        months = self.figures.months.filter(component="total")
        self.parts["said"].value = self._sentence(title)
        self.parts["chart"].value = drawn.picture(planned_months(months, title=self._budget.plan.name))
        statistics = pl.col("p10", "p50", "p90").round(0).cast(pl.Decimal(38, 0))
        named = pl.col("component").str.replace_all("_", " ")
        self.parts["table"].value = money_table(
            self.figures.horizon.with_columns(statistics, named).drop("mean"),
            title="What it is made of, USD",
            id="planned",
            currency="USD",
            money_columns={"amount": None, "p10": 0, "p50": 0, "p90": 0},
            labels={"amount": "At the values set", "p10": "P10", "p50": "P50", "p90": "P90"},
        ).html

    def _sentence(self, title: str) -> str:
        total, plan = self.figures.total, self._budget.plan
        low, high = (format_money(Decimal(total[name]), "USD", decimals=0) for name in ("p10", "p90"))
        text = (
            f"<b>{format_money(total['amount'], 'USD')}</b> in {plan.months} months with {html.escape(title)}; "
            f"in 8 of 10 draws between {low} (P10) and {high} (P90), "
            f"in {self.figures.chance_above:.0%} more than at the values set"
        )
        return f'<div class="mathjax_ignore" role="status" style="margin:8px 0">{text}.</div>'
