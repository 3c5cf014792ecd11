"""The page with sliders says what Python says, wherever they stand; and so do those of JupyterLab."""

from __future__ import annotations

import html
import random
import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import open_page

import finops_lab as fl
from finops_lab.charts import planned_months, tornado_bars
from finops_lab.config import feature_plan
from finops_lab.errors import InputError
from finops_lab.money import format_money
from finops_lab.planning.feature_budget import FeatureBudget, budget_of
from finops_lab.planning.figures import Figures, Served
from finops_lab.planning.sliders import positions
from finops_lab.reporting.feature_page import feature_page
from finops_lab.widgets import FeatureSliders

PHONE = 400


@pytest.fixture(scope="module")
def budget() -> FeatureBudget:
    return fl.feature_budget(draws=1000)


def about(amount: float, decimals: int | None = None) -> str:
    places = decimals if decimals is not None else 2 if amount < 1000 else 0
    return f"${Decimal(amount).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,}"


def expected(figures: Figures) -> dict[str, str]:
    """Return what the page has to say, by the ids of its elements."""
    total = figures.total
    customer = figures.units.filter(pl.col("month").is_null()).filter(unit="customer").row(0, named=True)
    said = {
        "total": format_money(total["amount"], "USD"),
        "low": about(total["p10"]),
        "median": about(total["p50"]),
        "high": about(total["p90"]),
        "above": f"{int(figures.chance_above * 100 + 0.5)}%",
        "unit-cost": format_money(customer["amount"], "USD", decimals=4),
        "unit-low": about(customer["p10"], 4),
        "unit-high": about(customer["p90"], 4),
    }
    for n, row in enumerate(figures.months.filter(component="total").iter_rows(named=True)):
        said[f"month-{n}"] = format_money(row["amount"], "USD")
        said |= {f"month-{n}-{p}": about(row[f"p{p}"]) for p in (10, 50, 90)}
    return said


def shown(page: Any, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        "names => Object.fromEntries(names.map(n => [n, document.getElementById(n).textContent]))", names
    )
    return found


def move(page: Any, places: dict[str, int]) -> dict[str, Decimal]:
    """Move sliders of drivers to places and return the values that they then have."""
    found: dict[str, str] = page.evaluate(
        """places => {
          for (const [key, place] of Object.entries(places)) {
            const slider = document.getElementById(chosen().drivers[key]);
            slider.value = place;
            slider.dispatchEvent(new Event('input'));
          }
          const drawn = Object.keys(places).map(key => [key, moved[chosen().drivers[key]] ?? null]);
          return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
            () => done(Object.fromEntries(drawn)))));
        }""",
        places,
    )
    return {key: Decimal(value) for key, value in found.items() if value is not None}


