"""Sliders of a decision between variants: limits and traffic move, the decision follows."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from finops_lab.charts.decided import decision_planes
from finops_lab.charts.decider import slider_end
from finops_lab.errors import FinopsError, InputError
from finops_lab.tables import money_table
from finops_lab.tradeoffs.curve import Curve, curve
from finops_lab.tradeoffs.decide import Decision, decide
from finops_lab.widgets import drawn

if TYPE_CHECKING:
    import ipywidgets
    import polars as pl

__all__ = ["DecisionSliders"]

_STEPS = 100
_SHOWN = ("variant", "objective_value", "quality", "quality_loss", "slo_ms", "saving_share", "rank", "misses")


class DecisionSliders:
    """Sliders for the SLO, the quality loss and the traffic; display it, or read `decision`.

    Parameters
    ----------
    source : Curve, polars.DataFrame, Measurement or path
        What `finops_lab.tradeoffs.curve` takes; of one workload.
    max_p95_ms, max_quality_loss, monthly_inferences : float, optional
        Where the sliders begin. Limits begin where every variant is within them.
    migration_amount : Decimal or int, optional
        What moving costs once, in the variants' currency.
    objective : {"cost", "cost_per_success"}
        What is to be small.

    Attributes
    ----------
    controls : dict of str to ipywidgets.Widget
        ``model``, ``max_p95_ms``, ``max_quality_loss``, ``monthly_inferences``, ``reset``.
    parts : dict of str to ipywidgets.HTML
        What it shows: ``said``, ``chart``, ``table``.
    decision : Decision or None
        What is shown; None where nothing can be decided, and ``said`` tells why.

    Raises
    ------
    InputError
        No variants, or what `finops_lab.tradeoffs.curve` raises.
    """

    def __init__(
        self,
        source: Curve | pl.DataFrame | str,
        *,
        max_p95_ms: float | None = None,
        max_quality_loss: float | None = None,
        monthly_inferences: float | None = None,
        migration_amount: Decimal | int | None = None,
        objective: Any = "cost",
    ) -> None:
        import ipywidgets as w

        self._curve = source if isinstance(source, Curve) else curve(source)
        points = self._curve.points
        if points.is_empty():
            raise InputError("there are no variants to decide between")
        self._once, self._objective, self._quiet = migration_amount, objective, False
        self.decision: Decision | None = None
        models = points["model"].drop_nulls().unique().sort().to_list()
        self.controls: dict[str, Any] = {
            "model": w.Dropdown(options=models or ["all"], description="Model"),
            "max_p95_ms": _slider("P95 at most (ms)", ",.1f"),
            "max_quality_loss": _slider("Quality lost at most", ".4f"),
            "monthly_inferences": _slider("Inferences a month", ",.0f"),
            "reset": w.Button(description="As at the start", icon="undo"),
        }
        self._begin = {
            "max_p95_ms": max_p95_ms,
            "max_quality_loss": max_quality_loss,
            "monthly_inferences": monthly_inferences,
        }
        self.parts: dict[str, ipywidgets.HTML] = {name: w.HTML() for name in ("said", "chart", "table")}
        self.parts["chart"].add_class("finops-wide")
        asked = w.Box([*self.controls.values()])
        asked.add_class("finops-controls")
        shown = w.Box([self.parts["chart"], self.parts["table"]])
        shown.add_class("finops-shown")
        self.box = w.VBox([w.HTML(drawn.STYLE), asked, self.parts["said"], shown])
        self.box.add_class("finops-explorer")
        self._offer()
        self.controls["model"].observe(lambda _: self._offer(), "value")
        for name in self._begin:
            self.controls[name].observe(lambda _: self._draw(), "value")
        self.controls["reset"].on_click(lambda _: self._offer())

    def __repr__(self) -> str:
        return f"DecisionSliders({self.controls['model'].value!r}; .decision)"

    def _ipython_display_(self) -> None:
        from IPython.display import Javascript, display

        display(self.box, Javascript(drawn.SCRIPT))

    @property
    def _model(self) -> str | None:
        name: str = self.controls["model"].value
        return name if self._curve.points["model"].count() else None

    def _offer(self) -> None:
        """Put the sliders of the chosen model where they begin."""
        self._quiet = True
        try:
            base = decide(self._curve, model=self._model, objective=self._objective)
            largest = {
                "max_p95_ms": base.table["slo_ms"].max(),
                "max_quality_loss": max(0.0, base.table["quality_loss"].max() or 0.0),
                "monthly_inferences": 10 * (self._begin["monthly_inferences"] or 1e6),
            }
            for name, most in largest.items():
                begin, slider = self._begin[name], self.controls[name]
                end = slider_end(max(float(most or 0), begin or 0, 1e-3))  # type: ignore[arg-type]
                slider.min = 0.0
                slider.max = end
                slider.step = end / _STEPS
                slider.value = begin if begin is not None else (1e6 if name == "monthly_inferences" else end)
        except FinopsError as error:
            self.decision = None
            self.parts["said"].value = drawn.note(str(error), alert=True)
            return
        finally:
            self._quiet = False
        self._draw()

    def _draw(self) -> None:
        if self._quiet:
            return
        try:
            self.decision = found = decide(
                self._curve,
                model=self._model,
                max_p95_ms=self.controls["max_p95_ms"].value,
                max_quality_loss=self.controls["max_quality_loss"].value,
                monthly_inferences=self.controls["monthly_inferences"].value or None,
                migration_amount=self._once,
                objective=self._objective,
            )
            self.parts["chart"].value = drawn.picture(decision_planes(found))
        except FinopsError as error:
            self.decision = None
            self.parts["said"].value = drawn.note(str(error), alert=True)
            return
        self.parts[
            "said"
        ].value = f'<div class="mathjax_ignore" role="status" style="margin:8px 0">{html.escape(found.explain())}</div>'
        rows = found.table.sort("rank", "variant", nulls_last=True)
        known = [name for name in _SHOWN if rows[name].count()]
        places = {"objective_value": 6, "quality": 4, "quality_loss": 4, "slo_ms": 1, "rank": 0}
        self.parts["table"].value = money_table(
            rows.select(known).head(50),
            title=f"Variants, {found.unit}",
            id="variants",
            currency="USD",
            money_columns={},
            number_columns={name: number for name, number in places.items() if name in known},
            percent_columns={"saving_share": 1} if "saving_share" in known else {},
            labels={
                name: label
                for name, label in {
                    "objective_value": found.unit,
                    "quality": found.metric or "quality",
                    "quality_loss": "lost",
                    "slo_ms": "P95, ms",
                    "saving_share": "saved",
                    "misses": "why not",
                }.items()
                if name in known
            },
        ).html


def _slider(name: str, readout: str) -> Any:
    import ipywidgets as w

    return w.FloatSlider(description=name, continuous_update=False, readout_format=readout)
