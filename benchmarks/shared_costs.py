"""Shared costs in three tiers: finops_lab's `allocate` against the same job in DuckDB SQL with floats.

Bill rows from the lake get their owners by rules; then, one billing month at a time, a support fee
moves to all teams by what they cost, the platform team's costs move to its tenants by what they
cost, and what leaves the network is carried evenly. finops_lab divides to the last of 18 decimals
and proves it with a receipt; DuckDB multiplies floats and proves nothing, once with the rules on
every row (the plain way, which the target speaks of) and once after grouping. The results must
have the same entries, and every team's month must agree to a millionth.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import _bill
import _form
import allocation as rules
import polars as pl
from _form import Figure, Run

# Target: at least 1.0 x DuckDB's speed.
OF_DUCKDB = 1.0
CLOSE = 1e-6
TENANTS = tuple("advertising" if team == "ads" else team for team in _bill.TEAMS if team != "platform")
TOML = f"""
[[shared]]
name = "support fee"
where = {{ ServiceName = "Enterprise Support" }}
by = "direct"

[[shared]]
name = "platform"
where = {{ x_team = "platform" }}
by = "direct"
among = {list(TENANTS)}

[[shared]]
name = "egress"
where = {{ ServiceName = "Data Transfer" }}
by = "even"
among = {list(TENANTS)}
"""
KEYS = ("x_ChargeMonth", "x_ChargeDate", *rules.KEYS, *rules.RULES)
# One tier: the pot's entries times the share of each team that carries it.
TIER = """
CREATE TEMP TABLE {after} AS
WITH pot AS (SELECT * FROM {before} WHERE {where}),
others AS (SELECT * FROM {before} WHERE NOT coalesce({where}, false)),
weights AS ({weights}),
shares AS (
    SELECT x_BillingMonth, BillingCurrency, carrier,
        weight / sum(weight) OVER (PARTITION BY x_BillingMonth, BillingCurrency) AS share,
        row_number() OVER (PARTITION BY x_BillingMonth, BillingCurrency ORDER BY carrier) AS place
    FROM weights
)
SELECT * FROM others
UNION ALL BY NAME
SELECT pot.* REPLACE (
        carrier AS x_team, 'shared' AS x_AllocationMethod,
        concat_ws(' > ', x_AllocationRule, '{name}') AS x_AllocationRule,
        {amounts}, CASE WHEN place = 1 THEN x_Rows ELSE 0 END AS x_Rows)
FROM pot JOIN shares USING (x_BillingMonth, BillingCurrency)
"""
DIRECT = """
    SELECT x_BillingMonth, BillingCurrency, x_team AS carrier, sum(EffectiveCost) AS weight FROM others
    WHERE {} AND ChargeCategory NOT IN ('Tax', 'Credit') GROUP BY ALL HAVING weight > 0
