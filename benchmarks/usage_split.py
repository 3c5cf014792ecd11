"""A shared gateway divided by metered use: finops_lab's `allocate` against the same job in DuckDB.

Hourly bill rows of one gateway (per model, token direction and resource) are divided among teams,
features and customers by the tokens of 50 times as many requests, which lie in Parquet by day.
finops_lab divides to the last of 18 decimals and proves it; DuckDB multiplies floats. Both must
have the same entries, and every team's amount must agree to a millionth. What the rows of one model
cost, which no request names, stays dark.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import _form
import numpy as np
import polars as pl
from _form import Figure, Run

# Target: 8 GB.
MOST_MB = 8 * 1024
CLOSE = 1e-6
REQUESTS_PER_ROW = 50
RESOURCES = 75
MODELS = ("larch-7b", "larch-70b", "alder-13b", "quill-small", "quill-large", "quill-legacy")
DIRECTIONS = (("Input", None), ("Input", "Read"), ("Output", None))
PER_HOUR = RESOURCES * len(MODELS) * len(DIRECTIONS)
TEAMS, FEATURES, CUSTOMERS = 8, 24, 100
USERS = ("team", "feature", "customer", "model", "variant", "environment")
FIRST = datetime(2026, 8, 1, tzinfo=UTC)
KEYS = ("x_ChargeDate", "x_AllocationMethod", *(f"x_{name}" for name in USERS))


def make(folder: Path, rows: int) -> int:
    """Write the bill and, a day at a time, the requests; return how many requests there are."""
    rng = np.random.default_rng(9)
    hours = max(1, round(rows / PER_HOUR))
    _bill(rng, hours).write_parquet(folder / "bill.parquet")
    every = 0
    for day in range(0, hours, 24):
        made = pl.concat(_hour(rng, n) for n in range(day, min(day + 24, hours)))
        place = folder / "requests" / f"day={FIRST + timedelta(hours=day):%Y-%m-%d}"
        place.mkdir(parents=True)
        made.write_parquet(place / "0.parquet")
        every += made.height
    return every


def _bill(rng: np.random.Generator, hours: int) -> pl.DataFrame:
    from finops_lab.contracts import AMOUNTS

    first, utc = pl.lit(FIRST).cast(pl.Datetime("us", "UTC")), pl.lit(None, dtype=pl.String)
    models = pl.DataFrame({"x_ModelId": MODELS})
    kinds = pl.DataFrame(DIRECTIONS, schema=["x_TokenDirection", "x_TokenCacheAction"], orient="row")
    rows = pl.DataFrame({"hour": np.arange(hours)}).join(models, how="cross").join(kinds, how="cross")
    rows = rows.join(pl.DataFrame({"resource": np.arange(RESOURCES)}), how="cross")
    units = pl.Series("units", rng.integers(1, 10**12, rows.height))  # of 1e-10 USD
    cost = units.cast(pl.Int128).reinterpret(dtype=pl.Decimal(38, 10)).cast(pl.Decimal(38, 18))
    return rows.select(
        *[cost.alias(name) for name in AMOUNTS],
        pl.lit("USD").alias("BillingCurrency"),
        (first + pl.duration(hours="hour")).alias("ChargePeriodStart"),
        (first + pl.duration(hours=pl.col("hour") + 1)).alias("ChargePeriodEnd"),
        pl.lit("Usage").alias("ChargeCategory"),
        utc.alias("ChargeClass"),
        utc.alias("CommitmentDiscountStatus"),
        pl.lit("TokenWorks").alias("ProviderName"),
        pl.lit("AI and Machine Learning").alias("ServiceCategory"),
        pl.lit("Model API").alias("ServiceName"),
        pl.lit("gateway").alias("SubAccountName"),
        pl.format("gateway-{}", "resource").alias("ResourceName"),
        "x_ModelId",
        "x_TokenDirection",
        "x_TokenCacheAction",
        pl.lit(f"{FIRST:%Y-%m}").alias("x_BillingMonth"),
        utc.alias("x_tag_team"),
    )


def _hour(rng: np.random.Generator, hour: int) -> pl.DataFrame:
    """Make the requests of an hour: a feature calls two models; few customers call most."""
    size = PER_HOUR * REQUESTS_PER_ROW
    feature = rng.integers(0, FEATURES, size)
    customer = (CUSTOMERS * rng.random(size) ** 3).astype(np.int64)
    model = (feature + rng.integers(0, 2, size)) % (len(MODELS) - 1)
    names = pl.Series([f"team-{n}" for n in range(TEAMS)])
    # One feature of 24 does not say whose it is.
    team = pl.Series(np.where(feature == 0, -1, feature % TEAMS))
    start = int((FIRST + timedelta(hours=hour)).timestamp() * 1e6)
    moments = start + np.sort(rng.integers(0, 3_600_000, size)) * 1000
    read = rng.integers(0, 2, size) * rng.integers(0, 3_000, size)
    return pl.DataFrame(
        {
            "ts_start": pl.Series(moments).cast(pl.Datetime("us", "UTC")),
            "team": names.gather(team.replace(-1, None)),
            "feature": pl.Series([f"feature-{n:02d}" for n in range(FEATURES)]).gather(feature),
            "customer": pl.Series([f"c-{n:03d}" for n in range(CUSTOMERS)]).gather(customer),
            "model": pl.Series(MODELS).gather(model),
            "variant": pl.Series(["control", "cached"]).gather(feature % 2),
            "environment": pl.Series(["prod", "prod", "prod", "staging"]).gather(feature % 4),
            "n_requests": np.ones(size, dtype=np.int64),
            "sample_weight": np.ones(size),
            "input_uncached_tokens": rng.integers(1, 4_000, size),
            "cache_read_tokens": read,
            "cache_write_tokens": np.zeros(size, dtype=np.int64),
            "output_tokens": rng.integers(1, 800, size),
            "latency_ms": rng.integers(100, 3_000, size).astype(np.float64),
            "prefill_ms": pl.Series([None], dtype=pl.Float64).new_from_index(0, size),
            "decode_ms": pl.Series([None], dtype=pl.Float64).new_from_index(0, size),
        }
    )


def ours(folder: Path, out: Path, answer: Path) -> None:
    """Allocate as the library does."""
    from finops_lab.allocation import allocate
    from finops_lab.config import Dimensions, Split

    dimensions = Dimensions.model_validate({"team": [{"name": "team tag", "tag": "team"}]})
    gateway = Split(name="gateway", where={"SubAccountName": "gateway"}, match={"x_ModelId": "model"})
    days = {"day": pl.Date()}

    def work() -> Mapping[str, Any]:
        requests = pl.scan_parquet(folder / "requests", hive_partitioning=True, hive_schema=days)
        bill = pl.scan_parquet(folder / "bill.parquet")
        done = allocate(bill, dimensions, splits=[gateway], requests=requests)
        done.entries.write_parquet(out)
        return {"entries": done.entries.height}

    _form.timed(work, answer)


def duckdb(folder: Path, out: Path, answer: Path) -> None:
    """Do the same in plain SQL."""
    import duckdb as db

    from finops_lab.contracts import AMOUNTS

    con = db.connect()
    con.sql("SET preserve_insertion_order = false")
    con.sql("SET TimeZone = 'UTC'")
    con.sql(f"SET temp_directory = '{folder}'")
    users = ", ".join(USERS)
    sums = ", ".join(f"CAST(sum({name}) AS DOUBLE) AS {name}" for name in AMOUNTS)
    shares = ", ".join(f"{name} * coalesce(weight / whole, 1) AS {name}" for name in AMOUNTS)
    total = ", ".join(f"sum({name}) AS {name}" for name in AMOUNTS)
    query = f"""
