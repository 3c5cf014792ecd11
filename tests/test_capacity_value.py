"""Capacity, load, traffic, edge, benchmarks and the return of the practice."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.charts import capacity as charts
from finops_lab.config import Practice, load
from finops_lab.contracts import dtypes
from finops_lab.errors import ConfigError, CurrencyError, InputError
from finops_lab.pricing import price
from finops_lab.unit_economics import capacity, comparison, edge, practice, traffic
from finops_lab.unit_economics.commitments import commitment_use
from finops_lab.unit_economics.load import daily_load, load_curve
from finops_lab.unit_economics.schemas import FIGURES, GPU_DAYS, REQUEST_DAYS, REQUEST_MONTHS

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
Row = dict[str, Any]


def rows_of(schema: Any, *rows: Row) -> pl.DataFrame:
    """Return rows of a schema; counts that are not given are 0, all else null."""
    counts = (pl.Int64, pl.Decimal(38, 3))
    blank = {name: 0 if kind in counts else None for name, kind in schema.items()}
    return pl.DataFrame([blank | row for row in rows], schema=schema)


def entry(money: str, **told: Any) -> Row:
    return {
        "x_ChargeMonth": "2026-10", "x_ChargeDate": date(2026, 10, 5), "BillingCurrency": "USD",
        "ChargeCategory": "Usage", "x_team": "search", "x_AllocationMethod": "telemetry",
        "EffectiveCost": Decimal(money),
    } | told  # fmt: skip


def ledger(*rows: Row) -> pl.DataFrame:
    schema = {name: kind for name, kind in dtypes("ledger").items() if name not in ("x_Rows",)}
    return pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def figure(found: pl.DataFrame, measure: str, key: str | None = None) -> Row:
    mine = found.filter(pl.col("measure") == measure, pl.col("key").eq_missing(pl.lit(key, pl.String)))
    mine = mine.filter(pl.col("dimension").is_null() if key is None else pl.col("dimension").is_not_null())
    assert mine.height == 1
    return mine.row(0, named=True)


# Idle, packing, useful hours


def test_idle_and_dark_money_of_pools_by_the_bill() -> None:
    entries = ledger(
        entry("60", x_PoolId="chat"),
        entry("30", x_PoolId="chat", x_AllocationMethod="idle", x_team="unallocated"),
        entry("10", x_PoolId="chat", x_AllocationMethod="dark", x_team="unallocated"),
        entry("100", x_PoolId="search"),
        entry("999"),
    )
    found = capacity.idle_pools(entries)
    assert found.schema == pl.Schema(FIGURES)
    chat = figure(found, "idle_share_billed", "chat")
    assert (chat["value"], chat["numerator"], chat["denominator"]) == (Decimal("0.3"), 30, 100)
    assert chat["numerator_unit"] == "USD"
    assert figure(found, "dark_share_billed", "chat")["value"] == Decimal("0.1")
    assert figure(found, "idle_share_billed")["value"] == Decimal("0.15")
    assert capacity.idle_pools(ledger(entry("5"))).height == 0
    both = pl.concat([entries, ledger(entry("1", x_PoolId="eu", BillingCurrency="EUR"))])
    with pytest.raises(CurrencyError):
        capacity.idle_pools(both)


GPU_TIME = rows_of(
    GPU_DAYS,
    {"day": date(2026, 10, 1), "pool_id": "chat", "util_kind": "gpu_util", "rows": 24, "sampled_s": 36_000,
     "busy_s": 18_000, "allocated_s": 27_000, "allocated_busy_s": 18_000, "priced_s": 36_000,
     "sampled_usd": Decimal(40), "idle_usd": Decimal(20)},
    {"day": date(2026, 10, 1), "pool_id": "chat", "util_kind": "sm_active", "rows": 24, "sampled_s": 36_000,
     "busy_s": 3_600, "allocated_s": 27_000, "allocated_busy_s": 3_600},
    {"day": date(2026, 10, 2), "pool_id": "new", "util_kind": "gpu_util", "rows": 1},
)  # fmt: skip


def test_packing_keeps_kinds_apart_and_knows_what_was_asked_for() -> None:
    wanted = pl.DataFrame(
        {
            "ts": [datetime(2026, 10, 1, tzinfo=UTC)] * 3,
            "interval_s": [3600.0] * 3,
            "pool_id": ["chat", "chat", "new"],
            "unit": ["gpu", "replica", "gpu"],
            "desired": [12.0, 99.0, None],
        }
    )
    found = capacity.packing(GPU_TIME, wanted)
    assert found.schema == pl.Schema(capacity.PACKING)
    chat = found.filter(pl.col("pool_id") == "chat", pl.col("util_kind") == "gpu_util").row(0, named=True)
    hours = [chat[f"{name}gpu_hours"] for name in ("", "requested_", "allocated_", "active_")]
    assert hours == [10, 12, Decimal("7.5"), 5]
    assert (chat["requested_share"], chat["allocated_share"], chat["active_share"]) == (
        Decimal("1.2"), Decimal("0.75"), Decimal("0.5"),
    )  # fmt: skip
    streaming = found.filter(pl.col("util_kind") == "sm_active").row(0, named=True)
    assert (streaming["active_share"], streaming["allocated_share"]) == (Decimal("0.1"), Decimal("0.75"))
    new = found.filter(pl.col("pool_id") == "new").row(0, named=True)
    assert (new["active_share"], new["requested_gpu_hours"]) == (None, None)
    assert new["reason"] == "no GPU time was sampled"
    assert capacity.packing(pl.DataFrame(schema=GPU_DAYS)).height == 0


def test_money_per_useful_gpu_hour_by_rates_and_by_the_bill() -> None:
    paid = pl.DataFrame(
        {"month": [OCTOBER] * 3, "pool_id": ["chat", "new", "lost"], "money": [Decimal(90), Decimal(5), Decimal(7)],
         "gpu_hours": [20.0, 3.0, 4.0]}
    )  # fmt: skip
    found = capacity.useful_hours(GPU_TIME, money=paid, currency="EUR", by=["pool_id"])
    assert figure(found, "money_per_useful_gpu_hour", "chat")["value"] == 8
    assert figure(found, "money_per_useful_gpu_hour")["unit"] == "USD per GPU-hour in use"
    # Half of 20 hours were in use.
    billed = figure(found, "billed_per_useful_gpu_hour", "chat")
    assert (billed["value"], billed["unit"]) == (9, "EUR per GPU-hour in use")
    for pool in ("new", "lost"):
        unknown = figure(found, "billed_per_useful_gpu_hour", pool)
        assert unknown["value"] is None
        assert unknown["reason"]
    assert figure(found, "billed_per_useful_gpu_hour")["value"] == 9
    streaming = capacity.useful_hours(GPU_TIME, kind="sm_active", by=[])
    assert figure(streaming, "money_per_useful_gpu_hour")["value"] is None


def test_useful_hours_where_a_part_of_the_time_has_a_rate() -> None:
    days = rows_of(
        GPU_DAYS,
        {"day": date(2026, 10, 1), "pool_id": "a", "util_kind": "gpu_util", "sampled_s": 7200, "busy_s": 3600,
         "priced_s": 3600, "sampled_usd": Decimal(2), "idle_usd": Decimal(1)},
    )  # fmt: skip
    told = figure(capacity.useful_hours(days, by=[]), "money_per_useful_gpu_hour")
    assert (told["value"], told["coverage"]) == (4, 0.5)


# Load


def loads(tokens: list[float], money: list[float], key: str = "m", first: date = OCTOBER) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "key": [key] * len(tokens),
            "period": [first + timedelta(days=n) for n in range(len(tokens))],
            "hours": [24.0] * len(tokens),
            "tokens": [Decimal(str(round(n))) for n in tokens],
            "money": [Decimal(str(round(n, 6))) for n in money],
        },
        schema_overrides={"tokens": FIGURES["value"], "money": FIGURES["value"]},
    )


def test_load_curve_of_fixed_and_variable_money() -> None:
    tokens = [24e6 * n for n in (1, 2, 3, 4, 5)]
    # 10 an hour, and 2 for each million tokens.
    found = load_curve(loads(tokens, [240 + 2 * n / 1e6 for n in tokens]), reference={"m": 5e6})
    fit = found.fits.row(0, named=True)
    assert [float(fit[name]) for name in ("fixed_per_hour", "variable_per_mtok")] == pytest.approx([10, 2])
    assert fit["basis"] == "periods"
    assert fit["fixed_share"] == pytest.approx(10 / 16)
    assert float(fit["reference_per_mtok"]) == pytest.approx(4)
    # A million tokens an hour: 12 per million, three times the 4 at five million.
    assert [float(n) for n in found.points["penalty"]] == pytest.approx([3, 7 / 4, 4 / 3, 4.5 / 4, 1])
    assert float(fit["extra_money"]) == pytest.approx(1200 + 2 * 360 - 4 * 360)
    at = found.lines.filter(pl.col("tokens_per_hour") == found.lines["tokens_per_hour"].max())
    assert at["money_per_mtok"].item() == pytest.approx(4)


def test_load_that_tells_nothing_says_why() -> None:
    few = load_curve(loads([1e6, 2e6], [1, 1]))
    assert few.fits["reason"].item().startswith("fewer than 5")
    assert few.points["penalty"].to_list() == [None, None]
    assert few.points["reason"].to_list() == few.fits["reason"].to_list() * 2
    same = load_curve(loads([1e6] * 6, [1, 2, 3, 4, 5, 6]))
    assert "hardly changed" in same.fits["reason"].item()
    empty = load_curve(loads([0, 1e6], [1, 1]))
    assert empty.points["reason"][0] == "no tokens are known of the period"
    assert empty.points["money_per_mtok"][0] is None
    refunds = load_curve(loads([1e6, 2e6, 3e6, 4e6, 5e6], [-1, -1, -1, -1, -1]))
    assert refunds.fits["reason"].item() == "the money is not above zero"
    assert load_curve(loads([], [])).points.height == 0
    with pytest.raises(InputError, match="hours"):
        load_curve(loads([1e6], [1]).drop("hours"))


def test_samples_of_calls_do_not_make_money_look_fixed() -> None:
    # Money follows the true load alone; the tokens that are seen are a noisy sample of it.
    chance = random.Random(7)
    true = [24e6 * (1.3 if n % 7 < 5 else 0.7) * chance.uniform(0.97, 1.03) for n in range(91)]
    seen = [n * chance.lognormvariate(0, 0.35) for n in true]
    found = load_curve(loads(seen, [2 * n / 1e6 for n in true])).fits.row(0, named=True)
    assert found["basis"] == "weekdays"
    assert found["fixed_share"] < 0.2
    alone = load_curve(loads(seen[:27], [2 * n / 1e6 for n in true[:27]])).fits.row(0, named=True)
    assert alone["basis"] == "periods"
    assert alone["fixed_share"] > 0.3


def test_hourly_periods_are_grouped_by_the_hour_of_the_week() -> None:
    first = datetime(2026, 10, 5, tzinfo=UTC)
    hours = [first + timedelta(hours=n) for n in range(24 * 7 * 4)]
    tokens = [Decimal(1_000_000 * (1 + n.hour)) for n in hours]
    frame = pl.DataFrame(
        {"key": ["m"] * len(hours), "period": hours, "hours": [1.0] * len(hours), "tokens": tokens}
    )
    found = load_curve(frame.with_columns(money=pl.lit(Decimal(24))))
    assert found.fits["basis"].item() == "hours of the week"
    assert float(found.fits["fixed_per_hour"].item()) == pytest.approx(24)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_load_points_are_exact_and_the_line_is_the_best_one(seed: int) -> None:
    chance = random.Random(seed)
    n = chance.randint(5, 20)
    tokens = [chance.uniform(1e5, 1e8) for _ in range(n)]
    money = [chance.uniform(0.5, 500) for _ in range(n)]
    found = load_curve(loads(tokens, money))
    for row in found.points.iter_rows(named=True):
        want = Fraction(row["money"]) / Fraction(row["tokens"]) * 1_000_000
        assert abs(Fraction(row["money_per_mtok"]) - want) <= Fraction(1, 10**18)
    fit = found.fits.row(0, named=True)
    if fit["reason"] is None:
        assert fit["fixed_per_hour"] >= 0
        assert fit["variable_per_mtok"] >= 0
        x = [float(v) for v in found.points["tokens_per_hour"]]
        y = [float(v) for v in found.points["money_per_hour"]]

        def off(fixed: float, variable: float) -> float:
            return sum((b - fixed - variable * a / 1e6) ** 2 for a, b in zip(x, y, strict=True))

        fixed, variable = float(fit["fixed_per_hour"]), float(fit["variable_per_mtok"])
        best = off(fixed, variable)
        for _ in range(20):
            near = max(0.0, fixed * chance.uniform(0.9, 1.1)), max(0.0, variable * chance.uniform(0.9, 1.1))
            assert off(*near) >= best * (1 - 1e-9)


def test_daily_load_leaves_out_what_is_not_of_the_day() -> None:
    entries = ledger(
        entry("5", x_model="m"),
        entry("-3", x_model="m", ChargeClass="Correction"),
        entry("9", x_model="m", ChargeCategory="Purchase"),
        entry("4", x_model="m", x_ChargeDate=date(2026, 10, 6)),
        entry("8", x_model="m", x_ChargeDate=date(2026, 10, 9)),
        entry("7"),
    )
    days = rows_of(
        REQUEST_DAYS,
        {"day": date(2026, 10, 5), "model": "m", "input_uncached_tokens": 10, "output_tokens": 5},
        {"day": date(2026, 10, 7), "model": "m", "output_tokens": 2},
        {"day": date(2026, 10, 7), "output_tokens": 99},
    )
    found = daily_load(entries, days)
    assert found.select("key", pl.col("period").dt.day(), "money", "tokens").rows() == [
        ("m", 5, 5, 15),
        ("m", 6, 4, None),
        ("m", 7, None, 2),
    ]


# Traffic and edge


def bill(sku: str | None, **told: Any) -> Row:
    return {
        "ChargePeriodStart": datetime(2026, 10, 3, tzinfo=UTC), "ServiceCategory": "Networking",
        "ServiceName": "Transfer", "SkuMeter": None, "SkuId": sku, "ChargeDescription": None,
        "RegionId": "eu", "BillingCurrency": "USD", "EffectiveCost": Decimal(2),
        "ConsumedQuantity": Decimal(10), "ConsumedUnit": "GB",
    } | told  # fmt: skip


BILL = {name: kind for name, kind in dtypes("costs").items() if name in bill(None)}


@pytest.mark.parametrize(
    ("row", "kind", "matched"),
    [
        (bill("USE1-EUW1-AWS-Out-Bytes"), "cross-region", "SkuId: USE1-EUW1-AWS-Out-Bytes"),
        (bill(None, SkuMeter="Network Inter Region Data Transfer Out"), "cross-region", "SkuMeter: Inter Region"),
        (bill("EUW1-DataTransfer-Regional-Bytes"), "cross-zone", "SkuId: DataTransfer-Regional-Bytes"),
        (bill("DataTransfer-Out-Bytes"), "internet egress", "SkuId: DataTransfer-Out"),
        (bill(None, ChargeDescription="Standard Data Transfer Out"), "internet egress",
         "ChargeDescription: Data Transfer Out"),
        (bill("NatGateway-Bytes", ServiceCategory="Compute"), "NAT", "SkuId: NatGateway"),
        (bill("USE1-DataScannedInTB", ServiceCategory="Analytics"), "data scanned", "SkuId: DataScanned"),
        (bill("TimedStorage-ByteHrs", ServiceCategory="Storage"), "storage kept", "SkuId: TimedStorage"),
        (bill("Requests-Tier1", ServiceCategory="Storage"), "storage requests", "SkuId: Requests-Tier"),
        (bill("LB-Hours"), "other networking", "ServiceCategory: Networking"),
        (bill(None, ServiceCategory="Storage", EffectiveCost=Decimal("-1")), "other storage",
         "ServiceCategory: Storage"),
    ],
)  # fmt: skip
def test_traffic_is_named_and_says_what_matched(row: Row, kind: str, matched: str) -> None:
    found = traffic.traffic_costs(pl.DataFrame([row], schema=BILL))
    told = found.select("kind", "matched", "money", "quantity", "rows").row(0)
    assert told == (kind, matched, row["EffectiveCost"], 10, 1)


def test_traffic_leaves_out_what_is_no_traffic_and_adds_up_the_rest() -> None:
    rows = [bill("DataTransfer-Out-Bytes")] * 3 + [
        bill("BoxUsage:p5.48xlarge", ServiceCategory="Compute"),
        # Its storage is no storage of the bill's.
        bill("TimedStorage-ByteHrs", ServiceCategory="Databases"),
        bill("DataTransfer-Out-Bytes", ConsumedQuantity=None, RegionId="us"),
        bill("DataTransfer-Out-Bytes", BillingCurrency="EUR"),
    ]
    frame = pl.DataFrame(rows, schema=BILL).with_columns(model=pl.lit("m"))
    found = traffic.traffic_costs(frame, by=["model"])
    assert found.select("BillingCurrency", "RegionId", "money", "quantity", "rows", "model").rows() == [
        ("EUR", "eu", 2, 10, 1, "m"),
        ("USD", "eu", 6, 30, 3, "m"),
        ("USD", "us", 2, None, 1, "m"),
    ]
    assert found["money"].sum() == 10
    with pytest.raises(InputError, match="feature"):
        traffic.traffic_costs(frame, by=["feature"])


def calls(*rows: Row) -> pl.DataFrame:
    common = {"day": date(2026, 10, 5), "n_requests": 1, "sample_weight": 1.0, "status": "ok"}
    return pl.DataFrame([common | row for row in rows], infer_schema_length=None)


def test_bytes_stand_for_the_real_calls_and_tell_their_coverage() -> None:
    frame = calls(
        {"model": "m", "sample_weight": 10.0, "n_requests": 2, "request_bytes": 100, "response_bytes": 300},
        {"model": "m", "sample_weight": 20.0, "request_bytes": 5, "response_bytes": None},
    )
    found = traffic.traffic_bytes(frame, by=["model"]).row(0, named=True)
    assert (found["calls"], found["request_bytes"], found["response_bytes"]) == (40, 1100, 3000)
    assert (found["response_bytes_per_call"], found["coverage"], found["reason"]) == (150, 0.5, None)
    none = traffic.traffic_bytes(frame.drop("request_bytes", "response_bytes"), by=["model"]).row(
        0, named=True
    )
    assert (none["response_bytes"], none["coverage"]) == (None, 0.0)
    assert none["reason"] == "the calls do not tell their bytes"


def test_egress_is_split_by_bytes_to_the_last_decimal() -> None:
    rows = [bill("DataTransfer-Out-Bytes", EffectiveCost=Decimal("0.1")), bill("LB-Hours")]
    rows += [bill("DataTransfer-Out-Bytes", ChargePeriodStart=datetime(2026, 11, 3, tzinfo=UTC))]
    paid = traffic.traffic_costs(pl.DataFrame(rows, schema=BILL))
    used = traffic.traffic_bytes(
        calls(
            *(
                {"model": m, "response_bytes": n, "request_bytes": 1}
                for m, n in (("a", 1), ("b", 1), ("c", 1))
            )
        ),
        by=["model"],
    )
    found = traffic.egress_by_bytes(paid, used)
    october = found.filter(pl.col("month") == OCTOBER)
    assert october["money"].sum() == Decimal("0.1")
    assert october["model"].to_list() == ["a", "b", "c"]
    unsplit = found.filter(pl.col("month") == NOVEMBER).row(0, named=True)
    assert (unsplit["model"], unsplit["money"]) == (None, 2)
    assert unsplit["reason"]
    euros = pl.concat(
        [paid, traffic.traffic_costs(pl.DataFrame([bill("x egress", BillingCurrency="EUR")], schema=BILL))]
    )
    with pytest.raises(CurrencyError):
        traffic.egress_by_bytes(euros, used)
    assert traffic.egress_by_bytes(paid.clear(), used).height == 0


def test_edge_fleets_are_pools() -> None:
    pools = rows_of(
        dtypes("pools"),
        {
            "pool_id": "edge-shops",
            "model": "small",
            "gpu_count": 40.0,
            "rate_usd_per_gpu_hour": Decimal("0.05"),
        },
        {"pool_id": "vans", "cluster": "Edge-fleet", "gpu_count": 3.0},
        {"pool_id": "chat", "gpu_count": 8.0, "rate_usd_per_gpu_hour": Decimal(2)},
    )
    months = rows_of(
        REQUEST_MONTHS,
        {"month": OCTOBER, "pool_id": "edge-shops", "calls": 14_880, "output_tokens": 100},
        {"month": OCTOBER, "pool_id": "chat", "calls": 5},
    )
    shops, vans = edge.edge_pools(pools, months).to_dicts()
    assert (shops["pool_id"], shops["money"], shops["money_from"]) == (
        "edge-shops",
        Decimal("1488.00"),
        "rate",
    )
    assert (shops["money_per_device"], shops["money_per_call"]) == (Decimal("37.2"), Decimal("0.1"))
    assert (shops["calls_per_device"], shops["tokens"]) == (372, 100)
    assert (vans["money"], vans["money_from"], vans["calls"]) == (None, None, 0)
    assert vans["reason"]
    paid = pl.DataFrame({"month": [OCTOBER], "pool_id": ["vans"], "money": [Decimal(9)]})
    found = edge.edge_pools(pools, months, money=paid, edge=pl.col("pool_id") == "vans").row(0, named=True)
    assert (found["money"], found["money_from"], found["money_per_call"]) == (9, "ledger", None)
    # A month that is known up to its tenth day has ten days of hours so far.
    running = edge.edge_pools(pools, months, up_to=date(2026, 10, 10)).row(0, named=True)
    assert running["money"] == Decimal(40 * 24 * 10) * Decimal("0.05")


# Benchmarks


def work(team: str | None, money: int | None, tokens: int | None, **told: Any) -> Row:
    return {
        "month": OCTOBER, "team": team, "model": "m", "currency": "USD",
        "money": None if money is None else Decimal(money), "calls": Decimal(5000),
        "tokens": None if tokens is None else Decimal(tokens),
    } | told  # fmt: skip


def test_teams_are_ranked_among_those_that_do_the_same_work() -> None:
    million = 1_000_000
    rows = pl.DataFrame(
        [
            work("a", 10, million), work("b", 10, million), work("c", 40, 2 * million), work("d", 90, 3 * million),
            work("stray", 1, million, calls=Decimal(3)), work("free", 0, million), work("idle", 5, None),
            work("lost", None, million), work(None, 7, million), work("alone", 6, million, model="n"),
        ],
        infer_schema_length=None,
    )  # fmt: skip
    found = {(row["model"], row["team"]): row for row in comparison.between_teams(rows).to_dicts()}
    ranks = {team: (row["rank"], row["percentile"]) for (model, team), row in found.items() if model == "m"}
    assert ranks["a"] == ranks["b"] == (1, pytest.approx(2.5 / 3))
    assert (ranks["c"], ranks["d"]) == ((3, pytest.approx(1 / 3)), (4, 0.0))
    assert (found["m", "d"]["times_best"], found["m", "d"]["above_best"]) == (3, 60)
    assert found["m", "c"]["best_team"] == "a"
    for team in ("stray", "free", "idle", "lost", None):
        assert found["m", team]["rank"] is None
        assert found["m", team]["reason"]
    alone = found["n", "alone"]
    assert (alone["rank"], alone["teams"], alone["percentile"]) == (1, 1, None)
    assert alone["reason"] == "no other team does the same work"


def test_kinds_of_features_keep_unlike_work_apart() -> None:
    rows = pl.DataFrame(
        [
            work("a", 10, 1_000_000, feature="answers"),
            work("b", 20, 1_000_000, feature="find"),
            work("b", 1, 1_000_000, feature="index"),
        ]
    )
    found = comparison.between_teams(rows, kinds={"answers": "search", "find": "search"})
    assert found.select("kind", "team", "rank").rows() == [
        ("index", "b", 1),
        ("search", "a", 1),
        ("search", "b", 2),
    ]
    with pytest.raises(InputError, match="currency"):
        comparison.between_teams(rows.drop("currency"))


def test_money_and_use_stand_side_by_side() -> None:
    entries = ledger(
        entry("5", x_model="m"),
        entry("3", x_model="m", x_team="unallocated"),
        entry("4", x_model="n"),
        entry("9", x_model="m", x_ChargeMonth="2026-09"),
    )
    months = rows_of(
        REQUEST_MONTHS,
        {"month": OCTOBER, "team": "search", "model": "m", "calls_ok": 4, "output_tokens": 8},
        {"month": OCTOBER, "model": "m", "calls_ok": 1},
    )
    found = comparison.money_and_use(entries, months, by=["team", "model"])
    assert found.select("team", "model", "money", "calls", "tokens").rows() == [
        ("search", "m", 5, 4, 8),
        ("search", "n", 4, None, None),
        (None, "m", 3, 1, 0),
    ]


def test_models_of_ones_own_beside_a_dated_price() -> None:
    prices = rows_of(
        dtypes("prices"),
        *(
            {"provider": "acme", "model": "open-70b", "unit": unit, "context": "standard", "origin": "genai_prices",
             "valid_from": begin, "valid_to": end, "rate_usd_per_unit": Decimal(rate)}
            for begin, end, rate in (
                (None, datetime(2026, 10, 10, tzinfo=UTC), "4"),
                (datetime(2026, 10, 10, tzinfo=UTC), None, "2"),
            )
            for unit in ("input_mtok", "output_mtok")
        ),
    )  # fmt: skip
    common = {
        "status": "ok",
        "n_requests": 1,
        "operation": "chat",
        "hosting": "self_hosted",
        "model": "larch-70b",
    }
    requests = rows_of(
        dtypes("inference_requests"),
        *(
            common
            | {"ts_start": datetime(2026, 10, day, tzinfo=UTC), "day": date(2026, 10, day), "sample_weight": 1000.0,
               "input_uncached_tokens": 900, "cache_read_tokens": 0, "cache_write_tokens": 0, "output_tokens": 100}
            for day in (5, 15)
        ),
    )  # fmt: skip
    rows = pl.DataFrame([work("search", 12, 2_000_000, model="larch-70b")])
    own = comparison.against_reference(
        rows, price(requests.lazy(), prices.lazy()).with_columns(team=pl.lit("search"))
    )
    assert own["reason"].item() == "no price of the calls is known"
    swapped = comparison.as_reference(requests, {"larch-70b": ("acme", "open-70b")})
    priced = price(swapped, prices.lazy()).with_columns(team=pl.lit("search"))
    told = comparison.against_reference(rows, priced).row(0, named=True)
    # A million tokens at 4, a million at 2: 3 on average, when 6 was paid.
    assert (told["money_per_mtok"], told["reference_per_mtok"], told["times_reference"]) == (6, 3, 2)
    assert (told["reference_money"], told["above_reference"], told["coverage"]) == (6, 6, 1.0)
    # A call that failed is among the tokens that were paid for, and so in the published price of them.
    one_failed = priced.with_columns(
        status=pl.when(pl.col("day") == date(2026, 10, 15)).then(pl.lit("error")).otherwise("status")
    )
    again = comparison.against_reference(rows, one_failed).row(0, named=True)
    assert (again["reference_per_mtok"], again["reference_money"], again["coverage"]) == (3, 6, 1.0)
    euros = comparison.against_reference(rows.with_columns(currency=pl.lit("EUR")), priced).row(0, named=True)
    assert (euros["times_reference"], euros["reason"]) == (None, "published prices are in USD")


# The practice


def done(**told: str) -> Practice:
    return Practice.model_validate(told)


def test_the_return_of_the_practice_never_counts_what_was_avoided() -> None:
    entries = [
        done(month="2026-10", what="int8", realised_savings="300", avoided_spend="9000", hours="2",
                 rate_per_hour="50", tools="20"),
        done(month="2026-11", what="int8", realised_savings="300"),
        done(month="2026-11", what="tags", hours="10", rate_per_hour="0.3"),
        done(month="2026-11", what="dashboards", hours="3"),
        done(month="2026-10", what="eu", realised_savings="5", currency="EUR"),
    ]  # fmt: skip
    found = practice.practice_returns(practice.practice_entries(entries, "USD"))
    october = found.months.filter(pl.col("month") == OCTOBER, pl.col("currency") == "USD").row(0, named=True)
    assert (october["practice_money"], october["roi"], october["net_savings"]) == (120, Decimal("2.5"), 180)
    assert (october["avoided_spend"], october["reason"]) == (9000, None)
    work = {(row["what"], row["currency"]): row for row in found.work.to_dicts()}
    assert work["int8", "USD"]["roi"] == 5
    assert (work["tags", "USD"]["roi"], work["tags", "USD"]["hours_money"]) == (0, 3)
    assert (work["dashboards", "USD"]["roi"], work["dashboards", "USD"]["reason"]) == (
        None,
        "hours have no rate",
    )
    assert work["eu", "EUR"]["reason"] == "nothing was spent on the practice"
    assert found.whole["currency"].to_list() == ["EUR", "USD"]
    assert found.whole["practice_money"].to_list() == [0, None]
    assert practice.practice_returns(practice.practice_entries([], "USD")).whole.height == 0
    with pytest.raises(InputError, match="tools"):
        practice.practice_returns(practice.practice_entries(entries, "USD").drop("tools"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('what = "x"', "write realised_savings, avoided_spend, hours or tools"),
        ('what = "x"\nhours = 1.5', "write the amount as a string"),
        ('what = "x"\nhours = "-1"', "greater than or equal to 0"),
        ('what = "x"\nhours = "1"\nrate_usd_per_hour = "2"', "did you mean 'rate_per_hour'"),
    ],
)
def test_practice_in_the_configuration_says_what_is_wrong(tmp_path: Path, line: str, said: str) -> None:
    text = f'[lab]\nname = "Mine"\n\n[[practice]]\nmonth = "2026-10"\n{line}\n'
    (tmp_path / "finops.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load(tmp_path)


# Charts


def spec_of(chart: Any) -> dict[str, Any]:
    spec = chart.to_dict()
    assert json.loads(json.dumps(spec)) == spec
    assert spec["description"]
    return dict(spec)


def test_the_chart_of_load_draws_points_and_lines_of_the_same_names() -> None:
    tokens = [24e6 * n for n in (1, 2, 4, 8, 16)]
    frame = pl.concat([loads(tokens, [240.0] * 5), loads([n * 2 for n in tokens], [100.0] * 5, key="other")])
    found = load_curve(frame)
    spec = spec_of(charts.load_curve(found.points, found.lines, title="Load", unit="EUR"))
    assert len(spec["layer"]) == 2
    points, lines = (layer["data"]["values"] for layer in spec["layer"])
    assert len(points) == 10
    assert {row["key"] for row in points} == {row["key"] for row in lines} == {"m", "other"}
    assert spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert spec["layer"][0]["encoding"]["y"]["title"] == "EUR per 1M tokens"
    assert "m: from €10.00 at 1.0M tokens per hour to €0.625 at 16.0M" in spec["description"]
    unknown = found.points.with_columns(
        pl.when(pl.col("key") == "m").then("money_per_mtok").alias("money_per_mtok")
    )
    assert spec_of(charts.load_curve(unknown, title="Load"))["description"].endswith(
        "5 periods with unknown values not drawn."
    )
    with pytest.raises(InputError, match="not above zero"):
        charts.load_curve(found.points.with_columns(pl.lit(0.0).alias("tokens_per_hour")), title="Load")
    with pytest.raises(InputError, match="every"):
        charts.load_curve(
            found.points.with_columns(pl.lit(None, pl.Float64).alias("money_per_mtok")), title="Load"
        )


def test_a_year_of_many_models_is_drawn_by_those_with_the_most_tokens() -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]
    frame = pl.concat(
        pl.DataFrame({"period": days}).with_columns(
            key=pl.lit(f"m{n:02}"), tokens_per_hour=pl.lit(1e6 + n), money_per_mtok=pl.lit(2.0)
        )
        for n in range(20)
    )
    spec = spec_of(charts.load_curve(frame, title="Load"))
    drawn = (spec["layer"][0].get("data") or spec["data"])["values"]
    assert len(drawn) == 7 * 365
    assert {row["key"] for row in drawn} == {f"m{n}" for n in range(13, 20)}
    assert spec["description"].endswith("13 names with fewer tokens not drawn.")


def test_the_chart_of_packing_orders_pools_and_draws_what_was_asked_for() -> None:
    pools = pl.DataFrame(
        {
            "pool_id": ["small", "large", "unknown"],
            "gpu_hours": [10.0, 100.0, None],
            "allocated_gpu_hours": [10.0, 80.0, None],
            "active_gpu_hours": [5.0, 20.0, None],
            "requested_gpu_hours": [None, 120.0, None],
        }
    )
    spec = spec_of(charts.packing_bars(pools, title="Packing"))
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["bar", "bar", "bar", "tick", "text"]
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["large", "small"]
    assert "together 23% in use; large 100 GPU-hours, 80% held, 20% in use" in spec["description"]
    assert spec["description"].endswith("1 pool with unknown values not drawn.")
    calm = spec_of(
        charts.packing_bars(
            pools.drop("requested_gpu_hours").with_columns(requested_gpu_hours=None), title="Packing"
        )
    )
    assert "tick" not in [layer["mark"]["type"] for layer in calm["layer"]]
    with pytest.raises(InputError, match="twice"):
        charts.packing_bars(pl.concat([pools, pools]), title="Packing")
    many = pl.DataFrame({"pool_id": [f"p{n:02}" for n in range(30)]}).with_columns(
        gpu_hours=1.0, allocated_gpu_hours=1.0, active_gpu_hours=0.0, requested_gpu_hours=None
    )
    assert "5 smaller pools not drawn" in spec_of(charts.packing_bars(many, title="Packing"))["description"]


def test_commitments_are_told_by_month_and_provider_whatever_the_order() -> None:
    charges = [
        ("2026-09", "CloudOne", "Used", "7.5"),
        ("2026-10", "CloudOne", "Used", "9"),
        ("2026-10", "CloudOne", "Unused", "3"),
        ("2026-10", "CloudTwo", "Unused", "4"),
        ("2026-10", "CloudTwo", None, "100"),
    ]
    entries = pl.DataFrame(
        [(month, provider, "USD", status, Decimal(amount)) for month, provider, status, amount in charges],
        schema={
            "x_ChargeMonth": pl.String,
            "ProviderName": pl.String,
            "BillingCurrency": pl.String,
            "CommitmentDiscountStatus": pl.String,
            "EffectiveCost": pl.Decimal(38, 18),
        },
        orient="row",
    )
    found = commitment_use(entries)
    assert found.rows() == [
        ("2026-10", "CloudOne", Decimal(9), Decimal(3), Decimal(12), 0.75),
        ("2026-10", "CloudTwo", Decimal(0), Decimal(4), Decimal(4), 0.0),
        ("2026-09", "CloudOne", Decimal("7.5"), Decimal(0), Decimal("7.5"), 1.0),
    ]
    assert commitment_use(entries.reverse()).equals(found)
    assert commitment_use(entries.filter(pl.col("CommitmentDiscountStatus").is_null())).is_empty()
    with pytest.raises(CurrencyError):
        commitment_use(pl.concat([entries, entries.with_columns(BillingCurrency=pl.lit("EUR"))]))
