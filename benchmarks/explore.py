"""The explorer's queries over a ledger kept as one Parquet file a month: asked, never loaded.

What a change of a control costs: `spend` of a month compared with the one before, `spend` of all
months with two filters, `over_time` of all months, and `behind`, the hundred largest entries of a
line. DuckDB answers the same from the same files; all answers must be equal to the last digit.
Every query runs in a process of its own, which has asked the first month once before: imports,
threads and the footer of a file are there when a user moves a control.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import _form
import numpy as np
import polars as pl
from _form import Figure, Run

# Targets: smooth at 10 M rows, at least 0.9 x DuckDB's speed; it queries, it does not load.
WALL_S, OF_DUCKDB, MOST_MB = 1.0, 1 / 0.9, 1_500.0
MONTHS = [f"{2025 + (n + 10) // 12}-{(n + 10) % 12 + 1:02}" for n in range(12)]
QUERIES = ("month", "filtered", "trend", "behind")
TEAMS, FEATURES, MODELS, SERVICES = 40, 300, 25, 12


def make(folder: Path, rows: int) -> None:
    """Write a ledger by seed: teams, models and services of unequal size, some dimensions unknown."""
    from finops_lab import contracts
    from finops_lab.contracts import AMOUNTS

    schema = contracts.dtypes("ledger")
    for number, month in enumerate(MONTHS):
        rng = np.random.default_rng([7, number])
        n = rows // len(MONTHS) + (number < rows % len(MONTHS))
        team = (TEAMS * rng.random(n) ** 2).astype(np.int64)
        model = (MODELS * rng.random(n) ** 2).astype(np.int64)
        feature = team * (FEATURES // TEAMS) + rng.integers(0, FEATURES // TEAMS, n)
        service = (SERVICES * rng.random(n) ** 2).astype(np.int64)
        provider = pl.Series(["AWS", "Google Cloud", "Azure", "OpenAI"]).gather(service % 4)
        amount = pl.Series(np.round(rng.lognormal(1, 2, n) * 10**9).astype(np.int64) - 2 * 10**8)
        whole = amount.to_frame("a").select(pl.col("a").cast(pl.Int128) * 10**9).to_series()
        money = whole.reinterpret(dtype=pl.Decimal(38, 18))
        frame = pl.DataFrame(
            {
                "x_BillingMonth": month,
                "x_ChargeMonth": month,
                "x_ChargeDate": pl.Series(np.sort(rng.integers(1, 29, n))).cast(pl.String).str.zfill(2),
                "BillingCurrency": "USD",
                "ProviderName": provider,
                "ServiceCategory": "AI and Machine Learning",
                "ServiceName": pl.Series([f"Service {s:02}" for s in range(SERVICES)]).gather(service),
                "ChargeCategory": pl.Series(["Usage"] * 19 + ["Credit"]).gather(rng.integers(0, 20, n)),
                "x_team": pl.Series([*(f"team-{t:02}" for t in range(TEAMS - 1)), "unallocated"]).gather(
                    team
                ),
                "x_product": pl.Series([f"product-{t:02}" for t in range(TEAMS)]).gather(team),
                "x_model": pl.Series([*(f"model-{m:02}" for m in range(MODELS - 1)), None]).gather(model),
                "x_feature": pl.Series([f"feature-{f:03}" for f in range(FEATURES)]).gather(feature),
                "x_environment": pl.Series(["prod", "prod", "prod", "dev", None]).gather(
                    rng.integers(0, 5, n)
                ),
                "x_region": pl.Series(["us", "eu", None]).gather(rng.integers(0, 3, n)),
                "x_AllocationMethod": pl.Series(["tag", "tag", "rule"]).gather(rng.integers(0, 3, n)),
                "x_AllocationRule": "team tag",
                "x_Rows": rng.integers(1, 5, n),
                **dict.fromkeys(AMOUNTS, money),
            }
        ).with_columns((pl.lit(f"{month}-") + pl.col("x_ChargeDate")).str.to_date("%Y-%m-%d"))
        unknown = [pl.lit(None, dtype=t).alias(n) for n, t in schema.items() if n not in frame.columns]
        place = folder / month / "entries.parquet"
        place.parent.mkdir(parents=True)
        # As bookkeeping keeps them.
        frame.with_columns(unknown).select(list(schema)).write_parquet(place, compression="lz4")


def _view(query: str) -> Any:
    from finops_lab.exploring import View

    if query == "month":
        return View(MONTHS[-1], MONTHS[-1], by="team", against=(MONTHS[-2], MONTHS[-2]))
    if query == "filtered":
        wanted = {"model": ("model-01", "model-07", None), "provider": ("AWS", "Azure")}
        return View(MONTHS[0], MONTHS[-1], by="feature", where=wanted)
    return View(MONTHS[0], MONTHS[-1], by="model")


def _texts(row: tuple[Any, ...]) -> list[str]:
    return [f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) for value in row]


def ours(folder: Path, query: str, answer: Path) -> None:
    """Ask as the explorer does."""
    from finops_lab.exploring import behind, over_time, spend

    entries = pl.scan_parquet(sorted(folder.glob("*/entries.parquet")))
    spend(pl.scan_parquet(folder / MONTHS[0] / "entries.parquet"), _view("trend"))
    view = _view(query)
    ask: Mapping[str, Callable[[], pl.DataFrame]] = {
        "month": lambda: spend(entries, view).select("x_team", "amount", "before", "rows"),
        "filtered": lambda: spend(entries, view).select("x_feature", "amount", "rows"),
        "trend": lambda: over_time(entries, view).select(pl.col("month").cast(pl.String), "group", "amount"),
        "behind": lambda: behind(entries, view, "model-03", 100).select(
            "EffectiveCost", pl.col("x_ChargeDate").cast(pl.String), "x_team", "x_feature"
        ),
    }
    _form.timed(lambda: {"rows": [_texts(row) for row in ask[query]().rows()]}, answer)


def duckdb(folder: Path, query: str, answer: Path) -> None:
    """Ask DuckDB the same in one statement each, currencies counted too."""
    import duckdb as db

    con = db.connect()
    ledger = f"read_parquet({[str(p) for p in sorted(folder.glob('*/entries.parquet'))]})"
    con.sql(
        f"SELECT x_model, sum(EffectiveCost) FROM '{folder / MONTHS[0] / 'entries.parquet'}' GROUP BY ALL"
    ).fetchall()
    keys = "EffectiveCost, x_ChargeDate, x_team, x_feature"
    one = "count(DISTINCT BillingCurrency)"
    now, then = (f"x_ChargeMonth = '{month}'" for month in (MONTHS[-1], MONTHS[-2]))
    ask = {
        "month": f"""SELECT x_team, coalesce(sum(EffectiveCost) FILTER ({now}), 0),
            coalesce(sum(EffectiveCost) FILTER ({then}), 0), coalesce(sum(x_Rows) FILTER ({now}), 0), {one}
            FROM {ledger} WHERE {now} OR {then} GROUP BY x_team ORDER BY 2 DESC, 1""",
        "filtered": f"""SELECT x_feature, sum(EffectiveCost), sum(x_Rows), {one} FROM {ledger}
            WHERE (x_model IN ('model-01', 'model-07') OR x_model IS NULL) AND ProviderName IN ('AWS', 'Azure')
            GROUP BY x_feature ORDER BY 2 DESC, 1""",
        "trend": f"""SELECT x_ChargeMonth || '-01', coalesce(x_model, '(unknown)'), sum(EffectiveCost), {one}
            FROM {ledger} GROUP BY 1, 2 ORDER BY 1, 2""",
        "behind": f"""SELECT {keys}, * EXCLUDE ({keys}, BilledCost, ListCost, ContractedCost), 1 FROM {ledger}
            WHERE x_model = 'model-03' ORDER BY abs(EffectiveCost) DESC, x_ChargeDate, x_team, x_feature LIMIT 100""",
    }

    def work() -> Mapping[str, Any]:
        rows = con.sql(ask[query]).fetchall()
        assert {row[-1] for row in rows} == {1}
        return {"rows": [_texts(row[: 4 if query == "behind" else -1]) for row in rows]}

    _form.timed(work, answer)


def main() -> int:
    parser = _form.arguments(__doc__, rows=10_000_000, rounds=3)
    parser.add_argument("--folder", type=Path, help="keep the ledger here, and use it where it is")
    parser.add_argument("--case", nargs=2, help="one case: who and which query (used by itself)")
    parser.add_argument("--answer", type=Path, help="where a case writes its answer")
    args = parser.parse_args()
    if args.case:
        who, query = args.case
        {"ours": ours, "DuckDB": duckdb}[who](args.folder, query, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = args.folder or Path(made) / "ledger"
        if not folder.exists():
            make(folder, args.rows)
        figures: list[Figure] = []
        for query in QUERIES:
            figures += _compare(folder, query, args.rounds)
        _form.report(figures, args.json)
    return 0


def _compare(folder: Path, query: str, rounds: int) -> list[Figure]:
    def run(who: str) -> Callable[[], Run]:
        return lambda: _form.case(__file__, "--folder", str(folder), "--case", who, query)

    runs = _form.interleaved({"finops_lab": run("ours"), "DuckDB": run("DuckDB")}, rounds)
    mine, peer = (_form.middle(several) for several in runs.values())
    if mine.said["rows"] != peer.said["rows"]:
        raise SystemExit(f"{query}: the answers differ\n{json.dumps([mine.said, peer.said])[:2_000]}")
    told = {name: [Run(r.cpu, r.wall, r.peak_mb) for r in several] for name, several in runs.items()}
    _form.print_runs(f"{query}: {len(mine.said['rows']):,} lines", told)
    name = f"explore/{query}"
    return [
        Figure(f"{name}_cpu_of_duckdb", mine.cpu / peer.cpu, "ratio of CPU", "lower", OF_DUCKDB, "DuckDB"),
        Figure(f"{name}_wall", mine.wall, "s", "lower"),
        Figure(f"{name}_peak_memory", mine.peak_mb, "MB", "lower", MOST_MB),
    ]


if __name__ == "__main__":
    sys.exit(main())
