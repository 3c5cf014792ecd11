"""Allocation of bill rows from the lake: finops_lab against the same rules in DuckDB SQL.

Both read the same Delta table, tags already in columns. finops_lab returns entries, a receipt whose
residual is zero, and a report per rule; DuckDB returns the entries only, once with the rules as
CASE WHEN on every row (the plain way, which the target speaks of) and once after grouping by what
the rules look at. All ledgers must be equal, row by row and to the last decimal.

Allocation begins with one grouping of all rows. What that costs is shown by itself: a month's cost
by service, team and model, against DuckDB and against reading the same columns and no more.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _bill
import _form
from _form import Figure, Run

# Targets: at least 1.0 x DuckDB's speed. Month costs, which are a scan and no more, at least 0.75 x
# DuckDB's speed (aim 1.0), at most 1.5 x what reading costs.
OF_DUCKDB = 1.0
MONTHS_OF_DUCKDB = 1 / 0.75
MONTHS_OF_READING = 1.5
_TEAMS = "|".join(_bill.TEAMS)
_MODELS = "|".join(_bill.MODELS)
TOML = f"""\
[lab]
name = "Benchmark (synthetic)"

[[dimensions.team]]
name = "team tag"
tag = ["team"]
map = {{ "ads" = "advertising" }}

[[dimensions.team]]
name = "team of the account"
extract = {{ column = "SubAccountName", pattern = '^({_TEAMS})-(?:staging|dev)$' }}

[[dimensions.team]]
name = "network is platform"
where = {{ ServiceName = ["Data Transfer", "Message Queue"] }}
value = "platform"

[[dimensions.product]]
name = "product tag"
tag = ["product"]

[[dimensions.product]]
name = "clusters"
where = {{ ServiceName = "~^Managed", ServiceCategory = "Compute" }}
value = "core"

[[dimensions.model]]
name = "model tag"
tag = ["model"]

[[dimensions.model]]
name = "model in the resource name"
extract = {{ column = "ResourceName", pattern = '^({_MODELS})-' }}

[[dimensions.environment]]
name = "environment tag"
tag = ["env", "environment"]

[[dimensions.environment]]
name = "environment of the account"
extract = {{ column = "SubAccountName", pattern = '-(prod|staging|dev)$' }}

[[dimensions.region]]
name = "region"
column = "RegionId"
map = {{ "us-east-1" = "us-east", "eu-west-1" = "europe", "eu-central-1" = "europe" }}
"""
# The same rules; `named` is null for spellings of nobody, `found` for a pattern that does not match.
MACROS = (
    "CREATE MACRO named(t) AS CASE WHEN lower(trim(t)) IN ('', 'null', '(null)', 'none', '-', '-2', 'n/a',"
    " 'na', 'unassigned', 'unknown', 'untagged') THEN NULL ELSE trim(t) END",
    "CREATE MACRO found(t, p) AS nullif(regexp_extract(t, p, 1), '')",
)
_TEAM_TAG = "named(x_tag_team)"
_TEAM_ACCOUNT = f"found(SubAccountName, '^({_TEAMS})-(?:staging|dev)$')"
_NETWORK = "ServiceName IN ('Data Transfer', 'Message Queue')"
RULES = {
    "x_team": f"CASE WHEN {_TEAM_TAG} IS NOT NULL THEN"
    f" CASE {_TEAM_TAG} WHEN 'ads' THEN 'advertising' ELSE {_TEAM_TAG} END"
    f" WHEN {_TEAM_ACCOUNT} IS NOT NULL THEN {_TEAM_ACCOUNT}"
    f" WHEN {_NETWORK} THEN 'platform' ELSE 'unallocated' END",
    "x_product": "CASE WHEN named(x_tag_product) IS NOT NULL THEN named(x_tag_product)"
    " WHEN regexp_matches(ServiceName, '^Managed') AND ServiceCategory = 'Compute' THEN 'core' END",
    "x_model": f"CASE WHEN named(x_tag_model) IS NOT NULL THEN named(x_tag_model)"
    f" ELSE found(ResourceName, '^({_MODELS})-') END",
    "x_environment": "CASE WHEN named(x_tag_env) IS NOT NULL THEN named(x_tag_env)"
    " WHEN named(x_tag_environment) IS NOT NULL THEN named(x_tag_environment)"
    " ELSE found(SubAccountName, '-(prod|staging|dev)$') END",
    "x_region": "CASE named(RegionId) WHEN 'us-east-1' THEN 'us-east' WHEN 'eu-west-1' THEN 'europe'"
    " WHEN 'eu-central-1' THEN 'europe' ELSE named(RegionId) END",
    "x_AllocationMethod": f"CASE WHEN {_TEAM_TAG} IS NOT NULL THEN 'tag'"
    f" WHEN {_TEAM_ACCOUNT} IS NOT NULL OR {_NETWORK} THEN 'rule' ELSE 'unallocated' END",
    "x_AllocationRule": f"CASE WHEN {_TEAM_TAG} IS NOT NULL THEN 'team tag'"
    f" WHEN {_TEAM_ACCOUNT} IS NOT NULL THEN 'team of the account'"
    f" WHEN {_NETWORK} THEN 'network is platform' END",
}
KEYS = (
    "x_BillingMonth",
    "BillingCurrency",
    "ProviderName",
    "ServiceCategory",
    "ServiceName",
    "ChargeCategory",
    "ChargeClass",
    "CommitmentDiscountStatus",
)
INPUTS = (
    *("x_tag_team", "x_tag_product", "x_tag_model", "x_tag_env", "x_tag_environment"),
    *("SubAccountName", "ResourceName", "RegionId"),
)


def build(folder: Path, bill: Path, further: str = "") -> None:
    """Ingest the bill into a lab with the rules and what `further` says, not measured here."""
    from finops_lab.config import load
    from finops_lab.ingestion.run import ingest

    (folder / "exports").mkdir(parents=True)
    (folder / "finops.toml").write_text(TOML + further, encoding="utf-8")
    for file in sorted(bill.glob("*")):
        (folder / "exports" / file.name).symlink_to(file.resolve())
    ingest(folder, load(folder))


def ours(lab: Path, ledger: Path, answer: Path) -> None:
    """Allocate as the library does."""
    from finops_lab.allocation import allocate
    from finops_lab.config import load
    from finops_lab.ingestion import lake

    config = load(lab)
    lake.version(lab / "lake", "costs")  # imports deltalake

    def work() -> Mapping[str, Any]:
        done = allocate(lake.scan(lab / "lake", "costs"), config.dimensions)
        done.entries.write_parquet(ledger, compression="lz4")  # as bookkeeping does; DuckDB's own is Snappy
        return {"entries": done.entries.height}

    _form.timed(work, answer)


def connected(lab: Path) -> tuple[Any, str]:
    """Return a DuckDB connection, and the lab's bill rows as SQL reads them."""
    import duckdb as db
    from deltalake import DeltaTable

    files = DeltaTable(str(lab / "lake" / "costs")).file_uris()
    con = db.connect()
    con.sql("SET preserve_insertion_order = false")
    con.sql("SET TimeZone = 'UTC'")
    for macro in MACROS:
        con.sql(macro)
    return con, f"read_parquet({files}, hive_partitioning = true, union_by_name = true)"


