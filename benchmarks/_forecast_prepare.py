"""What preparing a series is worth: days of the month on a real bill, and spoilt months on M4.

The M4 series carry no dates: a value is taken as the mean daily rate of its month. Every spoilt case is
the same series with one thing done to it, and its error is held against that of the series as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from _form import Figure, report
from numpy.typing import NDArray

from finops_lab.calendar import add_months, days_in_month
from finops_lab.forecasting import forecast
from finops_lab.forecasting.core import centres

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast"
LAST = date(2024, 12, 1)
MONTHS, HORIZON = 36, 12
Floats = NDArray[np.float64]


def figures(take: int) -> list[Figure]:
    """Return the figures, on each `take`-th series; none of data that is not there."""
    return [*days_in_month_figures(), *contamination_figures(take)]


def days_in_month_figures() -> list[Figure]:
    """Return the error on the Radian bill over that of the same core on months as billed."""
    path = DATA / "cloud_spend" / "radian_aws_monthly.csv"
    if not path.exists():
        return []
    bill = (
        pl.read_csv(path, try_parse_dates=True)
        .filter((pl.col("depth") == 0) & (pl.col("ledger") == "main"))
        .group_by(ds="month")
        .agg(pl.col("usd").sum().alias("y"))
        .sort("ds")
        # From 2024 on the bill follows the days of the month; November 2025 is a part of a month.
        .filter(pl.col("ds").is_between(date(2024, 1, 1), date(2025, 10, 1)))
        .with_columns(unique_id=pl.lit("bill"))
    )
    errors: dict[str, list[float]] = {"ours": [], "raw": []}
    for cut in range(5, bill.height - 5):
        held = bill[cut : cut + 6]["y"].to_numpy()
        amounts = bill[:cut]["y"].to_numpy()
        ours = forecast(bill[:cut], 6)["yhat"].to_numpy()
        raw = centres([amounts / amounts.mean()], 6)[0].point * amounts.mean()
        for name, said in (("ours", ours), ("raw", raw)):
            errors[name].append(float(np.mean(np.abs(said - held) / held)))
    ours_mape, raw_mape = (float(np.mean(errors[name])) for name in ("ours", "raw"))
    name = "forecast_prepare/days_in_month"
    return [
        Figure(f"{name}/mape", ours_mape, "share of the bill", "lower"),
        Figure(
            f"{name}/mape_ratio",
            ours_mape / raw_mape,
            "ratio",
            "lower",
            0.25,
            "same core on months as billed",
        ),
    ]


def contamination_figures(take: int) -> list[Figure]:
    """Return the MASE of spoilt M4 series over that of the same series as they are."""
    path = DATA / "m4_monthly" / "dev.parquet"
    if not path.exists():
        return []
    whole = {uid: (np.array(y), np.array(test)) for uid, y, test in pl.read_parquet(path)[::take].iter_rows()}
    ids = list(whole)
    scales = {uid: float(np.abs(y[12:] - y[:-12]).mean()) for uid, (y, _) in whole.items()}

    def error(spoil: Callable[[Floats], None] | None, after: float = 1.0, **known: object) -> float:
        histories = {uid: y[-MONTHS:].copy() for uid, (y, _) in whole.items()}
        for y in histories.values():
            if spoil:
                spoil(y)
        ahead = forecast(_panel(histories), HORIZON, **known)  # type: ignore[arg-type]
        said = ahead["yhat"].to_numpy().reshape(len(ids), HORIZON)
        days = np.array([days_in_month(add_months(LAST, i + 1)) for i in range(HORIZON)])
        misses = [
            np.abs(said[row] / days / after - whole[uid][1][:HORIZON]).mean() / scales[uid]
            for row, uid in enumerate(sorted(ids))
        ]
        return float(np.mean(misses))

    untreated = error(None, clean=False)
    cases = {
        "clean": (error(None), 1.03, "untreated"),
        "one_off_x5": (error(lambda y: _times(y, slice(-8, -7), 5.0)), 1.15, "clean"),
        "zero_month": (error(lambda y: _times(y, slice(-8, -7), 0.0)), 1.10, "clean"),
        "price_cut_labelled": (
            error(lambda y: _times(y, slice(-6, None), 0.65), 0.65, events=_event("price_cut", 6, 0.65)),
            1.02,
            "clean",
        ),
        "launch_labelled": (
            error(lambda y: _times(y, slice(-4, None), 1.3), 1.3, events=_event("launch", 4, None)),
            None,
            "clean",
        ),
    }
    clean = cases["clean"][0]
    return [
        Figure(
            f"forecast_prepare/{name}/mase_ratio",
            value / (untreated if against == "untreated" else clean),
            "ratio",
            "lower",
            target,
            f"{against} series",
        )
        for name, (value, target, against) in cases.items()
    ]


def _times(y: Floats, months: slice, factor: float) -> None:
    y[months] *= factor


def _event(kind: str, ago: int, factor: float | None) -> pl.DataFrame:
    first = add_months(LAST, 1 - ago)
    return pl.DataFrame(
        [(None, first, None, kind, factor, kind)],
        schema={
            "unique_id": pl.String,
            "first": pl.Date,
            "last": pl.Date,
            "kind": pl.String,
            "factor": pl.Float64,
            "name": pl.String,
        },
        orient="row",
    )


def _panel(rates: dict[str, Floats]) -> pl.DataFrame:
    months = [add_months(LAST, i - MONTHS + 1) for i in range(MONTHS)]
    days = np.array([days_in_month(month) for month in months])
    return pl.concat(
        pl.DataFrame({"unique_id": uid, "ds": months, "y": y * days}) for uid, y in rates.items()
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--take", type=int, default=4, help="use each n-th series (default 4)")
    args = parser.parse_args()
    found = figures(args.take)
    if not found:
        print("skipped: the data is not there")
        return 0
    report(found, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
