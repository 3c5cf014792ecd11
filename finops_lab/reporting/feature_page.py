"""The budget of a new feature as one offline page with sliders, for whoever decides on it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from typing import Any

from finops_lab.calendar import days_in_month, month_name
from finops_lab.money import format_money
from finops_lab.planning.drivers import ADOPTION, Driver, adoption, stream
from finops_lab.planning.feature_budget import FeatureBudget
from finops_lab.planning.figures import Served
from finops_lab.planning.sliders import SHARES, shown, steps

__all__ = ["feature_page"]

_GROUPS = (("Use", ("sessions", "calls", "growth")), ("A call", ("input", "output", "cache", "price")))
_LAST_GROUP = "Training and capacity"


def feature_page(budget: FeatureBudget) -> str:
    """Write a budget as one page that needs no network and no other file.

    Its sliders work the formula out again: the point estimate in exact decimals, P10 to P90 from the
    same draws. A driver that is moved is held at its value, the others keep their ranges; at the
    start, and after a reset, the page shows the amounts of `budget`. Without scripts these stay.

    Parameters
    ----------
    budget : FeatureBudget
        From `finops_lab.budgeting.features.feature_budget`.

    Returns
    -------
    str
        HTML; the same for the same budget.
    """
    plan, planned = budget.plan, budget.plan.models[0].title
    drivers, models = _models(budget)
    unit = next(iter(plan.revenue.per)) if plan.revenue else budget.units["unit"][-1]
    cost = budget.units.filter(budget.units["month"].is_null()).filter(unit=unit).row(0, named=True)
    decimals = _decimals(cost["amount"])
    data = {
        "days": [days_in_month(month) for month in _served(budget, planned).basis.months],
        "names": [f"{month:%b %Y}" for month in _served(budget, planned).basis.months],
        "adoption": [[_plain(x) for x in (one.low, one.likely, one.high)] for one in adoption(plan)],
        "drivers": drivers,
        "models": models,
        "draws": plan.draws,
        "streams": _streams(plan.seed, [*(one["key"] for one in drivers), ADOPTION]),
        "unit": unit,
        "decimals": decimals,
        "revenue": _plain(cost["revenue"]) if cost["revenue"] is not None else None,
    }
    script = _file("feature_budget.js").replace("</script", "<\\/script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = f"What {plan.name} is going to cost"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(plan.note)}</p>" if plan.note else "",
        _answer(budget, unit, cost, decimals),
        _controls(drivers, models),
        _months(budget),
        _dependence(budget),
        _compared(budget),
        _notes(budget),
    ]
    source = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{_file('style.css')}{_file('feature_budget.css')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + f'\n</main>\n<script type="application/json" id="plan">{source}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _models(budget: FeatureBudget) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the drivers of all models, each once, and what each model needs of them."""
    known: dict[tuple[str, Decimal, Decimal, Decimal], str] = {}
    drivers: list[dict[str, Any]] = []
    models: list[dict[str, Any]] = []
    for title, one in budget.served.items():
        if isinstance(one, str):
            models.append({"title": title, "rates": None})
            continue
        ids = {}
        for driver in one.drivers:
            name = (driver.key, driver.low, driver.likely, driver.high)
            if name not in known:
                known[name] = f"driver-{len(known)}"
                drivers.append(_driver(driver, known[name]))
            ids[driver.key] = known[name]
        fixed = one.basis
        models.append(
            {
                "title": title,
                "rates": [
                    [_plain(x) for x in (r.input, r.cached_input, r.cache_write, r.output, r.call)]
                    for r in fixed.rates
                ],
                "factors": [_plain(factor) for factor in fixed.factors],
                "training": [[name, _plain(runs)] for name, runs in fixed.training],
                "capacity": [[name, _plain(hours)] for name, hours in fixed.capacity],
                "drivers": ids,
            }
        )
    return drivers, models


def _driver(one: Driver, id: str) -> dict[str, Any]:
    low, step, count, start = steps(one)
    words = {"key": one.key, "id": id, "label": one.label, "unit": one.unit}
    numbers = {"low": one.low, "likely": one.likely, "high": one.high, "min": low, "step": step}
    return (
        words
        | {name: _plain(value) for name, value in numbers.items()}
        | {"count": count, "start": start, "percent": one.unit in SHARES}
    )


def _streams(seed: int, keys: Iterable[str]) -> dict[str, list[str]]:
    found = {}
    for key in dict.fromkeys(keys):
        state: Any = stream(seed, key).state["state"]
        found[key] = [str(state["state"]), str(state["inc"])]
    return found