def query(lab: Path, grouped: bool) -> tuple[Any, str]:
    """Return a DuckDB connection, and the SQL of the ledger's entries."""
    from finops_lab.contracts import AMOUNTS

    con, source = connected(lab)
    keys = ", ".join(KEYS)
    month = "strftime(ChargePeriodStart, '%Y-%m') AS x_ChargeMonth, CAST(ChargePeriodStart AS DATE) AS x_ChargeDate"
    count = "count(*)"
    if grouped:
        dated = f"SELECT {keys}, {month}, {', '.join(INPUTS)}, {', '.join(AMOUNTS)} FROM {source}"
        sums = ", ".join(f"sum({name}) AS {name}" for name in AMOUNTS)
        source = (
            f"(SELECT * EXCLUDE ({', '.join(AMOUNTS)}), {sums}, count(*) AS n FROM ({dated}) GROUP BY ALL)"
        )
        month, count = "x_ChargeMonth, x_ChargeDate", "sum(n)"
    rules = ", ".join(f"{rule} AS {name}" for name, rule in RULES.items())
    names = ", ".join(("x_ChargeMonth", "x_ChargeDate", *KEYS, *RULES))
    sums = ", ".join(f"CAST(sum({name}) AS DECIMAL(38,18)) AS {name}" for name in AMOUNTS)
    extra = ", n" if grouped else ""
    return con, (
        f"SELECT {names}, {sums}, CAST({count} AS BIGINT) AS x_Rows"
        f" FROM (SELECT {month}, {keys}, {rules}, {', '.join(AMOUNTS)}{extra} FROM {source}) GROUP BY {names}"
    )


def _duckdb(lab: Path, ledger: Path, answer: Path, grouped: bool) -> None:
    con, entries = query(lab, grouped)

    def work() -> Mapping[str, Any]:
        con.sql(f"COPY ({entries} ORDER BY ALL) TO '{ledger}' (FORMAT parquet)")
        return {}

    _form.timed(work, answer)


def plain(lab: Path, ledger: Path, answer: Path) -> None:
    """Run the rules on every row."""
    _duckdb(lab, ledger, answer, grouped=False)


def grouped(lab: Path, ledger: Path, answer: Path) -> None:
    """Run the rules on groups of equal rows."""
    _duckdb(lab, ledger, answer, grouped=True)


MONTHS = ("x_BillingMonth", "ServiceName", "x_tag_team", "x_tag_model")
COST = "EffectiveCost"


