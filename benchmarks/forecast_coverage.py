"""Coverage of the forecast's bounds and its error against seasonal naive on M4 and M3 monthly series.

`--learn` prints the table of half widths that the forecasting room hard-codes. The series carry no
dates: a value is taken as the mean daily rate of its month, so the days of the month cancel out.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.calendar import add_months, days_in_month
from finops_lab.forecasting import core, forecast, seasonal_naive

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast"
LAST = date(2024, 12, 1)
HORIZON = 12
# M4 is where the table of half widths was learned (24 months and more), M3 shows whether it transfers.
# Error targets: the same members against seasonal naive as first measured on M4, .83/.75/.72, plus 3 %.
MASE_RATIO = {
    "m4_monthly": {24: 0.85, 36: 0.77, 60: 0.74},
    "m3_monthly": {24: 0.90, 36: 0.90, 60: 0.90},
}
COVERAGE = {"80": (0.77, 0.83), "95": (0.93, 0.96)}


def panel(values: dict[str, list[float]], end: date) -> pl.DataFrame:
    """Put daily rates that end in month `end` into a long frame of monthly amounts."""
    rows = [
        (uid, month, rate * days_in_month(month))
        for uid, rates in values.items()
        for i, rate in enumerate(rates)
        for month in [add_months(end, i - len(rates) + 1)]
    ]
    return pl.DataFrame(rows, schema=["unique_id", "ds", "y"], orient="row")


def measure(data: str, length: int, take: int) -> pl.DataFrame | None:
    """Forecast each `take`-th series from its last `length` months; one row per series and month."""
    path = DATA / data / "dev.parquet"
    if not path.exists():
        print(f"skipped: {data} is not there")
        return None
    frame = pl.read_parquet(path)[::take].filter(pl.col("y").list.len() >= length)
    series = {uid: (np.array(y), np.array(test)) for uid, y, test in frame.iter_rows()}
    history = panel({uid: list(y[-length:]) for uid, (y, _) in series.items()}, LAST)
    truth = panel({uid: list(test[:HORIZON]) for uid, (_, test) in series.items()}, add_months(LAST, HORIZON))
    scale = pl.DataFrame(
        [(uid, float(np.abs(y[12:] - y[:-12]).mean())) for uid, (y, _) in series.items()],
        schema=["unique_id", "scale"],
        orient="row",
    )
    naive = seasonal_naive(history, HORIZON).select("unique_id", "ds", naive="yhat")
    days = pl.col("ds").dt.days_in_month()
    return (
        forecast(history, HORIZON)
        .join(truth, on=["unique_id", "ds"])
        .join(naive, on=["unique_id", "ds"])
        .join(scale, on="unique_id")
        .with_columns(step=pl.col("ds").rank("dense").over("unique_id"), scale=pl.col("scale") * days)
    )


def score(frame: pl.DataFrame) -> dict[str, float]:
    """Return coverage, MASE and the MASE of seasonal naive (M4: scaled by all the history)."""
    return frame.select(
        *[pl.col("y").is_between(f"lo_{p}", f"hi_{p}").mean().alias(p) for p in COVERAGE],
        mase=((pl.col("yhat") - pl.col("y")).abs() / pl.col("scale")).mean(),
        naive=((pl.col("naive") - pl.col("y")).abs() / pl.col("scale")).mean(),
        msis=(
            (
                pl.col("hi_95")
                - pl.col("lo_95")
                + 40 * (pl.col("lo_95") - pl.col("y")).clip(lower_bound=0)
                + 40 * (pl.col("y") - pl.col("hi_95")).clip(lower_bound=0)
            )
            / pl.col("scale")
        ).mean(),
    ).row(0, named=True)


def learn(take: int) -> None:
    """Print the half widths per months of history: signed quantiles of the scaled errors."""
    table = core._WIDTHS
    for length in table:
        seen: list[NDArray[np.float64]] = []
        for data in ("m4_monthly", "m3_monthly") if length < 8 else ("m4_monthly",):
            frame = measure(data, length, take)
            if frame is None:
                return
            # The upper half width holds the spread and its growth, times the table's present value.
            unit = (pl.col("hi_80") - pl.col("yhat")) / table[length][1]
            seen.append(frame.select((pl.col("y") - pl.col("yhat")) / unit).to_series().to_numpy())
        low80, high80, low95, high95 = np.quantile(np.concatenate(seen), [0.1, 0.9, 0.025, 0.975])
        print(f"    {length}: ({-low80:.2f}, {high80:.2f}, {-low95:.2f}, {high95:.2f}),", flush=True)


def records(data: str, length: int, scores: dict[str, float]) -> list[dict[str, Any]]:
    """Put one history length into the form of every benchmark."""
    name = f"forecast_coverage/{data}/{length}m"
    out: list[dict[str, Any]] = []
    for p, (low, high) in COVERAGE.items():
        middle = (low + high) / 2
        out.append(
            {
                "name": f"{name}/miss_of_{p}",
                "value": round(abs(scores[p] - middle), 4),
                "unit": f"distance of coverage from {middle:.3f}",
                "target": round((high - low) / 2, 4),
                "better": "lower",
                "holds": low <= scores[p] <= high,
                "peer": None,
            }
        )
    ratio = scores["mase"] / scores["naive"]
    out.append(
        {
            "name": f"{name}/mase_ratio",
            "value": round(ratio, 4),
            "unit": "ratio",
            "target": MASE_RATIO[data][length],
            "better": "lower",
            "holds": ratio <= MASE_RATIO[data][length],
            "peer": "seasonal naive",
        }
    )
    return out


def main() -> int:
    """Run, print the table, write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--take", type=int, default=3, help="use each n-th series")
    parser.add_argument("--learn", action="store_true", help="print the table of half widths and stop")
    args = parser.parse_args()
    if args.learn:
        learn(args.take)
        return 0
    out: list[dict[str, Any]] = []
    columns = ("months", "cov80", "cov95", "MASE", "naive", "ratio", "MSIS95")
    print("data      ", *[f"{column:>6}" for column in columns])
    for data, ratios in MASE_RATIO.items():
        for length in ratios:
            frame = measure(data, length, args.take)
            if frame is None:
                break
            s = score(frame)
            print(
                f"{data:<10} {length:>6} {s['80']:>6.3f} {s['95']:>6.3f} {s['mase']:>6.3f} {s['naive']:>6.3f}"
                f" {s['mase'] / s['naive']:>6.3f} {s['msis']:>6.2f}",
                flush=True,
            )
            out += records(data, length, s)
    if args.json:
        args.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