WITH bill AS (
    SELECT ChargePeriodStart AS hour, x_ModelId AS bill_model, x_TokenDirection, x_TokenCacheAction,
        {sums}, count(*) AS n
    FROM '{folder}/bill.parquet' GROUP BY ALL
),
used AS (
    SELECT date_trunc('hour', ts_start) AS hour, {users},
        sum(sample_weight * (input_uncached_tokens + cache_write_tokens)) AS input,
        sum(sample_weight * cache_read_tokens) AS cached, sum(sample_weight * output_tokens) AS output
    FROM '{folder}/requests/*/*.parquet' GROUP BY ALL
),
parts AS (
    SELECT bill.*, {users}, CASE WHEN x_TokenDirection = 'Output' THEN output
        WHEN x_TokenCacheAction = 'Read' THEN cached ELSE input END AS weight
    FROM bill LEFT JOIN used ON bill.hour = used.hour AND bill.bill_model = used.model
),
shares AS (
    SELECT *, sum(weight) OVER (PARTITION BY hour, bill_model, x_TokenDirection, x_TokenCacheAction) AS whole
    FROM parts WHERE weight IS NULL OR weight > 0
),
divided AS (
    SELECT CAST(hour AS DATE) AS x_ChargeDate,
        CASE WHEN weight IS NULL THEN 'dark' WHEN team IS NULL THEN 'unallocated' ELSE 'telemetry' END
            AS x_AllocationMethod,
        coalesce(team, 'unallocated') AS x_team, feature AS x_feature, customer AS x_customer,
        model AS x_model, variant AS x_variant, environment AS x_environment, {shares}
    FROM shares
)
SELECT {", ".join(KEYS)}, {total} FROM divided GROUP BY ALL ORDER BY ALL
"""

    def work() -> Mapping[str, Any]:
        con.sql(f"COPY ({query}) TO '{out}' (FORMAT parquet)")
        return {}

    _form.timed(work, answer)


CASES = {"finops_lab": ours, "DuckDB": duckdb}


def same(folder: Path, mine: Path, theirs: Path) -> None:
    """Refuse a ledger that misses some of the bill, or results that differ."""
    from finops_lab.contracts import AMOUNTS

    bill = pl.scan_parquet(folder / "bill.parquet").select(pl.col(AMOUNTS).sum()).collect()
    if not bill.equals(pl.scan_parquet(mine).select(pl.col(AMOUNTS).sum()).collect()):
        raise SystemExit("the ledger does not add up to the bill")
    keys = [name for name in KEYS if name not in ("x_customer", "x_ChargeDate")]

    def sums(path: Path) -> pl.DataFrame:
        amounts = [pl.col(name).cast(pl.Float64).sum() for name in AMOUNTS]
        return pl.scan_parquet(path).group_by(keys).agg(pl.len(), *amounts).collect()

    both = sums(mine).join(sums(theirs), on=keys, how="full", nulls_equal=True, suffix="_peer")
    far = [(pl.col(n) - pl.col(f"{n}_peer")).abs() > CLOSE * pl.col(n).abs() for n in AMOUNTS]
    far.append(pl.col("len").ne_missing(pl.col("len_peer")))
    if (wrong := both.filter(pl.any_horizontal(far).fill_null(True))).height:
        raise SystemExit(f"{wrong.height} of {both.height} sums differ from DuckDB's:\n{wrong.head(5)}")


def main() -> int:
    """Make bill and requests, run the cases in turn, compare the results, report."""
    parser = _form.arguments(__doc__, rows=100_000, rounds=2)
    parser.add_argument("--case", choices=CASES, help="run one case on --data (used by the script itself)")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.data, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-usage-split-") as name:
        folder = Path(name)
        requests = make(folder, args.rows)
        rows = requests // REQUESTS_PER_ROW
        results = {case: folder / f"{number}.parquet" for number, case in enumerate(CASES)}

        def run(case: str) -> Run:
            return _form.case(__file__, "--case", case, "--data", name, "--out", str(results[case]))

        runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
        same(folder, results["finops_lab"], results["DuckDB"])
    mine, peer = (_form.middle(runs[case]) for case in CASES)
    entries = mine.said["entries"]
    title = f"{rows:,} bill rows divided by {requests:,} requests into {entries:,} entries"
    _form.print_runs(title, runs, requests)
    _form.report(
        [
            Figure("usage_split/peak_memory", mine.peak_mb, "MB", "lower", MOST_MB),
            Figure("usage_split/cpu_of_duckdb", mine.cpu / peer.cpu, "ratio of CPU", "lower", None, "DuckDB"),
            Figure("usage_split/cpu", mine.cpu, "CPU s", "lower"),
            Figure("usage_split/wall", mine.wall, "s", "lower"),
            Figure("usage_split/requests_per_second", requests / mine.wall, "requests/s", "higher"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