def months(lab: Path, ledger: Path, answer: Path) -> None:
    """Add up cost as allocation begins in a lab: one billing month after the other."""
    import polars as pl

    from finops_lab.ingestion import lake

    costs = lake.scan(lab / "lake", "costs")
    month, *keys = MONTHS
    every = costs.select(pl.col(month).unique().sort()).collect().to_series().to_list()
    done: list[pl.DataFrame] = []

    def work() -> Mapping[str, Any]:
        parts = [
            costs.filter(pl.col(month) == name)
            .group_by(keys)
            .agg(pl.col(COST).sum())
            .select(pl.lit(name).alias(month), *keys, COST)
            .collect(engine="streaming")
            for name in every
        ]
        done.append(pl.concat(parts))
        return {"groups": done[0].height}

    _form.timed(work, answer)
    done[0].write_parquet(ledger)


def reading(lab: Path, ledger: Path, answer: Path) -> None:
    """Read the columns and no more."""
    from finops_lab.ingestion import lake

    costs = lake.scan(lab / "lake", "costs").select(*MONTHS, COST)

    def work() -> Mapping[str, Any]:
        return {"rows": costs.collect().height}

    _form.timed(work, answer)


def duckdb_months(lab: Path, ledger: Path, answer: Path) -> None:
    """Add up the same cost in SQL."""
    con, source = connected(lab)
    names = ", ".join(MONTHS)

    def work() -> Mapping[str, Any]:
        con.sql(
            f"CREATE TEMP TABLE t AS SELECT {names}, CAST(sum({COST}) AS DECIMAL(38,18)) AS {COST}"
            f" FROM {source} GROUP BY {names}"
        )
        return {}

    _form.timed(work, answer)
    con.sql(f"COPY t TO '{ledger}' (FORMAT parquet)")


LEDGERS = {"finops_lab": ours, "DuckDB": plain, "DuckDB, grouped first": grouped}
SUMS = {"month costs": months, "DuckDB, month costs": duckdb_months, "reading": reading}
CASES = {**LEDGERS, **SUMS}


def same(mine: Path, theirs: Path) -> None:
    """Refuse two ledgers that differ in anything."""
    import polars as pl
    from polars.testing import assert_frame_equal

    left = pl.read_parquet(mine)
    right = pl.read_parquet(theirs, hive_partitioning=False)
    empty = [name for name in left.columns if name not in right.columns]
    if not all(left[name].null_count() == left.height for name in empty):
        raise SystemExit(f"the ledgers differ: only finops_lab fills some of {', '.join(empty)}")
    assert_frame_equal(left.drop(empty).select(right.columns), right, check_row_order=False, check_exact=True)


def main() -> int:
    """Make the lake, run the cases in turn, compare the results, report."""
    parser = _form.arguments(__doc__, rows=1_000_000, rounds=5)
    parser.add_argument("--case", choices=CASES, help="run one case on --lab (used by the script itself)")
    parser.add_argument("--lab", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.lab, args.out, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-allocation-") as name:
        folder = Path(name)
        bill = _bill.write(folder / "bill", args.rows, text=False)
        build(folder / "lab", folder / "bill" / "parquet")
        shutil.rmtree(folder / "bill")
        ledgers = {case: folder / f"{number}.parquet" for number, case in enumerate(CASES)}

        def run(case: str) -> Run:
            where = ("--lab", str(folder / "lab"), "--out", str(ledgers[case]))
            return _form.case(__file__, "--case", case, *where)

        runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
        for case in list(LEDGERS)[1:]:
            same(ledgers["finops_lab"], ledgers[case])
        same(ledgers["month costs"], ledgers["DuckDB, month costs"])
    rows = bill.rows - bill.bad
    mine, peer, clever, monthly, peers_monthly, read = (_form.middle(runs[case]) for case in CASES)
    _form.print_runs(
        f"allocation of {rows:,} bill rows to {mine.said['entries']:,} ledger entries", runs, rows
    )
    _form.report(
        [
            Figure(
                "allocation/cpu_of_duckdb", mine.cpu / peer.cpu, "ratio of CPU", "lower", OF_DUCKDB, "DuckDB"
            ),
            Figure(
                "allocation/wall_of_duckdb", mine.wall / peer.wall, "ratio of wall", "lower", None, "DuckDB"
            ),
            Figure(
                "allocation/cpu_of_duckdb_grouped",
                mine.cpu / clever.cpu,
                "ratio of CPU",
                "lower",
                None,
                "DuckDB, grouped first",
            ),
            Figure("allocation/rows_per_second", rows / mine.wall, "rows/s", "higher"),
            Figure("allocation/rows_per_cpu_second", rows / mine.cpu, "rows/CPU s", "higher"),
            Figure("allocation/peak_memory", mine.peak_mb, "MB", "lower"),
            Figure(
                "allocation/month_costs_of_reading",
                monthly.cpu / read.cpu,
                "ratio of CPU",
                "lower",
                MONTHS_OF_READING,
                "reading",
            ),
            Figure(
                "allocation/month_costs_of_duckdb",
                monthly.cpu / peers_monthly.cpu,
                "ratio of CPU",
                "lower",
                MONTHS_OF_DUCKDB,
                "DuckDB",
            ),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
