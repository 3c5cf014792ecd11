"""Pools divided among their consumers: finops_lab's `split_amounts` against DuckDB's windows.

Usage rows are added up per pool (a GPU's day) and consumer, and each pool's cost is divided by
largest remainder over all 18 decimals, ties to the first consumer by name. DuckDB does the same
in one statement of window functions over HUGEINT; its products stay below 2^127 only since no pool
here costs more than 1,000. A second DuckDB case divides whole cents. The shares of 18 decimals
must be equal, one by one, and every pool must add up to its cost in all three.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _form
import numpy as np
import polars as pl
from _form import Figure, Run

# Target: at least 1.2 x DuckDB's speed.
OF_DUCKDB = 1 / 1.2
GPUS, DAYS, CONSUMERS = 200, 92, 400
POOL = ("gpu", "day")
SPLIT = """
CREATE TEMP TABLE shares AS
WITH used AS (SELECT gpu, day, consumer, CAST(sum(gpu_us) AS HUGEINT) AS w FROM '{usage}' GROUP BY ALL),
weighed AS (
    SELECT gpu, day, consumer, w, CAST(p.{units} AS HUGEINT) AS a,
        CAST(sum(w) OVER (PARTITION BY gpu, day) AS HUGEINT) AS t
    FROM used JOIN '{pools}' AS p USING (gpu, day)
),
floors AS (SELECT gpu, day, consumer, a, a * w // t AS part, a * w % t AS rest FROM weighed),
placed AS (
    SELECT gpu, day, consumer, part, a - sum(part) OVER (PARTITION BY gpu, day) AS remaining,
        row_number() OVER (PARTITION BY gpu, day ORDER BY rest DESC, consumer) AS place
    FROM floors
)
SELECT gpu, day, consumer, CAST(part + CAST(place <= remaining AS HUGEINT) AS DECIMAL(38,0)) AS units FROM placed
"""


def make(folder: Path, rows: int) -> None:
    """Write use of GPUs by consumers of unequal size, and what each GPU's day cost, by seed."""
    rng = np.random.default_rng(5)
    gpus = pl.Series("gpu", [f"gpu-{n:03d}" for n in range(GPUS)])
    names = pl.Series([f"team-{n % 40:02d}/job-{n:03d}" for n in range(CONSUMERS)])
    used = np.sort(rng.integers(0, DAYS, rows)).astype(np.int32)
    pl.DataFrame(
        {
            "gpu": gpus.gather(rng.integers(0, GPUS, rows)),
            "day": pl.Series(used).cast(pl.Date),
            "consumer": names.gather((CONSUMERS * rng.random(rows) ** 2).astype(np.int64)),
            "gpu_us": rng.integers(1, 200_000_000, rows),
        }
    ).write_parquet(folder / "usage.parquet")
    days = pl.DataFrame({"day": pl.Series(np.arange(DAYS, dtype=np.int32)).cast(pl.Date)})
    pools = gpus.to_frame().join(days, how="cross")
    cents = pl.Series("cents", rng.integers(1, 100_000, pools.height))
    # A cost with all 18 decimals: 1e-18 is an Int64 below 9.2 only.
    fine = pl.Series("fine", rng.integers(0, 10**16, pools.height))
    units = pl.col("cents").cast(pl.Int128) * 10**16 + pl.col("fine").cast(pl.Int128)
    pools.with_columns(cents, fine).select(
        *POOL,
        "cents",
        units.reinterpret(dtype=pl.Decimal(38, 0)).alias("units"),
        units.reinterpret(dtype=pl.Decimal(38, 18)).alias("cost"),
    ).write_parquet(folder / "pools.parquet")


def ours(folder: Path, out: Path, answer: Path) -> None:
    """Add up the use, join the costs, split."""
    from finops_lab.allocation.splitting import split_amounts

    done: list[pl.DataFrame] = []

    def work() -> Mapping[str, Any]:
        usage = pl.scan_parquet(folder / "usage.parquet")
        used = usage.group_by(*POOL, "consumer").agg(pl.col("gpu_us").sum())
        pools = pl.scan_parquet(folder / "pools.parquet").select(*POOL, "cost")
        parts = used.join(pools, on=list(POOL)).collect()
        shares = split_amounts(parts.lazy(), POOL, weight="gpu_us", order=["consumer"], amounts=["cost"])
        done.append(shares.collect())
        return {"shares": done[0].height}

    _form.timed(work, answer)
    units = pl.col("cost").to_physical().reinterpret(dtype=pl.Decimal(38, 0)).alias("units")
    done[0].select(*POOL, "consumer", units).write_parquet(out)


def _duckdb(folder: Path, out: Path, answer: Path, units: str) -> None:
    import duckdb as db

    con = db.connect()
    con.sql("SET preserve_insertion_order = false")
    split = SPLIT.format(usage=folder / "usage.parquet", pools=folder / "pools.parquet", units=units)

    def work() -> Mapping[str, Any]:
        con.sql(split)
        return {}

    _form.timed(work, answer)
    con.sql(f"COPY shares TO '{out}' (FORMAT parquet)")


def exact(folder: Path, out: Path, answer: Path) -> None:
    """Divide units of 1e-18."""
    _duckdb(folder, out, answer, "units")


def cents(folder: Path, out: Path, answer: Path) -> None:
    """Divide whole cents."""
    _duckdb(folder, out, answer, "cents")


CASES = {"finops_lab": ours, "DuckDB": exact, "DuckDB, cents": cents}


def off(folder: Path, shares: Path, units: str) -> int:
    """Count the pools whose shares do not add up to their cost."""
    pools = pl.scan_parquet(folder / "pools.parquet").select(*POOL, pl.col(units).cast(pl.Decimal(38, 0)))
    sums = pl.scan_parquet(shares).group_by(POOL).agg(pl.col("units").sum())
    found = sums.join(pools, on=list(POOL), suffix="_cost").collect()
    return found.filter(pl.col("units") != pl.col("units_cost" if units == "units" else units)).height


def same(mine: Path, theirs: Path) -> None:
    """Refuse shares that differ in anything."""
    keys = [*POOL, "consumer"]
    both = pl.scan_parquet(mine).join(pl.scan_parquet(theirs), on=keys, how="full", suffix="_peer")
    differ = both.filter(pl.col("units").ne_missing(pl.col("units_peer"))).select(pl.len()).collect().item()
    if differ:
        raise SystemExit(f"{differ} shares differ from DuckDB's")


def main() -> int:
    """Make the use, run the cases in turn, compare the shares, report."""
    parser = _form.arguments(None, rounds=5)
    parser.description = __doc__
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="rows of metered use (default 10,000,000)"
    )
    parser.add_argument("--case", choices=CASES, help="run one case on --data (used by the script itself)")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.data, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-pool-split-") as name:
        folder = Path(name)
        make(folder, args.rows)
        shares = {case: folder / f"shares-{number}.parquet" for number, case in enumerate(CASES)}

        def run(case: str) -> Run:
            return _form.case(__file__, "--case", case, "--data", name, "--out", str(shares[case]))

        runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
        same(shares["finops_lab"], shares["DuckDB"])
        wrong = {
            case: off(folder, path, "cents" if case.endswith("cents") else "units")
            for case, path in shares.items()
        }
        if any(wrong.values()):
            raise SystemExit(f"pools that do not add up: {wrong}")
    mine, peer, whole = (_form.middle(runs[case]) for case in CASES)
    title = f"{args.rows:,} rows of use, {GPUS * DAYS:,} pools, {mine.said['shares']:,} shares, 0 pools off"
    _form.print_runs(title, runs, args.rows)
    ratio, wall = "ratio of CPU", "ratio of wall"
    _form.report(
        [
            Figure("pool_split/cpu_of_duckdb", mine.cpu / peer.cpu, ratio, "lower", OF_DUCKDB, "DuckDB"),
            Figure("pool_split/wall_of_duckdb", mine.wall / peer.wall, wall, "lower", None, "DuckDB"),
            Figure(
                "pool_split/cpu_of_duckdb_cents", mine.cpu / whole.cpu, ratio, "lower", None, "DuckDB, cents"
            ),
            Figure("pool_split/shares_per_second", mine.said["shares"] / mine.wall, "shares/s", "higher"),
            Figure("pool_split/peak_memory", mine.peak_mb, "MB", "lower"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
