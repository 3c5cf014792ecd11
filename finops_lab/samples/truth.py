"""`truth.json`: what was planted, where, for how much, and what the bills add up to."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from finops_lab.samples.charges import decimal
from finops_lab.samples.commitments import COMMITMENTS
from finops_lab.samples.company import FEATURES, PRICE_CUT
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Route
from finops_lab.samples.focus import PROVIDERS
from finops_lab.samples.operations import Operations, told
from finops_lab.samples.overhead import credit_amount
from finops_lab.samples.plants import (
    ANOMALIES,
    CORRECTION,
    CREDITS_END,
    MISTAG,
    RESTATED,
    RUNAWAY,
    Anomaly,
    Plants,
)
from finops_lab.samples.telemetry import ACCURACY
from finops_lab.samples.traffic import API_SAMPLING

__all__ = ["render"]


def render(seed: int, charges: pl.DataFrame, plants: Plants, operations: Operations) -> str:
    """Return the text of `truth.json`; amounts are decimal strings in USD."""
    truth: dict[str, Any] = {
        "note": "Synthetic. What the generator planted, computed from the charges it wrote.",
        "seed": seed,
        "currency": "USD",
        "anomalies": [_anomaly(charges, a) for a in ANOMALIES.values()] if plants.on else [],
        "runaway_retrain": {**_anomaly(charges, RUNAWAY), "job_id": "retrain-larch-70b-20261012-v2"}
        if plants.on
        else None,
        "mis_tagged_team": _mistag(charges) if plants.on else None,
        "price_change": _price_change(charges) if plants.on else None,
        "launch": _launch() if plants.on else None,
        "restated_month": _restated(charges) if plants.on else None,
        "credits_that_end": {
            "provider": PROVIDERS["gcp"][0],
            "monthly_amount": credit_amount(),
            "last_month": "2026-06",
            "first_month_without": f"{CREDITS_END:%Y-%m}",
        }
        if plants.on
        else None,
        "correction": _correction(charges) if plants.on else None,
        **told(operations, plants),
        "gateway_without_team": _gateway(charges),
        "gateway_spend_at_list_price": "LiteLLM spend is at list price; the vendor's bill is 5 % lower.",
        "commitments": [_commitment(charges, c.id) for c in COMMITMENTS],
        "litellm_sampling_rate": f"1/{API_SAMPLING}",
        "accuracy": {model: {"base": base, "loss": list(loss)} for model, (base, loss) in ACCURACY.items()},
        "rows": charges.height,
        "totals_by_charge_month": _totals(charges, pl.col("start")),
        "totals_by_billing_month": _totals(charges, pl.col("billing_month")),
    }
    return json.dumps(truth, indent=1, ensure_ascii=False) + "\n"


def _sum(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].sum())


def _anomaly(charges: pl.DataFrame, anomaly: Anomaly) -> dict[str, Any]:
    rows = charges.filter(pl.col("plant") == anomaly.id)
    first = rows.row(0, named=True)
    daily = rows.group_by("start").agg(pl.col("plant10").sum()).sort("start")
    return {
        "id": anomaly.id,
        "first_day": str(anomaly.first),
        "last_day": str(anomaly.last),
        "what": anomaly.what,
        "provider": PROVIDERS[first["provider"]][0],
        "service": first["service"],
        "sub_account": first["account"],
        "team": anomaly.team,
        "feature": first["feature"],
        "resources": sorted(rows["resource_name"].drop_nulls().unique().to_list()),
        "excess_effective_cost": decimal(_sum(rows, "plant10")),
        "excess_by_day": {str(day): decimal(amount) for day, amount in daily.rows()},
    }


def _mistag(charges: pl.DataFrame) -> dict[str, Any]:
    since, feature, model, variant, wrong = MISTAG
    rows = charges.filter(pl.col("plant") == "mis-tagged-team")
    months = rows.group_by(pl.col("start").dt.strftime("%Y-%m").alias("month")).agg(pl.col("plant10").sum())
    return {
        "since": str(since),
        "resource_name": pool_name(Route(feature, model, variant)),
        "tagged_team": wrong,
        "true_team": FEATURES[feature].team,
        "effective_cost": decimal(_sum(rows, "plant10")),
        "by_month": {month: decimal(amount) for month, amount in months.sort("month").rows()},
    }


def _price_change(charges: pl.DataFrame) -> dict[str, Any]:
    since, model, variant, direction, (listed, contracted) = PRICE_CUT
    sku = f"{model}-{variant}-{direction}"
    before = charges.filter((pl.col("sku") == sku) & (pl.col("start") < since)).row(0, named=True)
    after = charges.filter(pl.col("sku_price") == f"{sku}-v2")
    saved = after.select(month=pl.col("start").dt.strftime("%Y-%m"), saved=pl.col("quantity6"))
    by_month = saved.group_by("month").agg(pl.col("saved").sum()).sort("month")
    cut = before["contracted4"] - contracted
    return {
        "date": str(since),
        "provider": PROVIDERS["vendor"][0],
        "model": model,
        "variant": variant,
        "direction": direction,
        "sku": sku,
        "per": "1000000 Tokens",
        "list_price": {"from": decimal(before["list4"], 4), "to": decimal(listed, 4)},
        "contracted_price": {"from": decimal(before["contracted4"], 4), "to": decimal(contracted, 4)},
        "saved_by_month": {month: decimal(quantity * cut) for month, quantity in by_month.rows()},
    }


def _launch() -> dict[str, Any]:
    launched = next(feature for feature in FEATURES.values() if feature.launched)
    return {"date": str(launched.launched), "feature": launched.name, "team": launched.team}


def _restated(charges: pl.DataFrame) -> dict[str, Any]:
    month, since, region, first, second = RESTATED
    rows = charges.filter((pl.col("provider") == "gcp") & (pl.col("billing_month") == month))
    late = rows.filter((pl.col("start") >= since) & (pl.col("region") == region))
    return {
        "month": f"{month:%Y-%m}",
        "provider": PROVIDERS["gcp"][0],
        "first_delivery": str(first),
        "second_delivery": str(second),
        "late_rows": late.height,
        "late_effective_cost": decimal(_sum(late, "effective10")),
        "late_billed_cost": decimal(_sum(late, "billed10")),
        "first_effective_cost": decimal(_sum(rows, "effective10") - _sum(late, "effective10")),
        "second_effective_cost": decimal(_sum(rows, "effective10")),
    }


def _correction(charges: pl.DataFrame) -> dict[str, Any]:
    usage, billed, team, _ = CORRECTION
    row = charges.filter(pl.col("charge_class") == "Correction").row(0, named=True)
    return {
        "provider": PROVIDERS[row["provider"]][0],
        "charge_month": f"{usage:%Y-%m}",
        "charge_day": str(usage),
        "billing_month": f"{billed:%Y-%m}",
        "team": team,
        "amount": decimal(row["billed10"]),
    }


def _gateway(charges: pl.DataFrame) -> dict[str, Any]:
    rows = charges.filter(pl.col("account") == "shared-gateway")
    months = rows.group_by(pl.col("start").dt.strftime("%Y-%m").alias("month")).agg(
        pl.col("effective10").sum()
    )
    return {
        "sub_account": "shared-gateway",
        "effective_cost_by_month": {month: decimal(amount) for month, amount in months.sort("month").rows()},
    }


def _commitment(charges: pl.DataFrame, commitment: str) -> dict[str, Any]:
    rows = charges.filter(pl.col("commitment") == commitment)
    status = {
        key: decimal(_sum(rows.filter(pl.col("commitment_status") == key), "effective10"))
        for key in ("Used", "Unused")
    }
    purchased = _sum(rows.filter(pl.col("category") == "Purchase"), "billed10")
    return {
        "id": commitment,
        "purchased": decimal(purchased),
        "used": status["Used"],
        "unused": status["Unused"],
    }


def _totals(charges: pl.DataFrame, moment: pl.Expr) -> dict[str, Any]:
    keyed = charges.group_by(moment.dt.strftime("%Y-%m").alias("month"), "provider").agg(
        pl.len().alias("rows"), pl.col("billed10").sum(), pl.col("effective10").sum()
    )
    totals: dict[str, Any] = {}
    for month, provider, rows, billed, effective in keyed.sort("month", "provider").rows():
        entry = totals.setdefault(month, {"BilledCost": 0, "EffectiveCost": 0, "rows": 0, "by_provider": {}})
        entry["BilledCost"] += billed
        entry["EffectiveCost"] += effective
        entry["rows"] += rows
        entry["by_provider"][PROVIDERS[provider][0]] = {
            "BilledCost": decimal(billed),
            "EffectiveCost": decimal(effective),
            "rows": rows,
        }
    for entry in totals.values():
        entry["BilledCost"], entry["EffectiveCost"] = (
            decimal(entry["BilledCost"]),
            decimal(entry["EffectiveCost"]),
        )
    return totals
