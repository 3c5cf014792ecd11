"""Pricing of requests as of their moment: finops_lab against the same joins written plainly in DuckDB.

Synthetic requests over tiered, dated and batch-priced models are priced from memory, each row with
the price in force when it began. finops_lab also looks for what cannot be priced and says where
a price comes from. DuckDB gets the names already matched and the rates already wide, and does four ASOF
joins (date and size of input, of the request's context and of the standard one) with DECIMAL
rates. Both sums must be equal to the last decimal, and 1,000 sampled rows equal genai-prices'
own calc_price.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import _form
import numpy as np
import polars as pl
from _form import Figure

ROWS_PER_SECOND = 1_000_000
OF_DUCKDB = 1.0
MODELS = (
    ("openai", "gpt-5-2025-08-07"),
    ("openai", "gpt-5.4"),
    ("openai", "o3"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("google", "gemini-2.5-pro"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
)
TIERS = ("standard", "standard", "standard", "batch", "flex")
UNITS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
FIRST, SECONDS = 1_735_689_600, 650 * 86_400  # from 2025-01-01 on
CHECKED = 1_000


def requests(rows: int) -> pl.DataFrame:
    """Make requests by seed, with every column of the contract that pricing reads."""
    from finops_lab.contracts import dtypes

    rng = np.random.default_rng(7)
    model = rng.integers(0, len(MODELS), rows)
    tier = rng.integers(0, len(TIERS), rows)
    names = pl.DataFrame(MODELS, schema=["provider", "model"], orient="row")
    frame = pl.DataFrame(
        {
            "ts_start": (FIRST * 10**6 + rng.integers(0, SECONDS * 10**6, rows)),
            "service_tier": pl.Series(TIERS).gather(tier),
            "input_uncached_tokens": rng.integers(1, 300_000, rows),
            "cache_read_tokens": rng.integers(0, 100_000, rows),
            "cache_write_tokens": rng.integers(0, 2_000, rows),
            "output_tokens": rng.integers(1, 4_000, rows),
        }
    ).hstack(names[pl.Series(model)])
    schema = dtypes("inference_requests")
    frame = frame.with_columns(
        pl.col("ts_start").cast(schema["ts_start"]),
        n_requests=pl.lit(1, dtype=pl.Int64),
        hosting=pl.lit("api"),
    )
    return frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns
    )


def ours(folder: Path, answer: Path) -> None:
    """Price the requests; check a sample afterwards."""
    from finops_lab.pricing import price, price_book

    frame = pl.read_parquet(folder / "requests.parquet")
    book = price_book()
    price(frame.head(1).lazy(), book).collect()  # imports and the matcher's tables are not measured
    results: list[pl.DataFrame] = []

    def work() -> Mapping[str, Any]:
        priced = price(frame.lazy(), book).collect()
        results.append(priced)
        return {"priced": priced["cost_computed_usd"].count(), "usd": str(priced["cost_computed_usd"].sum())}

    _form.timed(work, answer)
    check(results[0].sample(min(CHECKED, results[0].height), seed=7))


def check(sample: pl.DataFrame) -> None:
    """Compare with genai-prices' own function, or end the run."""
    from genai_prices import Usage, calc_price

    for row in sample.iter_rows(named=True):
        usage = Usage(
            input_tokens=row["input_uncached_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"],
            cache_read_tokens=row["cache_read_tokens"],
            cache_write_tokens=row["cache_write_tokens"],
            output_tokens=row["output_tokens"],
        )
        tier = row["service_tier"]
        said = calc_price(
            usage,
            row["model"],
            provider_id=row["provider"],
            genai_request_timestamp=row["ts_start"],
            price_context={"processing": tier, "service_tier": tier} if tier != "standard" else None,
        ).total_price
        if said != row["cost_computed_usd"]:
            raise SystemExit(f"priced {row['cost_computed_usd']} instead of {said}: {row}")


