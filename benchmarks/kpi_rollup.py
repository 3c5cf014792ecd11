"""Telemetry rolled up: a month of calls with exact percentiles, GPU samples to GPU-hours, KPIs of twelve months.

Calls: `finops_lab.unit_economics.requests` a day at a time (sums of calls by status, tokens, errors,
cost; exact P50, P95, P99 of latency and P95 of time to first token) against one statement of DuckDB
with `quantile_disc`, and against polars reading the same columns and no more. Buckets that merge are
told apart: DuckDB has none. GPU samples: utilization by GPU, kind and hour, times in whole
microseconds so that sums are exact; of DuckDB's ways to cut an hour, dividing microseconds took a
quarter of the CPU of `date_trunc`. No two samples may share a moment: finops_lab makes sure of that
whatever the interval, DuckDB by a bit for each minute, which is enough for these samples and a fifth
of the CPU of counting distinct moments. Both write the same columns in the same order with the same
compression, and must be equal to the last digit. "sums alone" is DuckDB without that check and order,
for comparison. `--rows 100000000 --days 92` is the large run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import _form
import numpy as np
import polars as pl
from _form import Figure, Run

from finops_lab.samples import generate

# Targets: at most 4 x reading, at least 0.75 x DuckDB's speed, 700 MB, 2 s for the table of KPIs. The aim
# is DuckDB's own speed.
OF_READING, OF_DUCKDB, MOST_MB, TABLE_S = 4.0, 1 / 0.75, 700.0, 2.0
FIRST = 20_667  # 2026-08-02, in days since 1970
TEAMS, FEATURES, MODELS, SAMPLES_A_DAY = 20, 60, 8, 1_440
EXACT = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "ttft_p95_ms")
GPU_COLUMNS = ("ts", "interval_s", "gpu_uuid", "util_kind", "util")
SUMMED = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def _place(folder: Path, number: int) -> Path:
    day = pl.Series([FIRST + number], dtype=pl.Int32).cast(pl.Date)[0]
    place = folder / f"day={day}"
    place.mkdir(parents=True)
    return place / "0.parquet"


def _null(dtype: pl.DataType | type[pl.DataType], rows: int) -> pl.Series:
    return pl.Series([None], dtype=dtype).new_from_index(0, rows)


def make_requests(folder: Path, rows: int, days: int) -> None:
    """Write calls by seed: teams, features and models of unequal size, some keys that never vary."""
    for number in range(days):
        rng = np.random.default_rng([3, number])
        n = rows // days + (number < rows % days)
        team = (TEAMS * rng.random(n) ** 2).astype(np.int64)
        feature = team * (FEATURES // TEAMS) + rng.integers(0, FEATURES // TEAMS, n)
        model = (MODELS * rng.random(n) ** 2).astype(np.int64)
        started = np.sort(rng.integers(0, 86_400_000_000, n)) + (FIRST + number) * 86_400_000_000
        constant = {"environment": "production", "operation": "chat", "service_tier": "standard"}
        pl.DataFrame(
            {
                "ts_start": pl.Series(started).cast(pl.Datetime("us", "UTC")),
                "team": pl.Series([*(f"team-{t:02d}" for t in range(TEAMS - 1)), None]).gather(team),
                "model": pl.Series([f"model-{m}" for m in range(MODELS)]).gather(model),
                "variant": pl.Series(["control", None, "int8"]).gather(rng.integers(0, 3, n)),
                "feature": pl.Series([f"feature-{f:02d}" for f in range(FEATURES)]).gather(feature),
                "customer": _null(pl.String, n),
                "region": pl.Series(["eu-west-1", "us-east-1", "us-west-2"]).gather(rng.integers(0, 3, n)),
                "provider": pl.Series(["openai", "anthropic", "vllm", "bedrock"]).gather(model // 2),
                "hosting": pl.Series(["api", "api", "self_hosted", "api"]).gather(model // 2),
                "pool_id": pl.Series([None, None, "pool-a", None]).gather(model // 2),
                **{name: pl.Series([text]).new_from_index(0, n) for name, text in constant.items()},
                "n_requests": np.ones(n, dtype=np.int64),
                "sample_weight": np.ones(n),
                "input_uncached_tokens": rng.integers(1, 4_000, n),
                "cache_read_tokens": rng.integers(0, 2, n) * rng.integers(0, 3_000, n),
                "cache_write_tokens": np.zeros(n, dtype=np.int64),
                "output_tokens": rng.integers(1, 800, n),
                "reasoning_tokens": _null(pl.Int64, n),
                "latency_ms": np.round(np.exp(rng.normal(6.5, 0.8, n)), 3),
                "ttft_ms": np.round(np.exp(rng.normal(5, 0.5, n)), 3),
                "status": pl.Series(["ok"] * 97 + ["error", "timeout", "cancelled"]).gather(
                    rng.integers(0, 100, n)
                ),
                "served_from_cache": rng.random(n) < 0.03,
                "is_retry": rng.random(n) < 0.01,
                "cost_reported_usd": rng.integers(1, 10**9, n),
            }
        ).with_columns(
            (pl.col("cost_reported_usd").cast(pl.Int128) * 10**8).reinterpret(dtype=pl.Decimal(38, 18))
        ).write_parquet(_place(folder, number))


def make_samples(folder: Path, rows: int) -> int:
    """Write a sample a minute of some GPUs, as an exporter is scraped; return the number of rows."""
    gpus = max(2, min(800, rows // SAMPLES_A_DAY))
    days = max(1, round(rows / gpus / SAMPLES_A_DAY))
    rng = np.random.default_rng(5)
    ids = pl.Series([f"GPU-{rng.integers(0, 2**32):08x}-4b1e-4d10-9d10-{g:012x}" for g in range(gpus)])
    minutes, gpu = np.repeat(np.arange(SAMPLES_A_DAY), gpus), np.tile(np.arange(gpus), SAMPLES_A_DAY)
    for number in range(days):
        n = gpu.size
        pl.DataFrame(
            {
                "ts": pl.Series(minutes * 60_000_000 + (FIRST + number) * 86_400_000_000).cast(
                    pl.Datetime("us", "UTC")
                ),
                "interval_s": np.full(n, 60.0),
                "gpu_uuid": ids.gather(gpu),
                "gpu_model": pl.Series(["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"]).gather(gpu % 2),
                "pool_id": pl.Series([f"pool-{p:02d}" for p in range(12)]).gather(gpu % 12),
                "util_kind": pl.Series(["sm_active"]).new_from_index(0, n),
                "util": np.round(rng.random(n), 3),
                "allocated": rng.random(n) < 0.9,
            }
        ).write_parquet(_place(folder, number))
    return days * gpus * SAMPLES_A_DAY


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.parquet"))


def _requests(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, hive_partitioning=True, hive_schema={"day": pl.Date()})


def read_requests(data: Path, out: Path, answer: Path) -> None:
    """Read the columns of calls, day by day, and do nothing with them: the floor."""
    from finops_lab.unit_economics.schemas import REQUEST_KEYS

    more = (
        "day",
        "status",
        "n_requests",
        "sample_weight",
        "latency_ms",
        "ttft_ms",
        "served_from_cache",
        "is_retry",
    )
    names = [*REQUEST_KEYS, *SUMMED, *more, "cost_reported_usd"]

    def work() -> Mapping[str, Any]:
        return {
            "rows": sum(_requests(path).select(names).collect().height for path in _files(data / "requests"))
        }

    _form.timed(work, answer)


def our_requests(data: Path, out: Path, answer: Path) -> None:
    """Roll calls up as the library does; each day is written by itself, as a lab keeps them."""
    from finops_lab.unit_economics import requests

    def work() -> Mapping[str, Any]:
        groups = 0
        out.mkdir(exist_ok=True)
        for number, path in enumerate(_files(data / "requests")):
            days = requests.partial(_requests(path), buckets=False).days
            days.write_parquet(out / f"{number:03d}.parquet", compression="lz4")
            groups += days.height
        return {"groups": groups}

    _form.timed(work, answer)


def bucketed_requests(data: Path, out: Path, answer: Path) -> None:
    """Roll calls up with buckets that merge, and merge the days."""
    from finops_lab.unit_economics import histogram, requests

    def work() -> Mapping[str, Any]:
        kept = out.with_suffix("")
        kept.mkdir(exist_ok=True)
        for number, path in enumerate(_files(data / "requests")):
            part = requests.partial(_requests(path))
            part.days.write_parquet(kept / f"days-{number}.parquet", compression="lz4")
            part.histograms.write_parquet(kept / f"buckets-{number}.parquet", compression="lz4")
        histogram.merged([pl.scan_parquet(kept / "buckets-*.parquet")]).write_parquet(out)
        return {}

    _form.timed(work, answer)


def _duckdb(folder: Path) -> Any:
    import duckdb as db

    con = db.connect()
    con.sql("SET preserve_insertion_order = false")
    con.sql("SET TimeZone = 'UTC'")
    con.sql(f"SET temp_directory = '{folder}'")
    return con


def _copy(con: Any, query: str, out: Path, answer: Path) -> None:
    def work() -> Mapping[str, Any]:
        con.sql(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION lz4)")
        return {}

    _form.timed(work, answer)


def duckdb_requests(data: Path, out: Path, answer: Path) -> None:
    """Do the same in one statement of SQL."""
    from finops_lab.unit_economics.schemas import REQUEST_KEYS

    con = _duckdb(data)
    keys = ", ".join(("CAST(day AS DATE) AS day", *REQUEST_KEYS))
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in SUMMED)
    states = {
        "ok": "= 'ok'",
        "failed": "IN ('error', 'timeout')",
        "cancelled": "= 'cancelled'",
        "pending": "= 'pending'",
    }
    counts = ", ".join(f"count(*) FILTER (status {which}) AS calls_{name}" for name, which in states.items())
    unknown = " AND ".join(f"{name} IS NULL" for name in SUMMED[:4])
    query = f"""