def _served(budget: FeatureBudget, title: str) -> Served:
    one = budget.served[title]
    assert isinstance(one, Served)
    return one


def _answer(budget: FeatureBudget, unit: str, cost: dict[str, Any], decimals: int) -> str:
    total = budget.figures.total
    per = {"customer": "A customer's month"}.get(unit, f"A {unit}")
    covered = (
        f" It brings {format_money(cost['revenue'], 'USD', decimals=decimals)}, which covers it in "
        f"<strong id='covered'>{_percent(cost['chance_covered'])}</strong> of the draws."
        if cost["revenue"] is not None
        else ""
    )
    return (
        '<div class="answer" role="status">'
        f"<p>{budget.plan.months} months from {month_name(budget.plan.first)}, at the values set</p>"
        f'<p class="large"><strong id="total">{format_money(total["amount"], "USD")}</strong></p>'
        f'<p>In 8 of 10 draws between <strong id="low">{_about(total["p10"])}</strong> (P10) and '
        f'<strong id="high">{_about(total["p90"])}</strong> (P90), in half of them up to '
        f'<strong id="median">{_about(total["p50"])}</strong>. More than at the values set: '
        f'<strong id="above">{_percent(budget.figures.chance_above)}</strong> of the draws.</p>'
        f'<p>{per} costs <strong id="unit-cost">{format_money(cost["amount"], "USD", decimals=decimals)}</strong> '
        f'(P10 <span id="unit-low">{_about(cost["p10"], decimals)}</span>, '
        f'P90 <span id="unit-high">{_about(cost["p90"], decimals)}</span>): with less revenue it loses money.'
        f"{covered}</p></div>"
    )


def _controls(drivers: list[dict[str, Any]], models: list[dict[str, Any]]) -> str:
    options = "".join(
        f'<option value="{n}"{"" if model["rates"] else " disabled"}>{html.escape(model["title"])}'
        f"{'' if model['rates'] else ' (unpriced)'}</option>"
        for n, model in enumerate(models)
    )
    groups: dict[str, list[str]] = {name: [] for name in (*(name for name, _ in _GROUPS), _LAST_GROUP)}
    for one in drivers:
        group = next((name for name, starts in _GROUPS if one["key"].startswith(starts)), _LAST_GROUP)
        groups[group].append(_slider(one, one["id"] not in models[0]["drivers"].values()))
    return (
        '<section data-needs-script hidden aria-label="What if"><h2>What if</h2>'
        "<p>Move what you doubt. A driver that you move is held at its value; the others keep their ranges.</p>"
        '<p class="now" aria-hidden="true"><strong id="now"></strong></p>'
        f'<div class="choice"><div><label for="model">Model</label><select id="model">{options}</select></div>'
        '<button type="button" id="reset">As planned</button></div>'
        + "".join(
            f'<fieldset><legend>{name}</legend><div class="sliders">{"".join(rows)}</div></fieldset>'
            for name, rows in groups.items()
            if rows
        )
        + "</section>"
    )


def _slider(one: dict[str, Any], hidden: bool) -> str:
    low, high = (Decimal(one[end]) for end in ("low", "high"))
    ends = html.escape(f"{shown(low, one['unit'], bare=True)} to {shown(high, one['unit'])}")
    told = f"range of the plan: {ends}" if low != high else "no range in the plan"
    id, value = one["id"], html.escape(shown(Decimal(one["likely"]), one["unit"]))
    return (
        f'<div class="slider" id="{id}-row"{" hidden" if hidden else ""}>'
        f'<label for="{id}">{html.escape(one["label"])}</label>'
        f'<output id="{id}-value" for="{id}">{value}</output>'
        f'<input type="range" id="{id}" min="0" max="{one["count"]}" step="1" value="{one["start"]}" '
        f'aria-describedby="{id}-range"><span class="range" id="{id}-range">{told}</span></div>'
    )


def _months(budget: FeatureBudget) -> str:
    rows = [
        [
            f"{row['month']:%b %Y}",
            _cell(f"month-{n}", format_money(row["amount"], "USD")),
            *(_cell(f"month-{n}-{p}", _about(row[f"p{p}"])) for p in (10, 50, 90)),
        ]
        for n, row in enumerate(budget.months.filter(component="total").iter_rows(named=True))
    ]
    heads = ("Month", "At the values set", "P10", "P50", "P90")
    return (
        "<h2>Month by month</h2>"
        '<figure data-needs-script hidden><div id="chart" role="img" aria-label="Bars by month"></div>'
        "<figcaption>USD per month; bar: at the values set, line: from P10 to P90.</figcaption></figure>"
        + _table("months", "USD per month", heads, rows)
    )