def duckdb(folder: Path, answer: Path) -> None:
    """Do the joins in plain SQL."""
    import duckdb as db

    con = db.connect()
    con.sql("SET preserve_insertion_order = false")
    con.sql(f"CREATE TABLE r AS SELECT * FROM '{folder}/requests.parquet'")
    con.sql(f"CREATE TABLE names AS SELECT * FROM '{folder}/names.parquet'")
    con.sql(
        "CREATE TABLE cards AS SELECT *, coalesce(lead(start) OVER (PARTITION BY provider, model, context, above"
        " ORDER BY start), TIMESTAMPTZ '2999-01-01') AS until, coalesce(lead(above) OVER (PARTITION BY provider,"
        f" model, context, start ORDER BY above), 9e18::BIGINT) AS upto FROM '{folder}/cards.parquet'"
    )
    own, standard = (
        f"LEFT JOIN cards {c} ON {c}.provider = price_provider AND {c}.model = price_model"
        f" AND {c}.context = {context} AND {c}.start <= ts_start AND ts_start < {c}.until"
        f" AND {c}.above < q.whole AND q.whole <= {c}.upto"
        for c, context in (("c1", "q.service_tier"), ("c2", "'standard'"))
    )
    rate = {unit: f"coalesce(c1.{unit}, c2.{unit})" for unit in UNITS}
    for unit in ("cache_read_mtok", "cache_write_mtok"):
        rate[unit] = f"coalesce(c1.{unit}, c2.{unit}, {rate['input_mtok']})"
    counts = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    cost = " + ".join(f"{n}::DECIMAL(18, 0) * {rate[u]}" for n, u in zip(counts, UNITS, strict=True))
    query = (
        "WITH q AS (SELECT r.*, price_provider, price_model,"
        " input_uncached_tokens + cache_read_tokens + cache_write_tokens AS whole"
        " FROM r JOIN names USING (provider, model))"
        f" SELECT q.*, {cost} AS usd, coalesce(c1.start, c2.start) AS since FROM q {own} {standard}"
    )

    def work() -> Mapping[str, Any]:
        con.sql(f"CREATE TEMP TABLE t AS {query}")
        priced, usd = con.sql("SELECT count(usd), sum(usd) FROM t").fetchall()[0]
        return {"priced": priced, "usd": str(usd)}

    _form.timed(work, answer)


def prepare(folder: Path, rows: int) -> None:
    """Write the requests and, for DuckDB, matched names and one row of rates per start and tier."""
    from finops_lab.pricing import match_models, price_book

    frame = requests(rows)
    frame.write_parquet(folder / "requests.parquet")
    names = match_models(frame)
    names.write_parquet(folder / "names.parquet")
    book = price_book().filter(pl.col("unit").is_in(UNITS), pl.col("context").is_in(TIERS)).collect()
    start = pl.col("valid_from").fill_null(pl.datetime(1970, 1, 1, time_zone="UTC")).alias("start")
    book = book.join(
        names, left_on=["provider", "model"], right_on=["price_provider", "price_model"], how="semi"
    ).with_columns(start)
    wide = book.select("provider", "model", "context", "start", above="tier_above_tokens").unique()
    for unit in UNITS:
        # A unit's newest price at this start, in the tier at or below this size.
        rates = book.filter(pl.col("unit") == unit)
        keys = ["provider", "model", "context"]
        held = wide.join(rates, on=keys, suffix="_of").filter(
            pl.col("start_of") <= pl.col("start"), pl.col("tier_above_tokens") <= pl.col("above")
        )
        held = held.filter(pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.col("start")))
        held = held.sort("tier_above_tokens").unique(
            [*keys, "start", "above"], keep="last", maintain_order=True
        )
        per_token = (pl.col("rate_usd_per_unit").cast(pl.String).cast(pl.Decimal(38, 18)) / 1_000_000).cast(
            pl.Decimal(18, 15)
        )
        wide = wide.join(
            held.select(*keys, "start", "above", per_token.alias(unit)),
            on=[*keys, "start", "above"],
            how="left",
        )
    wide.write_parquet(folder / "cards.parquet")


CASES = {"finops_lab": ours, "DuckDB": duckdb}


def main() -> int:
    """Make the requests, run the cases in turn, compare the sums, report."""
    parser = _form.arguments(__doc__, rows=2_000_000, rounds=3)
    parser.add_argument("--case", choices=CASES, help="run one case on --folder (used by the script itself)")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.folder, args.answer)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-pricing-") as name:
        prepare(Path(name), args.rows)
        cases = {
            case: lambda case=case: _form.case(__file__, "--case", case, "--folder", name) for case in CASES
        }
        runs = _form.interleaved(cases, args.rounds)
    found = {
        case: (several[0].said["priced"], Decimal(several[0].said["usd"])) for case, several in runs.items()
    }
    if len(set(found.values())) != 1 or found["finops_lab"][0] != args.rows:
        raise SystemExit(f"of {args.rows:,} requests, priced rows and their sum are {found}")
    _form.print_runs(f"pricing of {args.rows:,} requests as of their moment", runs, args.rows)
    mine, peer = (_form.middle(runs[case]) for case in CASES)
    speed, cpu = args.rows / mine.wall, mine.cpu / peer.cpu
    _form.report(
        [
            Figure("pricing/rows_per_second", speed, "rows/s", "higher", ROWS_PER_SECOND),
            Figure("pricing/cpu_of_duckdb", cpu, "ratio of CPU", "lower", OF_DUCKDB, "DuckDB"),
            Figure("pricing/wall_of_duckdb", mine.wall / peer.wall, "ratio of wall", "lower", None, "DuckDB"),
            Figure("pricing/rows_per_cpu_second", args.rows / mine.cpu, "rows/CPU s", "higher"),
            Figure("pricing/peak_memory", mine.peak_mb, "MB", "lower"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