def test_the_page_says_what_python_says_wherever_its_sliders_stand(
    budget: FeatureBudget, tmp_path: Path
) -> None:
    text = feature_page(budget)
    assert text == feature_page(budget)
    path = tmp_path / "budget.html"
    path.write_text(text, encoding="utf-8")
    written = {
        name: html.unescape(value) for name, value in re.findall(r'id=["\']([\w-]+)["\']>([^<]*)</', text)
    }
    planned = expected(budget.figures)
    assert planned.items() <= written.items()
    with open_page(path, viewport=(1100, 900)) as visit:
        page = visit.page
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'", timeout=20_000)
        # At the start the scripts change nothing of what stands in the file.
        assert shown(page, list(planned)) == planned
        assert visit.violations() == []
        slider = page.get_by_label("Input tokens per call", exact=True)
        slider.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "before => document.getElementById('total').textContent !== before", arg=planned["total"]
        )
        assert slider.get_attribute("aria-valuetext") == "2,650 tokens"
        assert shown(page, list(planned)) == expected(budget.what_if({"input_tokens": 2650}))
        page.get_by_role("button", name="As planned").click()
        chance = random.Random(1)
        for title, one in budget.served.items():
            if isinstance(one, str):
                assert page.locator("option:disabled").inner_text() == f"{title} (unpriced)"
                continue
            page.get_by_label("Model", exact=True).select_option(title)
            several = chance.sample([driver for driver in one.drivers], 4)
            values = move(page, {one.key: chance.randrange(len(positions(one))) for one in several})
            assert shown(page, list(planned)) == expected(budget.what_if(values, title)), (title, values)
            page.get_by_role("button", name="As planned").click()
        values = move(page, {"sessions_per_day": 3, "output_tokens": 70})
        assert len(values) == 2
        for n, (title, one) in enumerate(budget.served.items()):
            if isinstance(one, Served):
                theirs = budget.what_if(values, title).total["amount"]
                assert shown(page, [f"model-{n}"]) == {f"model-{n}": format_money(theirs, "USD")}
        page.get_by_role("button", name="As planned").click()
        assert shown(page, list(planned)) == planned
        page.set_viewport_size({"width": PHONE, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert visit.outside == [] and visit.errors == []


def test_a_page_of_calls_without_ranges_revenue_or_scripts(tmp_path: Path) -> None:
    usage = {"calls_per_second": "0.5", "input_tokens": 1000, "output_tokens": 100}
    model = {"model": "<b>m</b>", "input_usd_per_mtok": 3, "output_usd_per_mtok": 15}
    plan = {"name": "<script>x</script>", "from": "2026-11", "months": 1, "usage": usage, "models": [model]}
    text = feature_page(budget_of(feature_plan(plan)))
    path = tmp_path / "budget.html"
    path.write_text(text, encoding="utf-8")
    with open_page(path, javascript=False) as visit:
        page = visit.page
        assert page.locator("h1").inner_text() == "What <script>x</script> is going to cost"
        assert page.locator("#total").inner_text() == "$5,832.00"
        assert page.locator("#unit-cost").inner_text() == "$0.004500"
        assert "No driver of the plan has a range" in page.locator("main").inner_text()
        assert not page.locator("#model").is_visible()
        assert "<b>m</b>" in page.locator("#models-caption + thead + tbody").inner_text()


def test_sliders_of_jupyterlab_hold_what_is_moved(budget: FeatureBudget) -> None:
    sliders = FeatureSliders(budget)
    said = sliders.parts["said"].value
    assert sliders.values == {} and format_money(budget.figures.total["amount"], "USD") in said
    assert re.search(r'role="img" aria-label="Planned spend of 12 months', sliders.parts["chart"].value)
    sliders.controls["input_tokens"].value = Decimal(3000)
    held = budget.what_if({"input_tokens": 3000})
    assert sliders.values == {"input_tokens": Decimal(3000)}
    assert sliders.figures.total == held.total
    assert format_money(held.total["amount"], "USD") in sliders.parts["said"].value
    # Another model needs other drivers; what was moved stays.
    own = "larch-7b on own GPUs"
    sliders.controls["model"].value = own
    assert "capacity.own GPUs.gpu_count" in sliders.controls
    assert sliders.figures.total == budget.what_if({"input_tokens": 3000}, own).total
    sliders.controls["reset"].click()
    assert sliders.values == {} and sliders.parts["said"].value == said
    assert repr(sliders) == "FeatureSliders('Meeting notes'; .values .figures)"


def test_charts_tell_what_they_show(budget: FeatureBudget) -> None:
    months = planned_months(budget.months.filter(component="total"), title="Plan").to_dict()
    assert months["description"].startswith("Planned spend of 12 months. November 2026: $2.1k, from ")
    bars = tornado_bars(budget.tornado, title="Sensitivity").to_dict()
    assert "Most: Sessions per day, $25.3k to $43.7k." in bars["description"]
    ways = {row["label"]: row["way"] for row in bars["data"]["values"]}
    assert {label for label, way in ways.items() if way.startswith("falls")} == {"Input read from cache"}
    many = pl.concat([budget.tornado] * 3)
    with pytest.raises(InputError, match="33 bars do not fit"):
        tornado_bars(many, title="x")
    with pytest.raises(InputError, match="a label occurs twice"):
        tornado_bars(pl.concat([budget.tornado.head(1)] * 2), title="x")