def _dependence(budget: FeatureBudget) -> str:
    if budget.tornado.is_empty():
        return "<h2>What it depends on</h2><p>No driver of the plan has a range.</p>"
    shares = {row["driver"]: row["total_order"] for row in budget.indices.iter_rows(named=True)}
    most = max(abs(swing) for swing in budget.tornado["swing"]) or Decimal(1)
    rows = []
    for row in budget.tornado.iter_rows(named=True):
        low, high, unit = row["low"], row["high"], row["unit"]
        ends = "lowest to highest curve"
        if low is not None:
            ends = f"{shown(low, unit, bare=True)} to {shown(high, unit)}"
        rows.append(
            [
                html.escape(row["label"]),
                html.escape(ends),
                _about(float(row["at_low"])),
                _about(float(row["at_high"])),
                f'<span class="bar" style="width:{int(abs(row["swing"]) / most * 100)}%"></span>',
                _percent(max(shares[row["driver"]], 0.0)),
            ]
        )
    heads = ("Driver", "Range", "Total at its low", "Total at its high", "Difference", "Share of the doubt")
    return (
        "<h2>What it depends on</h2><p>Each driver from its low to its high with the others as planned; and the share "
        "of the variance of all draws that it has a part in (total Sobol' index; they add up to more than 100% "
        "where drivers multiply each other's doubt).</p>"
        + _table("drivers", f"Total of {budget.plan.months} months, USD, as planned", heads, rows)
    )


def _compared(budget: FeatureBudget) -> str:
    places = {title: n for n, title in enumerate(budget.served)}
    rows = []
    for row in budget.models.iter_rows(named=True):
        n = places[row["model"]]
        name = html.escape(" · ".join(part for part in (row["model"], row["provider"]) if part))
        if row["amount"] is None:
            rows.append([name, html.escape(row["status"]), "—", "—", "—"])
            continue
        sign = "+" if row["difference"] > 0 else ""
        difference = "chosen" if n == 0 else sign + format_money(row["difference"], "USD")
        rows.append(
            [
                name,
                _cell(f"model-{n}", format_money(row["amount"], "USD")),
                _cell(f"model-{n}-difference", difference),
                _about(row["p10"]),
                _about(row["p90"]),
            ]
        )
    heads = ("Model", "At the values set", "Against the one chosen", "P10 as planned", "P90 as planned")
    return "<h2>The same use on other models</h2>" + _table(
        "models", f"Total of {budget.plan.months} months, USD", heads, rows
    )


def _notes(budget: FeatureBudget) -> str:
    plan = budget.plan
    origin = ", ".join(sorted(set(budget.prices["origin"])))
    taken = ""
    if budget.analogues is not None:
        used = budget.analogues.filter(budget.analogues["used"])
        told = "; ".join(f"{row['feature']} ({row['why']})" for row in used.iter_rows(named=True))
        taken = f"<li>Adoption as of: {html.escape(told)}.</li>"
    return (
        "<h2>How it is worked out</h2><ul>"
        "<li>At the values set every driver has one value and amounts are exact. P10, P50 and P90 are taken from "
        f"{plan.draws:,} draws (seed {plan.seed}) of all drivers from triangular distributions over their ranges.</li>"
        "<li>Likely values multiplied are not the likely product: where ranges reach further up than down, most "
        "draws cost more than the values set.</li>"
        "<li>A range is only as honest as who gave it. Drivers are drawn independently of each other.</li>"
        f"<li>Prices: {html.escape(origin)}, as known on the first of each month. A list of prices says nothing "
        f"about discounts or about what a model is worth.</li>{taken}</ul>"
    )


def _table(id: str, caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" role="group" tabindex="0" aria-labelledby="{id}-caption"><table>'
        f'<caption id="{id}-caption">{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(id: str, text: str) -> str:
    return f'<td id="{id}">{text}</td>'


def _about(amount: float | None, decimals: int | None = None) -> str:
    """Write a statistic: whole units from 1,000 on; ties go up, as JavaScript writes them."""
    if amount is None:
        return "unknown"
    places = decimals if decimals is not None else 2 if amount < 1000 else 0
    return f"${Decimal(amount).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{math.floor(share * 100 + 0.5)}%"


def _decimals(amount: Decimal | None) -> int:
    """Return how many decimals tell a unit's cost with about four digits."""
    return 2 if not amount else min(max(3 - amount.adjusted(), 2), 8)


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _file(name: str) -> str:
    return resources.files("finops_lab.reporting").joinpath(name).read_text(encoding="utf-8")
