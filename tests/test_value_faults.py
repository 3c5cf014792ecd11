"""Labs that an adversary would open: what is missing, foreign or huge breaks no figure and falsifies none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from helpers import cost_row, write_lab

import finops_lab as fl

DIMENSIONS = "".join(
    f'[[dimensions.{name}]]\nname = "{name}"\ntag = ["{name}"]\n' for name in ("team", "model", "feature")
)
CALLS = "ts_start,model,operation,status,team,feature,pool_id,input_uncached_tokens,output_tokens,latency_ms,sample_weight\n"
OCTOBER = date(2026, 10, 1)
TAGS = '{"team": "ads", "model": "m", "feature": "chat"}'


def toml(*more: str, currency: str = "USD") -> str:
    return "\n".join([f'[lab]\nname = "Odd (synthetic)"\ncurrency = "{currency}"', DIMENSIONS, *more])


def call(day: str, model: str = "m", team: str = "ads", pool: str = "", tokens: int = 100, weight: int = 1) -> str:
    return f"{day}T10:00:00Z,{model},chat,ok,{team},chat,{pool},{tokens},50,120,{weight}\n"


def bill(month: str, amount: str = "40", **row: str | None) -> dict[str, str | None]:
    return cost_row(amount, **{"month": month, "Tags": TAGS, **row})


def opened(folder: Path, exports: Mapping[str, Any], text: str | None = None, **how: Any) -> fl.Lab:
    return fl.open_lab(write_lab(folder / "lab", exports, text or toml()), progress=False, **how)


def told(found: Any, kpi: str, column: str = "value", measure: str | None = None) -> Any:
    if measure is None:
        return found.table.filter(kpi=kpi)[column].item()
    whole = found.figures.filter(pl.col("dimension").is_null(), kpi=kpi, measure=measure, month=found.month)
    return whole[column].item()


def test_a_lab_with_telemetry_alone_tells_what_telemetry_knows(tmp_path: Path) -> None:
    found = fl.kpis(opened(tmp_path, {"requests.csv": CALLS + call("2026-10-03")}), "2026-10")
    assert told(found, "M5") == 0 and round(told(found, "M4")) == 120
    assert told(found, "M1") is None and told(found, "M1", "reason") == "the ledger has no inference money of it"
    assert told(found, "M7") is None
