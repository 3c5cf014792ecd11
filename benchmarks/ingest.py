"""Ingest of a FOCUS bill: finops_lab's full path against the same job written plainly in DuckDB.

finops_lab: hash, detect, read CSV.gz, check against the contract, keep bad rows with their reason
and the row as delivered, read tags into columns, commit the good ones to Delta. DuckDB: read all
columns as text, TRY_CAST amounts to DECIMAL(38,18) and moments to TIMESTAMP, the same checks, good
and bad rows to Parquet through one temporary table (of five plain ways tried the one with the least
CPU; tags stay JSON). The floor is what
nobody can save: unzip and split the lines, write the typed rows as Parquet. Both results must hold
the planted rows and BilledCost to the last decimal.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import _bill
import _form
from _form import Figure, Run

# Targets: at least 2.0 x DuckDB's speed, at most 3.5 x the floor.
OF_DUCKDB = 0.5
OF_FLOOR = 3.5
TOML = """\
[lab]
name = "Benchmark (synthetic)"

[[dimensions.team]]
name = "team tag"
tag = ["team"]

[[dimensions.product]]
name = "product tag"
tag = ["product"]

[[dimensions.model]]
name = "model tag"
tag = ["model"]

[[dimensions.environment]]
name = "environment tag"
tag = ["env", "environment"]
"""
CATEGORIES = "('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')"


def ours(bill: Path, out: Path, answer: Path) -> None:
    """Ingest a lab whose exports are the bill."""
    from finops_lab.config import load
    from finops_lab.ingestion.run import ingest

    (out / "exports").mkdir(parents=True)
    (out / "finops.toml").write_text(TOML, encoding="utf-8")
    for file in sorted(bill.glob("*")):
        (out / "exports" / file.name).symlink_to(file.resolve())
    config = load(out)
    import deltalake  # noqa: F401  imports are not what is measured here

    def work() -> Mapping[str, Any]:
        files = ingest(out, config).files
        return {
            "good": int(files["rows_accepted"].sum()),
            "bad": int(files["rows_quarantined"].sum()),
            "billed": str(files["BilledCost_accepted"].sum()),
        }

    _form.timed(work, answer)


def duckdb(bill: Path, out: Path, answer: Path) -> None:
    """Do the same in plain SQL."""
    import duckdb as db

    out.mkdir(parents=True)
    source = f"read_csv('{bill}/*.csv.gz', all_varchar=true, header=true)"
    names = [row[0] for row in db.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    kind = {**dict.fromkeys(_bill.MONEY, "DECIMAL(38,18)"), **dict.fromkeys(_bill.TIMES, "TIMESTAMP")}
    cast = ", ".join(f"TRY_CAST({n} AS {kind[n]}) AS {n}, {n} AS _raw_{n}" if n in kind else n for n in names)
    unread = [f"({n} IS NULL AND _raw_{n} IS NOT NULL)" for n in kind]
    missing = [f"{n} IS NULL" for n in _bill.REQUIRED]
    rules = [
        "NOT regexp_full_match(BillingCurrency, '[A-Z]{3}')",
        f"ChargeCategory NOT IN {CATEGORIES}",
        "ChargeClass <> 'Correction'",
        "ChargePeriodEnd < ChargePeriodStart",
        "BillingPeriodEnd < BillingPeriodStart",
    ]
    bad = " OR ".join(f"coalesce({rule}, false)" for rule in (*unread, *missing, *rules))
    texts = ", ".join(f"_raw_{n}" for n in kind)
    kept = ", ".join(names)
    con = db.connect()
    con.sql("SET preserve_insertion_order = false")

    def work() -> Mapping[str, Any]:
        # Rows that fail keep the text they came with, the others need not.
        con.sql(
            f"CREATE TEMP TABLE t AS SELECT {kept}, {bad} AS bad, CASE WHEN {bad} THEN [{texts}] END AS raw"
            f" FROM (SELECT {cast} FROM {source})"
        )
        con.sql(
            f"COPY (SELECT {kept} FROM t WHERE NOT bad) TO '{out}/good.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
        con.sql(f"COPY (SELECT * FROM t WHERE bad) TO '{out}/bad.parquet' (FORMAT parquet)")
        good, billed = con.sql("SELECT count(*), sum(BilledCost) FROM t WHERE NOT bad").fetchall()[0]
        refused = con.sql("SELECT count(*) FROM t WHERE bad").fetchall()[0][0]
        return {"good": good, "bad": refused, "billed": str(billed)}

    _form.timed(work, answer)


def floor(bill: Path, out: Path, answer: Path) -> None:
    """Unzip and split the lines, then write typed rows that are already in memory."""
    import polars as pl

    out.mkdir(parents=True)
    files = sorted(bill.glob("*.csv.gz"))
    money = pl.col(_bill.MONEY).cast(pl.Decimal(38, 18))
    ready = [pl.read_parquet(f).with_columns(money) for f in sorted((bill.parent / "parquet").glob("*"))]

    def work() -> Mapping[str, Any]:
        for number, file in enumerate(files):
            pl.scan_csv(file, infer_schema=False).select(pl.len()).collect()
            ready[number].write_parquet(out / f"{number}.parquet")
        return {}

    _form.timed(work, answer)


CASES = {"finops_lab": ours, "DuckDB": duckdb, "floor": floor}


def main() -> int:
    """Make the bill, run the cases in turn, compare the sums, report."""
    parser = _form.arguments(__doc__, rows=1_000_000, rounds=3)
    parser.add_argument("--case", choices=CASES, help="run one case on --bill (used by the script itself)")
    parser.add_argument("--bill", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.bill, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        folder = Path(name)
        bill = _bill.write(folder, args.rows)

        def run(case: str) -> Run:
            out = folder / "out"
            done = _form.case(__file__, "--case", case, "--bill", str(folder / "csv"), "--out", str(out))
            shutil.rmtree(out)
            if done.said:
                found = (done.said["good"], done.said["bad"], Decimal(done.said["billed"]))
                planted = (bill.rows - bill.bad, bill.bad, bill.billed)
                if found != planted:
                    raise SystemExit(
                        f"{case} found {found} good rows, bad rows and BilledCost, not {planted}"
                    )
            return done

        runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
    title = f"ingest of {bill.rows:,} FOCUS rows in {len(bill.csv)} CSV.gz files, {bill.bad} of them bad"
    _form.print_runs(title, runs, bill.rows)
    mine, peer, least = (_form.middle(runs[case]) for case in CASES)
    _form.report(
        [
            Figure("ingest/cpu_of_duckdb", mine.cpu / peer.cpu, "ratio of CPU", "lower", OF_DUCKDB, "DuckDB"),
            Figure("ingest/wall_of_duckdb", mine.wall / peer.wall, "ratio of wall", "lower", None, "DuckDB"),
            Figure(
                "ingest/cpu_of_floor",
                mine.cpu / least.cpu,
                "ratio of CPU",
                "lower",
                OF_FLOOR,
                "unzip and write",
            ),
            Figure("ingest/rows_per_second", bill.rows / mine.wall, "rows/s", "higher"),
            Figure("ingest/rows_per_cpu_second", bill.rows / mine.cpu, "rows/CPU s", "higher"),
            Figure("ingest/peak_memory", mine.peak_mb, "MB", "lower"),
            Figure(
                "ingest/peak_memory_of_duckdb", mine.peak_mb / peer.peak_mb, "ratio", "lower", None, "DuckDB"
            ),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