SELECT {keys}, count(*) AS rows, count(*) FILTER ({unknown}) AS rows_without_tokens, {counts},
    count(*) FILTER (is_retry) AS calls_retried, count(is_retry) AS calls_retry_told,
    count(*) FILTER (served_from_cache AND status = 'ok') AS calls_cached,
    count(latency_ms) AS calls_timed, {sums},
    CAST(sum(CAST(round(latency_ms * 1000) AS BIGINT)) AS BIGINT) AS latency_us,
    sum(cost_reported_usd) AS cost_reported_usd,
    quantile_disc(latency_ms, [0.5, 0.95, 0.99]) FILTER (status = 'ok') AS latency,
    quantile_disc(ttft_ms, 0.95) FILTER (status = 'ok') AS ttft_p95_ms
FROM read_parquet('{data}/requests/*/*.parquet', hive_partitioning = true) GROUP BY ALL
ORDER BY {", ".join(("day", *REQUEST_KEYS))}
"""
    _copy(con, query, out, answer)


def read_samples(data: Path, out: Path, answer: Path) -> None:
    """Read the columns of samples and do nothing with them: the floor."""

    def work() -> Mapping[str, Any]:
        files = _files(data / "samples")
        return {"rows": sum(pl.scan_parquet(path).select(GPU_COLUMNS).collect().height for path in files)}

    _form.timed(work, answer)


def our_samples(data: Path, out: Path, answer: Path) -> None:
    """Add samples up by GPU and hour as the library does, a day at a time."""
    from finops_lab.unit_economics import gpus

    def work() -> Mapping[str, Any]:
        done = pl.concat([gpus.hours(pl.scan_parquet(path)) for path in _files(data / "samples")])
        done.write_parquet(out, compression="lz4")
        return {"groups": done.height}

    _form.timed(work, answer)


def duckdb_samples(data: Path, out: Path, answer: Path) -> None:
    """Do the same in one statement of SQL."""
    seen = "bit_count(bit_or(1::BIGINT << ((epoch_us(ts) // 60000000) % 60)::INTEGER)) AS minutes"
    _hours(data, out, answer, f", {seen}", "ORDER BY hour, gpu_uuid, util_kind")


def duckdb_sums(data: Path, out: Path, answer: Path) -> None:
    """Add the same up without a look at shared moments, in any order."""
    _hours(data, out, answer, "", "")


def _hours(data: Path, out: Path, answer: Path, more: str, order: str) -> None:
    con = _duckdb(data)
    query = f"""