"""
EVEN = f"SELECT DISTINCT x_BillingMonth, BillingCurrency, unnest({list(TENANTS)}) AS carrier, 1.0 AS weight FROM pot"
TIERS = (
    ("support fee", "ServiceName = 'Enterprise Support'", DIRECT.format("x_team <> 'unallocated'")),
    ("platform", "x_team = 'platform'", DIRECT.format(f"x_team IN {TENANTS}")),
    ("egress", "ServiceName = 'Data Transfer'", EVEN),
)


def fee(bill: Path) -> int:
    """Add a support fee of about 3 % to each month of the bill, and return the rows of it."""
    for file in sorted(bill.glob("*")):
        month = pl.read_parquet(file)
        first = datetime.fromisoformat(f"{file.stem.removeprefix('focus-')}-01").replace(tzinfo=UTC)
        share = (month["ListCost"].sum() * Decimal("0.03")).quantize(Decimal("1e-10"))
        amount = {name: pl.lit(share).cast(month[name].dtype) for name in _bill.COSTS}
        owned = ("SubAccountId", "SubAccountName", "ResourceId", "ResourceName", "Tags")
        row = (
            month.filter(pl.col(name).is_not_null() for name in _bill.REQUIRED)
            .filter(pl.all_horizontal(pl.col("ChargeClass", "CommitmentDiscountStatus").is_null()))
            .head(1)
            .with_columns(
                **amount,
                **{name: pl.lit(None, dtype=pl.String) for name in owned},
                ChargePeriodStart=pl.lit(first),
                ChargePeriodEnd=pl.col("BillingPeriodEnd"),
                ChargeCategory=pl.lit("Purchase"),
                ServiceName=pl.lit("Enterprise Support"),
                ServiceCategory=pl.lit("Other"),
            )
        )
        row.select(month.columns).write_parquet(file.with_name(f"support-{file.name}"))
    return len(list(bill.glob("support-*")))


def ours(lab: Path, out: Path, answer: Path) -> None:
    """Allocate as the library does."""
    from finops_lab.allocation import allocate
    from finops_lab.config import load
    from finops_lab.ingestion import lake

    config = load(lab)
    lake.version(lab / "lake", "costs")  # imports deltalake

    def work() -> Mapping[str, Any]:
        done = allocate(lake.scan(lab / "lake", "costs"), config.dimensions, shared=config.shared)
        done.entries.write_parquet(out, compression="lz4")  # as bookkeeping does; DuckDB's own is Snappy
        return {"entries": done.entries.height}

    _form.timed(work, answer)


def _duckdb(lab: Path, out: Path, answer: Path, grouped: bool) -> None:
    from finops_lab.contracts import AMOUNTS

    con, query = rules.query(lab, grouped)
    floats = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in AMOUNTS)
    shares = ", ".join(f"{name} * share AS {name}" for name in AMOUNTS)
    sums = ", ".join(f"sum({name}) AS {name}" for name in (*AMOUNTS, "x_Rows"))
    names = ", ".join(KEYS)

    def work() -> Mapping[str, Any]:
        con.sql(f"CREATE TEMP TABLE entries_0 AS SELECT * REPLACE ({floats}) FROM ({query})")
        for number, (name, where, weights) in enumerate(TIERS):
            said = {"name": name, "where": where, "weights": weights, "amounts": shares}
            con.sql(TIER.format(before=f"entries_{number}", after=f"entries_{number + 1}", **said))
        final = f"SELECT {names}, {sums} FROM entries_{len(TIERS)} GROUP BY {names}"
        con.sql(f"COPY ({final} ORDER BY ALL) TO '{out}' (FORMAT parquet)")
        return {}

    _form.timed(work, answer)


def plain(lab: Path, out: Path, answer: Path) -> None:
    """Run the rules on every row."""
    _duckdb(lab, out, answer, grouped=False)


def grouped(lab: Path, out: Path, answer: Path) -> None:
    """Run the rules on groups of equal rows."""
    _duckdb(lab, out, answer, grouped=True)


CASES = {"finops_lab": ours, "DuckDB": plain, "DuckDB, grouped first": grouped}


def same(mine: Path, theirs: Path) -> None:
    """Refuse results whose entries, rows or amounts per team, month and kind differ."""
    from finops_lab.contracts import AMOUNTS

    keys = ["x_BillingMonth", "x_team", "x_AllocationMethod", "x_AllocationRule", "ServiceName"]

    def sums(path: Path) -> pl.DataFrame:
        amounts = [pl.col(name).cast(pl.Float64).sum() for name in AMOUNTS]
        frame = pl.scan_parquet(path, hive_partitioning=False).group_by(keys)
        return frame.agg(pl.len(), pl.col("x_Rows").cast(pl.Int64).sum(), *amounts).collect()

    both = sums(mine).join(sums(theirs), on=keys, how="full", nulls_equal=True, suffix="_peer")
    # finops_lab weighs by whole millionths of the currency: below 1 of it that may show.
    far = [
        (pl.col(n) - pl.col(f"{n}_peer")).abs() > CLOSE * pl.max_horizontal(pl.col(n).abs(), 1)
        for n in AMOUNTS
    ]
    other = [pl.col(n).ne_missing(pl.col(f"{n}_peer")) for n in ("len", "x_Rows")]
    if (wrong := both.filter(pl.any_horizontal(*far, *other).fill_null(True))).height:
        raise SystemExit(f"{wrong.height} of {both.height} sums differ from DuckDB's:\n{wrong.head(5)}")


def main() -> int:
    """Make the lake, run the cases in turn, compare the results, report."""
    parser = _form.arguments(__doc__, rows=1_000_000, rounds=3)
    parser.add_argument("--case", choices=CASES, help="run one case on --lab (used by the script itself)")
    parser.add_argument("--lab", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.lab, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-shared-costs-") as name:
        folder = Path(name)
        bill = _bill.write(folder / "bill", args.rows, text=False)
        rows = bill.rows - bill.bad + fee(folder / "bill" / "parquet")
        rules.build(folder / "lab", folder / "bill" / "parquet", TOML)
        shutil.rmtree(folder / "bill")
        results = {case: folder / f"{number}.parquet" for number, case in enumerate(CASES)}

        def run(case: str) -> Run:
            where = ("--lab", str(folder / "lab"), "--out", str(results[case]))
            return _form.case(__file__, "--case", case, *where)

        runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
        for case in list(CASES)[1:]:
            same(results["finops_lab"], results[case])
    mine, peer, clever = (_form.middle(runs[case]) for case in CASES)
    entries = mine.said["entries"]
    title = f"allocation of {rows:,} bill rows with three tiers of shared costs, {entries:,} entries"
    _form.print_runs(title, runs, rows)
    ratio, wall, first = "ratio of CPU", "ratio of wall", "DuckDB, grouped first"
    _form.report(
        [
            Figure("shared_costs/cpu_of_duckdb", mine.cpu / peer.cpu, ratio, "lower", OF_DUCKDB, "DuckDB"),
            Figure("shared_costs/wall_of_duckdb", mine.wall / peer.wall, wall, "lower", None, "DuckDB"),
            Figure("shared_costs/cpu_of_duckdb_grouped", mine.cpu / clever.cpu, ratio, "lower", None, first),
            Figure("shared_costs/rows_per_cpu_second", rows / mine.cpu, "rows/CPU s", "higher"),
            Figure("shared_costs/peak_memory", mine.peak_mb, "MB", "lower"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