SELECT epoch_us(ts) // 3600000000 AS hour, gpu_uuid, util_kind, count(*) AS rows,
    CAST(sum(CASE WHEN util IS NOT NULL THEN CAST(round(interval_s * 1e6) AS BIGINT) ELSE 0 END) AS BIGINT)
        AS sampled_us,
    CAST(sum(CAST(round(util * (interval_s * 1e6)) AS BIGINT)) AS BIGINT) AS busy_us{more}
FROM read_parquet('{data}/samples/*/*.parquet', hive_partitioning = false) GROUP BY ALL {order}
"""
    _copy(con, query, out, answer)


def our_table(data: Path, out: Path, answer: Path) -> None:
    """Work all KPIs of twelve months out, whole and by dimension, from what is already rolled up.

    The lab is the sample lab with all its tables; its calls are as many as were made, twelve times.
    """
    import finops_lab as fl
    from finops_lab.valuing import DEFINITIONS, figures
    from finops_lab.valuing.frames import Frames

    class Rolled(Frames):
        @cached_property
        def requests(self) -> pl.DataFrame:  # type: ignore[override]
            return pl.read_parquet(data / "months.parquet")

    lab = fl.open_lab(data / "lab", progress=False)

    def work() -> Mapping[str, Any]:
        done = figures(Rolled(lab, date(2025, 11, 1), date(2026, 10, 1)))
        done.write_parquet(out)
        return {"figures": done.height, "measures": len(DEFINITIONS)}

    work()  # imports, and whatever of the lab is not rolled up yet
    _form.timed(work, answer)


CASES = {
    "reading calls": read_requests,
    "calls": our_requests,
    "calls and buckets": bucketed_requests,
    "calls, DuckDB": duckdb_requests,
    "reading samples": read_samples,
    "samples": our_samples,
    "samples, DuckDB": duckdb_samples,
    "sums alone, DuckDB": duckdb_sums,
    "table": our_table,
}


def same_requests(mine: Path, theirs: Path) -> None:
    """Refuse roll-ups of calls that differ in any digit."""
    from finops_lab.unit_economics.schemas import COUNTED, REQUEST_DAYS, REQUEST_KEYS, VARIANCES

    peer = pl.read_parquet(theirs)
    thousandths = pl.col("latency_us").cast(pl.Int128).reinterpret(dtype=COUNTED)
    peer = peer.with_columns(
        pl.col("rows").alias("calls"),
        thousandths.alias("latency_ms"),
        *(pl.col("latency").list.get(place).alias(name) for place, name in enumerate(EXACT[:3])),
    )
    keys = ["day", *REQUEST_KEYS]
    # Every call of this log has its row: nothing is off by chance, and DuckDB is not asked.
    peer = peer.with_columns(pl.lit(0).alias(name) for name in VARIANCES)
    peer = peer.select(pl.col(name).cast(kind) for name, kind in REQUEST_DAYS.items()).sort(
        keys, nulls_last=True
    )
    own = pl.read_parquet(mine / "*.parquet")
    if not own.equals(peer):
        wrong = [name for name in own.columns if not own[name].equals(peer[name])]
        raise SystemExit(f"roll-ups of calls differ from DuckDB's in {', '.join(wrong)}")


def same_samples(mine: Path, theirs: Path) -> None:
    """Refuse GPU-hours that differ."""
    keys = ["hour", "gpu_uuid", "util_kind"]
    own = pl.read_parquet(mine).with_columns(pl.col("hour").to_physical() // 3_600_000_000)
    own = own.select(
        *keys, "rows", *(pl.col(n).to_physical().cast(pl.Int64) for n in ("sampled_s", "busy_s"))
    )
    peer = pl.read_parquet(theirs).select(
        *keys,
        "rows",
        ((pl.col("sampled_us") + 500) // 1000).alias("sampled_s"),
        ((pl.col("busy_us") + 500) // 1000).alias("busy_s"),
    )
    if not own.sort(keys).equals(peer.sort(keys)):
        raise SystemExit("GPU-hours differ from DuckDB's")
    if not pl.read_parquet(theirs).select((pl.col("minutes") == pl.col("rows")).all()).item():
        raise SystemExit("DuckDB found two samples in a minute")


def write_months(days: Path, out: Path) -> None:
    """Write twelve months of roll-ups, each like the one that was made."""
    from finops_lab.unit_economics import requests

    month = requests.months(pl.scan_parquet(days / "*.parquet")).collect()
    month = month.filter(pl.col("month") == month["month"].min())
    last = pl.lit(date(2026, 10, 1))
    pl.concat(
        [month.with_columns(last.dt.offset_by(f"-{n}mo").alias("month")) for n in range(12)]
    ).write_parquet(out)


def main() -> int:
    """Make calls and samples, run the cases in turn, compare the results, report."""
    parser = _form.arguments(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=10_000_000, help="calls (default 10,000,000)")
    parser.add_argument("--days", type=int, default=31, help="days they are of (default 31)")
    parser.add_argument("--samples", type=int, default=10_000_000, help="GPU samples (default 10,000,000)")
    parser.add_argument("--no-table", action="store_true", help="leave the table of KPIs out")
    parser.add_argument("--case", choices=CASES, help="run one case on --data (used by the script itself)")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.data, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-kpi-rollup-") as name:
        folder = Path(name)
        make_requests(folder / "requests", args.rows, min(args.days, args.rows))
        samples = make_samples(folder / "samples", args.samples)
        results = {case: folder / f"{number}.parquet" for number, case in enumerate(CASES)}

        def run(case: str) -> Run:
            return _form.case(__file__, "--case", case, "--data", name, "--out", str(results[case]))

        def runs_of(*cases: str) -> dict[str, list[Run]]:
            return _form.interleaved({case: lambda case=case: run(case) for case in cases}, args.rounds)

        calls = runs_of("reading calls", "calls", "calls and buckets", "calls, DuckDB")
        same_requests(results["calls"], results["calls, DuckDB"])
        gpus = runs_of("reading samples", "samples", "samples, DuckDB", "sums alone, DuckDB")
        same_samples(results["samples"], results["samples, DuckDB"])
        tables = {}
        if not args.no_table:
            write_months(results["calls"], folder / "months.parquet")
            generate(folder / "lab", seed=1)
            tables = runs_of("table")
    floor, mine, bucketed, peer = (_form.middle(several) for several in calls.values())
    gpu_floor, gpu, gpu_peer, gpu_sums = (_form.middle(several) for several in gpus.values())
    _form.print_runs(f"{args.rows:,} calls to {mine.said['groups']:,} groups of a day", calls, args.rows)
    _form.print_runs(f"{samples:,} GPU samples to {gpu.said['groups']:,} GPU-hours", gpus, samples)
    last = []
    if tables:
        table = _form.middle(tables["table"])
        _form.print_runs(f"{table.said['figures']:,} figures of 12 months", tables)
        last.append(Figure("kpi_rollup/table", table.wall, "s", "lower", TABLE_S))
    _form.report(
        [
            Figure(
                "kpi_rollup/calls_cpu_of_reading",
                mine.cpu / floor.cpu,
                "ratio of CPU",
                "lower",
                OF_READING,
                "reading",
            ),
            Figure(
                "kpi_rollup/calls_cpu_of_duckdb",
                mine.cpu / peer.cpu,
                "ratio of CPU",
                "lower",
                OF_DUCKDB,
                "DuckDB",
            ),
            Figure("kpi_rollup/calls_peak_memory", mine.peak_mb, "MB", "lower", MOST_MB),
            Figure("kpi_rollup/calls_per_second", args.rows / mine.wall, "rows/s", "higher"),
            Figure(
                "kpi_rollup/buckets_cpu_more",
                bucketed.cpu / mine.cpu,
                "ratio of CPU",
                "lower",
                None,
                "without",
            ),
            Figure("kpi_rollup/buckets_peak_memory", bucketed.peak_mb, "MB", "lower", MOST_MB),
            Figure(
                "kpi_rollup/gpu_cpu_of_reading",
                gpu.cpu / gpu_floor.cpu,
                "ratio of CPU",
                "lower",
                OF_READING,
                "reading",
            ),
            Figure(
                "kpi_rollup/gpu_cpu_of_duckdb",
                gpu.cpu / gpu_peer.cpu,
                "ratio of CPU",
                "lower",
                OF_DUCKDB,
                "DuckDB",
            ),
            Figure(
                "kpi_rollup/gpu_cpu_of_duckdb_sums_alone",
                gpu.cpu / gpu_sums.cpu,
                "ratio of CPU",
                "lower",
                None,
                "DuckDB",
            ),
            Figure("kpi_rollup/gpu_peak_memory", gpu.peak_mb, "MB", "lower"),
            Figure("kpi_rollup/gpu_samples_per_second", samples / gpu.wall, "rows/s", "higher"),
            *last,
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
