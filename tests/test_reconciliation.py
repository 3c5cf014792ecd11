"""Calculated against billed: one planted cause, one bar; what nobody planted stays unexplained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, decimal_sum, write_lab
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finops_lab.charts.waterfall import waterfall
from finops_lab.contracts import dtypes
from finops_lab.errors import CurrencyError, InputError, ReconciliationError
from finops_lab.lab import open_lab, sample_lab
from finops_lab.pricing import price, price_book
from finops_lab.reconciliation import CAUSES, KEYS, LABELS, Reconciliation, calculated_against_billed
from finops_lab.reconciliation._proof import prove
from finops_lab.reconciliation._telemetry import Usage
from finops_lab.reconciling import reconcile as of_lab

REQUESTS, COSTS = dtypes("inference_requests"), dtypes("costs")
DAY = datetime(2026, 10, 5, 12, tzinfo=UTC)
MILLION = 10**6


def own_prices(
    *rows: tuple[str, str, str], since: datetime | None = None, seller: str = "acme"
) -> pl.DataFrame:
    """Prices of one's own: unit, service tier, USD."""
    return pl.DataFrame(
        [(seller, "quill", unit, context, since, Decimal(rate)) for unit, context, rate in rows],
        schema=["provider", "model", "unit", "context", "valid_from", "rate_usd_per_unit"],
        orient="row",
    ).cast({"valid_from": pl.Datetime("us", "UTC"), "rate_usd_per_unit": pl.Decimal(38, 18)})


LIST = own_prices(
    ("input_mtok", "standard", "3"),
    ("cache_read_mtok", "standard", "0.30"),
    ("cache_write_mtok", "standard", "3.75"),
    ("cache_write_1h_mtok", "standard", "6"),
    ("output_mtok", "standard", "15"),
    ("input_mtok", "batch", "1.50"),
    ("output_mtok", "batch", "7.50"),
)
BOOK = price_book(LIST.lazy()).filter(pl.col("origin") == "user").collect().lazy()


def calls(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Calls of a million tokens in and a tenth of it out; each row says what differs."""
    full = []
    for row in rows:
        one: dict[str, Any] = {
            **dict.fromkeys(REQUESTS),
            "ts_start": DAY,
            "provider": "acme",
            "model": "quill",
            "operation": "chat",
            "n_requests": 1,
            "sample_weight": 1.0,
            "input_uncached_tokens": MILLION,
            "output_tokens": MILLION // 10,
            "status": "ok",
            **row,
        }
        full.append({**one, "day": one["ts_start"].date()})
    return pl.DataFrame(full, schema=REQUESTS).lazy()


def charge(amount: str, **fields: Any) -> dict[str, Any]:
    return {"BilledCost": Decimal(amount), "EffectiveCost": Decimal(amount), **fields}


def line(tokens: int, price_: str, amount: str | None = None, **fields: Any) -> dict[str, Any]:
    """A charge that states tokens and a price of a million; its amount is their product unless told."""
    exact = Decimal(tokens) * Decimal(price_) / MILLION
    quantity = {"PricingQuantity": Decimal(tokens) / MILLION, "ContractedUnitPrice": Decimal(price_)}
    return charge(amount or str(exact), **quantity, **fields)


INPUT = line(MILLION, "3")
OUTPUT = line(MILLION // 10, "15", x_TokenDirection="Output")


def bill(*rows: dict[str, Any], extra: dict[str, Any] | None = None) -> pl.LazyFrame:
    full = []
    for row in rows:
        start = row.get("ChargePeriodStart", DAY.replace(hour=0))
        full.append(
            {
                **dict.fromkeys(COSTS),
                "BillingCurrency": "USD",
                "ProviderName": "Acme",
                "ChargePeriodStart": start,
                "ChargePeriodEnd": start + timedelta(days=1),
                "ChargeCategory": "Usage",
                "x_ModelId": "quill",
                "x_TokenDirection": "Input",
                "PricingUnit": "1000000 Tokens",
                **(extra or {}),
                **row,
            }
        )
    return pl.DataFrame(full, schema={**COSTS, **dict.fromkeys(extra or {}, pl.String)}).lazy()


def reconcile(requests: pl.LazyFrame, costs: pl.LazyFrame, **kwargs: Any) -> Reconciliation:
    found = calculated_against_billed(requests, kwargs.pop("book", BOOK), costs, **kwargs)
    adds_up(found)
    return found


def adds_up(found: Reconciliation) -> None:
    """Add every line, the waterfall and the receipt up again in plain Python."""
    for row in found.lines.iter_rows(named=True):
        causes = [row[cause] for cause in CAUSES]
        assert decimal_sum([row["calculated_usd"], *causes, row["unexplained"]]) == row["billed"]
        assert decimal_sum([row["billed"], row["calculated_usd"].copy_negate()]) == row["gap"]
    steps = found.waterfall.rows(named=True)
    assert [row["step"] for row in steps] in ([], list(LABELS))
    for before, after in pairwise(steps):
        assert after["start"] == (0 if after["kind"] == "total" else before["end"])
        assert decimal_sum([after["start"], after["amount"]]) == after["end"]
    if steps:
        assert steps[-2]["end"] == steps[-1]["amount"]
    assert found.receipt["residual"].to_list() == [0] * found.receipt.height


def bars(found: Reconciliation) -> dict[str, Decimal]:
    """Return the steps between calculated and billed that are not zero."""
    rows = found.waterfall.filter(pl.col("kind") != "total", pl.col("amount") != 0)
    return dict(rows.select("step", "amount").iter_rows())


def end(found: Reconciliation, step: str) -> Decimal:
    return found.waterfall.filter(pl.col("step") == step)["amount"][0]


# --- one planted cause, one bar ---------------------------------------------------------------------


def test_a_bill_that_agrees_has_no_gap() -> None:
    found = reconcile(calls({}), bill(INPUT, OUTPUT))
    assert bars(found) == {}
    assert found.waterfall["amount"].to_list()[::13] == [Decimal("4.5"), Decimal("4.5")]
    assert found.lines.select(KEYS).rows() == [
        ("acme", "quill", date(2026, 10, 5), "Input", None),
        ("acme", "quill", date(2026, 10, 5), "Output", None),
    ]
    assert found.matched.rows() == [("acme", "quill", "both", ["acme"], ["quill"], ["Acme"], ["quill"])]


def test_cached_tokens() -> None:
    requests = calls(
        {"cache_read_tokens": 2 * MILLION, "cache_write_tokens": MILLION, "cache_write_1h_tokens": 400_000}
    )
    cached = {"x_TokenDirection": "Input"}
    read = line(2 * MILLION, "0.30", **cached, x_TokenCacheAction="Read")
    write = charge(
        "4.65", **cached, x_TokenCacheAction="Write", ConsumedQuantity=Decimal(MILLION), ConsumedUnit="Tokens"
    )
    found = reconcile(requests, bill(INPUT, OUTPUT, read, write))
    # Read 2 x (0.30 - 3); written 0.6 x 3.75 + 0.4 x 6 - 3.
    assert bars(found) == {"cached_tokens": Decimal("-5.40") + Decimal("1.65")}
    assert end(found, "calculated") == Decimal("13.5")


def test_cached_tokens_on_a_bill_that_knows_no_cache() -> None:
    requests = calls({"cache_read_tokens": 2 * MILLION})
    both = charge("3.60", ConsumedQuantity=Decimal(3 * MILLION), ConsumedUnit="Tokens")
    found = reconcile(requests, bill(both, OUTPUT))
    assert bars(found) == {"cached_tokens": Decimal("-5.40")}
    assert found.lines["cache_action"].to_list() == [None, None]


def test_a_tier_that_both_sides_know() -> None:
    found = reconcile(
        calls({"service_tier": "batch"}, {}),
        bill(
            line(MILLION, "1.50", x_ServiceTier="batch"),
            line(MILLION // 10, "7.50", x_TokenDirection="Output", x_ServiceTier="batch"),
            INPUT,
            OUTPUT,
            extra={"x_ServiceTier": None},
        ),
    )
    assert bars(found) == {"service_tier": Decimal("-2.25")}


@pytest.mark.parametrize(
    "said",
    [
        {"SkuMeter": "quill-input-tokens-batch"},
        {"SkuPriceDetails": '{"ServiceTier": "Batch"}'},
    ],
)
def test_a_tier_that_only_the_bill_knows(said: dict[str, str]) -> None:
    found = reconcile(
        calls({"output_tokens": 0}, {"output_tokens": 0}), bill(INPUT, line(MILLION, "1.50", **said))
    )
    assert bars(found) == {"service_tier": Decimal("-1.50")}


def test_a_tier_that_only_telemetry_knows() -> None:
    batch = charge("4.50", ConsumedQuantity=Decimal(2 * MILLION), ConsumedUnit="Tokens")
    found = reconcile(calls({"output_tokens": 0, "service_tier": "batch"}, {"output_tokens": 0}), bill(batch))
    assert bars(found) == {"service_tier": Decimal("-1.50")}


@pytest.mark.parametrize("failed", [{"status": "timeout"}, {"status": "error"}, {"is_retry": True}])
def test_failed_calls_that_the_vendor_did_not_charge(failed: dict[str, Any]) -> None:
    requests = calls({}, {**failed, "input_uncached_tokens": 200_000, "output_tokens": 1_000})
    assert bars(reconcile(requests, bill(INPUT, OUTPUT))) == {"failed_calls": Decimal("-0.615")}


def test_failed_calls_that_the_vendor_charged_leave_no_gap() -> None:
    requests = calls(
        {"output_tokens": 0}, {"status": "error", "input_uncached_tokens": 200_000, "output_tokens": 0}
    )
    assert bars(reconcile(requests, bill(line(1_200_000, "3")))) == {}


def test_a_bill_that_is_a_day_late_at_the_month_s_end() -> None:
    last = datetime(2026, 10, 31, 23, 59, tzinfo=UTC)
    requests = calls(
        {"output_tokens": 0}, {"ts_start": last, "output_tokens": 0, "input_uncached_tokens": 300_000}
    )
    late = line(300_000, "3", ChargePeriodStart=datetime(2026, 11, 1, tzinfo=UTC))
    october = reconcile(requests, bill(INPUT, late), month="2026-10")
    assert bars(october) == {"lag": Decimal("-0.9")}
    assert end(october, "billed") == 3
    november = reconcile(requests, bill(INPUT, late), month=date(2026, 11, 9))
    assert bars(november) == {"lag": Decimal("0.9")}
    assert end(november, "calculated") == 0
    both = reconcile(requests, bill(INPUT, late))
    assert bars(both) == {}
    assert both.lines["lag"].to_list() == [0, Decimal("-0.9"), Decimal("0.9")]


def test_only_a_part_is_late() -> None:
    last, first = datetime(2026, 10, 31, 23, tzinfo=UTC), datetime(2026, 11, 1, 9, tzinfo=UTC)
    requests = calls({"ts_start": last, "output_tokens": 0}, {"ts_start": first, "output_tokens": 0})
    costs = bill(
        line(750_000, "3", ChargePeriodStart=last.replace(hour=0)),
        line(1_250_000, "3", ChargePeriodStart=first.replace(hour=0)),
    )
    assert bars(reconcile(requests, costs, month="2026-10")) == {"lag": Decimal("-0.75")}


def test_within_a_month_a_surplus_beside_a_lack_of_other_size_is_no_lag() -> None:
    nxt = DAY + timedelta(days=1)
    requests = calls({"output_tokens": 0}, {"ts_start": nxt, "output_tokens": 0})
    costs = bill(line(900_000, "3"), line(1_200_000, "3", ChargePeriodStart=nxt.replace(hour=0)))
    assert bars(reconcile(requests, costs)) == {
        "telemetry_not_on_bill": Decimal("-0.3"),
        "traffic_not_seen": Decimal("0.6"),
    }
    even = bill(line(900_000, "3"), line(1_100_000, "3", ChargePeriodStart=nxt.replace(hour=0)))
    assert bars(reconcile(requests, even)) == {}
    assert reconcile(requests, even).lines["lag"].to_list() == [Decimal("-0.3"), Decimal("0.3")]


def test_telemetry_that_is_not_on_the_bill() -> None:
    found = reconcile(
        calls({}, {"model": "other", "ts_start": DAY}, {"ts_start": DAY + timedelta(days=3)}),
        bill(INPUT, OUTPUT),
    )
    # The third call has no bill line; the second has no price, so it is worth nothing here, and is seen.
    assert bars(found) == {"telemetry_not_on_bill": Decimal("-4.5")}
    other = found.lines.filter(pl.col("model") == "other")
    assert other["on_bill"].to_list() == [False, False]
    assert other["unpriced_tokens"].to_list() == [MILLION, MILLION // 10]
    assert found.matched.filter(pl.col("side") == "telemetry")["model"].to_list() == ["other"]


def test_tokens_beyond_those_of_the_bill() -> None:
    found = reconcile(calls({}), bill(line(600_000, "3"), OUTPUT))
    assert bars(found) == {"telemetry_not_on_bill": Decimal("-1.2")}


@pytest.mark.parametrize(
    ("unseen", "worth"),
    [
        (line(500_000, "3"), "1.5"),
        (line(500_000, "3", ChargePeriodStart=datetime(2026, 10, 9, tzinfo=UTC)), "1.5"),
        (line(500_000, "9", x_ModelId="unheard-of"), "4.5"),
        (line(500_000, "9", ProviderName="Elsewhere", x_ModelId=None), "4.5"),
        (charge("7.77", x_ModelId="unheard-of", PricingUnit=None), "7.77"),
    ],
    ids=["same line", "another day", "another model", "no model", "nothing counted"],
)
def test_traffic_that_telemetry_did_not_see(unseen: dict[str, Any], worth: str) -> None:
    found = reconcile(calls({}), bill(INPUT, OUTPUT, unseen))
    assert bars(found) == {"traffic_not_seen": Decimal(worth)}


def test_telemetry_without_a_price() -> None:
    free = own_prices(("output_mtok", "standard", "15"))
    book = price_book(free.lazy()).filter(pl.col("origin") == "user")
    found = reconcile(calls({}), bill(INPUT, OUTPUT), book=book)
    assert bars(found) == {"unpriced": Decimal(3)}
    assert found.lines["unpriced_tokens"].to_list() == [MILLION, 0]
    uncounted = charge("3.21", PricingUnit=None)
    assert bars(reconcile(calls({}), bill(uncounted, OUTPUT), book=book)) == {"unpriced": Decimal("3.21")}


def test_a_price_that_changed() -> None:
    cut = own_prices(("output_mtok", "standard", "12"), since=datetime(2026, 10, 5, tzinfo=UTC))
    book = price_book(pl.concat([LIST, cut]).lazy()).filter(pl.col("origin") == "user")
    # The vendor still billed the old price: 0.1 x (15 - 12).
    assert bars(reconcile(calls({}), bill(INPUT, OUTPUT), book=book)) == {"price_change": Decimal("0.3")}
    # The price changed at noon, and each call has its own.
    noon = own_prices(("output_mtok", "standard", "12"), since=DAY)
    book = price_book(pl.concat([LIST, noon]).lazy()).filter(pl.col("origin") == "user")
    requests = calls(
        {"input_uncached_tokens": 0, "ts_start": DAY - timedelta(hours=1)}, {"input_uncached_tokens": 0}
    )
    assert (
        bars(reconcile(requests, bill(OUTPUT, line(100_000, "12", x_TokenDirection="Output")), book=book))
        == {}
    )


def test_a_bill_that_states_no_price_may_have_used_one_that_the_book_knows() -> None:
    cut = own_prices(("input_mtok", "standard", "2"), since=datetime(2026, 10, 5, tzinfo=UTC))
    book = price_book(pl.concat([LIST, cut]).lazy()).filter(pl.col("origin") == "user").collect().lazy()
    requests = calls({"output_tokens": 0, "input_uncached_tokens": 1_234_567})

    def at(amount: str) -> dict[str, Decimal]:
        row = charge(amount, ConsumedQuantity=Decimal(1_234_567), ConsumedUnit="Tokens")
        return bars(reconcile(requests, bill(row), book=book))

    # 2.469134 by the book; the old price gives 3.703701, billed to the cent.
    assert at("3.70") == {"price_change": Decimal("1.234567"), "rounding": Decimal("-0.003701")}
    assert at("2.47") == {"rounding": Decimal("0.000866")}
    assert at("3.60") == {"unexplained": Decimal("1.130866")}


def test_an_agreed_discount_is_a_price_that_differs_and_list_cost_has_none() -> None:
    row = line(MILLION, "2.85") | {"ListUnitPrice": Decimal(3), "ListCost": Decimal(3)}
    costs = bill(row)
    requests = calls({"output_tokens": 0})
    assert bars(reconcile(requests, costs)) == {"price_change": Decimal("-0.15")}
    assert bars(reconcile(requests, costs, metric="ListCost")) == {}


@pytest.mark.parametrize("stated", [True, False])
def test_rounding_to_cents(stated: bool) -> None:
    requests = calls({"input_uncached_tokens": 123_456, "output_tokens": 0})
    row = line(123_456, "3", "0.37")  # exactly 0.370368
    if not stated:
        row |= {"ContractedUnitPrice": None}
    assert bars(reconcile(requests, bill(row))) == {"rounding": Decimal("-0.000368")}


def test_credits_and_corrections() -> None:
    credit = charge("-1.11", ChargeCategory="Credit")
    correction = charge("0.11", ChargeClass="Correction", x_TokenDirection="Output")
    found = reconcile(calls({}), bill(INPUT, OUTPUT, credit, correction))
    assert bars(found) == {"other_charges": Decimal(-1)}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("off", ["1.23", "-0.02", "0.010001"])
def test_what_nobody_knows_lands_in_unexplained_alone(off: str, stated: bool) -> None:
    row = line(MILLION, "3", str(3 + Decimal(off)))
    if not stated:
        row |= {"ContractedUnitPrice": None}
    assert bars(reconcile(calls({}), bill(row, OUTPUT))) == {"unexplained": Decimal(off)}


def test_a_surcharge_on_one_of_many_rounded_charges_is_not_taken_for_rounding() -> None:
    requests = calls({"input_uncached_tokens": 3_000_000, "output_tokens": 0})
    rows = [line(1_000, "3", "0.01") for _ in range(2_999)]  # 0.003 each, rounded up
    found = reconcile(requests, bill(*rows, line(1_000, "3", "0.51")))
    assert bars(found) == {"rounding": 2_999 * Decimal("0.007"), "unexplained": Decimal("0.507")}


def test_all_causes_at_once_in_their_order() -> None:
    requests = calls(
        {"cache_read_tokens": 500_000},
        {"service_tier": "batch"},
        {"status": "error", "input_uncached_tokens": 100_000, "output_tokens": None},
    )
    costs = bill(
        line(1_000_000, "3.30", "3.31", x_ServiceTier=None),
        line(1_200_000, "1.50", x_ServiceTier="batch"),
        line(500_000, "0.30", x_TokenCacheAction="Read"),
        line(90_000, "15", x_TokenDirection="Output"),
        line(100_000, "7.50", x_TokenDirection="Output", x_ServiceTier="batch"),
        charge("-5", ChargeCategory="Credit"),
        extra={"x_ServiceTier": None},
    )
    assert bars(reconcile(requests, costs)) == {
        "cached_tokens": Decimal("-1.35"),  # 0.5 x (0.30 - 3)
        "service_tier": Decimal("-2.25"),  # 1 x (1.5 - 3) + 0.1 x (7.5 - 15)
        "failed_calls": Decimal("-0.3"),  # 0.1 x 3
        "telemetry_not_on_bill": Decimal("-0.15"),  # 0.01 x 15
        "traffic_not_seen": Decimal("0.3"),  # 0.2 x 1.50
        "price_change": Decimal("0.3"),  # 1 x (3.30 - 3)
        "unexplained": Decimal("0.01"),  # a whole cent is no rounding
        "other_charges": Decimal(-5),
    }


# --- samples ----------------------------------------------------------------------------------------


def sampled(off: int) -> Reconciliation:
    rows = [
        {
            "sample_weight": 10.0,
            "input_uncached_tokens": 1_000 + n,
            "output_tokens": 0,
            "ts_start": DAY + timedelta(days=n % 4),
        }
        for n in range(40)
    ]
    days = [DAY.replace(hour=0) + timedelta(days=n) for n in range(4)]
    tokens = [
        sum(10 * r["input_uncached_tokens"] for r in rows if r["ts_start"].date() == day.date())
        for day in days
    ]
    # The estimate's standard error is the root of 40 x 10 x 9 x 1,020 squared: about 61,000 tokens.
    return reconcile(
        calls(*rows),
        bill(*(line(n + off, "3", ChargePeriodStart=d) for n, d in zip(tokens, days, strict=True))),
    )


def test_what_chance_explains_is_sampling_and_what_it_does_not_is_traffic() -> None:
    near, far = sampled(40_000), sampled(60_000)
    assert bars(near) == {"sampling": 4 * Decimal("0.12")}
    assert bars(far) == {"traffic_not_seen": 4 * Decimal("0.18")}
    assert near.lines["sampled"].all()
    assert bars(sampled(0)) == {}


def test_weighted_tokens_are_rounded_once() -> None:
    rows = [{"sample_weight": 1.5, "input_uncached_tokens": 1, "output_tokens": 0} for _ in range(4)]
    assert reconcile(calls(*rows), bill(INPUT)).lines["telemetry_tokens"].to_list() == [6]


def test_before_the_first_log_nothing_is_put_down_to_chance() -> None:
    rows = [{"sample_weight": 10.0, "output_tokens": 0, "ts_start": DAY + timedelta(days=n)} for n in (0, 1)]
    costs = [
        line(10 * MILLION, "3", ChargePeriodStart=DAY.replace(hour=0) + timedelta(days=n)) for n in (-2, 0, 1)
    ]
    assert bars(reconcile(calls(*rows), bill(*costs))) == {"traffic_not_seen": Decimal(30)}


def test_failed_calls_of_a_sample_are_judged_over_all_days() -> None:
    rows = [
        {"sample_weight": 2.0, "output_tokens": 0},
        {"sample_weight": 2.0, "output_tokens": 0, "status": "error"},
    ]
    found = reconcile(calls(*rows), bill(line(2 * MILLION, "3")))
    assert bars(found) == {"failed_calls": Decimal(-6)}


# --- names and grain --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("telemetry", "on_bill"),
    [
        (("anthropic", "claude-sonnet-4-5-20250929"), ("Anthropic", "claude-sonnet-4-5")),
        (("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("AWS", "Claude Sonnet 4.5")),
        (("openai", "gpt-4o-2024-08-06"), ("OpenAI", "gpt-4o")),
        (("azure.ai.openai", "gpt-4.1-2025-04-14"), ("Microsoft", "gpt 4.1")),
        (("gcp.vertex_ai", "gemini-2.5-pro"), ("Google Cloud", "Gemini 2.5 Pro")),
        ((None, "bedrock/claude-opus-5"), ("AWS", "Claude Opus 5")),
        (("example_models", "My-Own_Model"), ("Example Models API", "my own model")),
    ],
)
def test_names_of_both_sides_are_matched(telemetry: tuple[str | None, str], on_bill: tuple[str, str]) -> None:
    requests = calls({"provider": telemetry[0], "model": telemetry[1], "output_tokens": 0})
    costs = bill(line(MILLION, "3", ProviderName=on_bill[0], x_ModelId=on_bill[1]))
    found = reconcile(requests, costs, book=price_book())
    assert found.matched["side"].to_list() == ["both"]
    assert found.lines.height == 1
    assert found.lines["telemetry_tokens"].to_list() == found.lines["billed_tokens"].to_list() == [MILLION]


def test_a_model_of_its_own_price_is_not_mixed_with_its_namesake() -> None:
    requests = calls({"provider": "openai", "model": "gpt-4o-2024-05-13", "output_tokens": 0})
    costs = bill(line(MILLION, "2.50", ProviderName="OpenAI", x_ModelId="gpt-4o"))
    found = reconcile(requests, costs, book=price_book())
    assert found.matched["side"].sort().to_list() == ["bill", "telemetry"]
    assert bars(found) == {"telemetry_not_on_bill": Decimal(-5), "traffic_not_seen": Decimal("2.5")}


def test_the_model_that_answered_counts() -> None:
    requests = calls({"model": "my-deployment", "response_model": "quill", "output_tokens": 0})
    assert bars(reconcile(requests, bill(INPUT))) == {}


def test_charges_of_a_month_without_directions() -> None:
    first = datetime(2026, 10, 1, tzinfo=UTC)
    month = {"ChargePeriodStart": first, "ChargePeriodEnd": datetime(2026, 11, 1, tzinfo=UTC)}
    requests = calls({}, {"ts_start": DAY + timedelta(days=9)})
    found = reconcile(requests, bill(charge("9.10", **month, x_TokenDirection=None, PricingUnit=None)))
    assert bars(found) == {"unexplained": Decimal("0.1")}
    assert found.lines.select(*KEYS, "billed_tokens").rows() == [
        ("acme", "quill", first.date(), None, None, None)
    ]


def test_price_details_say_what_a_plain_focus_bill_does_not() -> None:
    details = '{"ModelId": "quill", "TokenDirection": "Input"}'
    bare = {"x_ModelId": None, "x_TokenDirection": None, "SkuPriceDetails": details}
    rows = [
        line(MILLION, "3", **bare, SkuMeter="Input Tokens"),
        line(MILLION, "0.30", **bare, SkuMeter="Cached Input Tokens"),
    ]
    requests = calls({"cache_read_tokens": MILLION, "output_tokens": 0})
    other = charge("99", x_ModelId=None, x_TokenDirection=None, SkuPriceDetails="{}")
    found = reconcile(requests, bill(*rows, other))
    assert bars(found) == {"cached_tokens": Decimal("-2.7")}
    assert end(found, "billed") == Decimal("3.3")


def test_calls_that_reached_no_vendor_are_left_out() -> None:
    requests = calls({}, {"served_from_cache": True}, {"hosting": "self_hosted"}, {"output_tokens": -1})
    found = reconcile(requests, bill(INPUT, OUTPUT))
    assert bars(found) == {}
    assert found.receipt["expected"].to_list()[-2:] == [1_100_000, 1]


def test_fewer_keys_add_up_to_the_same_waterfall() -> None:
    requests = calls({"cache_read_tokens": 7}, {"ts_start": DAY + timedelta(days=1), "service_tier": "batch"})
    whole = reconcile(requests, bill(INPUT, OUTPUT))
    few = reconcile(requests, bill(INPUT, OUTPUT), by=("model", "provider"))
    assert few.lines.columns[:3] == ["provider", "model", "BillingCurrency"]
    assert few.lines.height == 1
    assert few.waterfall.equals(whole.waterfall)


def test_nothing_on_both_sides() -> None:
    found = reconcile(calls({}).filter(pl.lit(False)), bill(INPUT).filter(pl.lit(False)))
    assert (found.lines.height, found.waterfall.height, found.matched.height) == (0, 0, 0)


# --- pricing's own answer ---------------------------------------------------------------------------


def test_calculated_with_cache_and_tiers_is_what_pricing_says() -> None:
    models = ["claude-opus-4-1-20250805", "claude-sonnet-4-5", "claude-3-5-haiku-latest"]
    rows = [
        {
            "provider": "anthropic",
            "model": models[n % 3],
            "ts_start": DAY + timedelta(hours=7 * n),
            "service_tier": [None, "batch", "standard"][n % 3 if n % 2 else 0],
            "n_requests": 1 + n % 2,
            "input_uncached_tokens": 97 * n * n % 400_003,
            "cache_read_tokens": 31 * n % 1_009 if n % 4 else None,
            "cache_write_tokens": 500 + n if n % 5 else None,
            "cache_write_1h_tokens": n if n % 5 else None,
            "output_tokens": 13 * n,
            "reasoning_tokens": n,
        }
        for n in range(1, 120)
    ]
    requests = calls(*rows)
    priced = price(requests, price_book()).collect()
    assert priced["unpriced_reason"].null_count() == priced.height
    found = reconcile(requests, bill(INPUT).filter(pl.lit(False)), book=price_book())
    ours = decimal_sum([end(found, step) for step in ("calculated", "cached_tokens", "service_tier")])
    # pricing rounds every call to 18 decimals, the reconciliation its sums.
    assert abs(ours - decimal_sum(priced["cost_computed_usd"])) < 120 * Decimal("1e-18")
    assert end(found, "cached_tokens") != 0 != end(found, "service_tier")


# --- conservation on anything ------------------------------------------------------------------------

_COUNT = st.none() | st.integers(0, 3_000_000)
_CALL = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["quill", "unpriced", "gpt-4o"]),
        "provider": st.sampled_from(["acme", "openai", None]),
        "ts_start": st.integers(0, 80).map(
            lambda h: datetime(2026, 10, 30, 5, tzinfo=UTC) + timedelta(hours=h)
        ),
        "input_uncached_tokens": _COUNT,
        "cache_read_tokens": _COUNT,
        "cache_write_tokens": _COUNT,
        "output_tokens": _COUNT,
        "service_tier": st.sampled_from([None, "batch", "auto"]),
        "status": st.sampled_from(["ok", "ok", "error"]),
        "is_retry": st.sampled_from([None, True]),
        "sample_weight": st.sampled_from([1.0, 1.0, 3.0, 1 / 0.3]),
    }
)
_MONEY = st.decimals(-50, 50, places=4)
_CHARGE = st.fixed_dictionaries(
    {
        "BilledCost": _MONEY,
        "ProviderName": st.sampled_from(["Acme", "OpenAI"]),
        "x_ModelId": st.sampled_from(["quill", "gpt-4o", None, "x"]),
        "x_TokenDirection": st.sampled_from(["Input", "Output", "Input", None]),
        "x_TokenCacheAction": st.sampled_from([None, None, "Read"]),
        "ConsumedQuantity": st.none() | st.integers(-100, 3_000_000).map(Decimal),
        "ConsumedUnit": st.sampled_from(["Tokens", "Tokens", "Hours"]),
        "ContractedUnitPrice": st.none() | st.decimals(0, 20, places=3),
        "PricingUnit": st.sampled_from(["1000000 Tokens", "1K tokens", None]),
        "ChargePeriodStart": st.integers(29, 33).map(
            lambda d: datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=d)
        ),
        "ChargeCategory": st.sampled_from(["Usage", "Usage", "Usage", "Credit"]),
        "x_ServiceTier": st.sampled_from([None, "batch"]),
    }
)


@given(
    st.lists(_CALL, max_size=8), st.lists(_CHARGE, max_size=8), st.sampled_from([None, "2026-10", "2026-11"])
)
@settings(max_examples=40)
@example([], [], None)
def test_the_parts_add_up_whatever_comes(
    requests: list[dict[str, Any]], charges: list[dict[str, Any]], month: str | None
) -> None:
    extra = {"x_ServiceTier": None}
    found = reconcile(calls(*requests), bill(*charges, extra=extra), month=month)
    again = reconcile(calls(*reversed(requests)), bill(*reversed(charges), extra=extra), month=month)
    assert again.lines.equals(found.lines)
    assert again.waterfall.equals(found.waterfall)


@given(
    st.lists(
        _CALL.map(lambda c: c | {"sample_weight": 1.0, "model": "quill", "provider": "acme"}),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=20)
def test_a_bill_made_of_the_same_calls_leaves_nothing_unexplained(requests: list[dict[str, Any]]) -> None:
    rates = {
        ("input_uncached_tokens", "Input", None): ("3", "1.50"),
        ("cache_read_tokens", "Input", "Read"): ("0.30", "0.30"),
        ("cache_write_tokens", "Input", "Write"): ("3.75", "3.75"),
        ("output_tokens", "Output", None): ("15", "7.50"),
    }
    rows = [
        line(
            call[name],
            both[call["service_tier"] == "batch"],
            x_TokenDirection=direction,
            x_TokenCacheAction=cache,
            ChargePeriodStart=call["ts_start"].replace(hour=0),
        )
        for call in requests
        for (name, direction, cache), both in rates.items()
        if call[name]
    ]
    found = reconcile(calls(*requests), bill(*rows))
    assert set(bars(found)) <= {"cached_tokens", "service_tier"}


# --- the sample lab ----------------------------------------------------------------------------------


def vendor_prices() -> pl.LazyFrame:
    """The sample vendor's list prices, as its bill of August has them, and the cut of September."""
    prices = {
        ("quill-large", "standard"): ("3", "0.30", "15"),
        ("quill-large", "batch"): ("1.50", "0.15", "7.50"),
        ("quill-large", "mini"): ("0.80", "0.08", "4"),
        ("quill-small", "standard"): ("0.60", "0.06", "2.40"),
        ("quill-small", "batch"): ("0.30", "0.03", "1.20"),
        ("quill-small", "mini"): ("0.15", "0.02", "0.60"),
    }
    units = ("input_mtok", "cache_read_mtok", "output_mtok")
    rows = [
        own_prices(
            *((unit, tier, rate) for unit, rate in zip(units, rates, strict=True)), seller="example_models"
        ).with_columns(model=pl.lit(model))
        for (model, tier), rates in prices.items()
    ]
    cut = own_prices(
        ("output_mtok", "standard", "12"), since=datetime(2026, 9, 1, tzinfo=UTC), seller="example_models"
    )
    rows.append(cut.with_columns(model=pl.lit("quill-large")))
    return price_book(pl.concat(rows).lazy())


@pytest.mark.parametrize(
    ("month", "tiers"),
    [
        ("2026-08", lambda frame: frame),
        ("2026-09", lambda frame: frame),
        ("2026-10", lambda frame: frame),
        ("2026-10", lambda frame: frame.with_columns(service_tier=pl.lit(None, pl.String))),
    ],
    ids=["August", "September", "October", "October, tiers on the bill alone"],
)
def test_the_sample_lab_is_explained(month: str, tiers: Callable[[pl.LazyFrame], pl.LazyFrame]) -> None:
    lab = open_lab(sample_lab(), progress=False)
    requests = tiers(lab.table("inference_requests"))
    book = price_book(lab.table("prices"))
    found = calculated_against_billed(requests, book, lab.costs(), month=month)
    adds_up(found)
    # The lab's own prices are those of the vendor's list.
    assert found.lines.equals(
        calculated_against_billed(requests, vendor_prices(), lab.costs(), month=month).lines
    )
    said = bars(found)
    assert set(found.matched["side"]) == {"both"}
    assert found.lines["sampled"].any()
    assert abs(said.get("unexplained", Decimal(0))) < end(found, "billed") / 10_000
    # The vendor's bill is 5 % below list, on all that it billed.
    assert said["price_change"] * 19 == -end(found, "billed")
    # "Weighted tokens of the logs match the bill up to sampling error."
    assert abs(said["sampling"]) < end(found, "billed") / 10
    assert {"traffic_not_seen", "telemetry_not_on_bill", "lag", "unpriced", "rounding"}.isdisjoint(said)


def test_a_price_change_that_the_book_does_not_know_is_found_in_the_sample_lab() -> None:
    lab = open_lab(sample_lab(), progress=False)
    stale = vendor_prices().filter(pl.col("valid_from").is_null() | (pl.col("origin") != "user"))
    known, unknown = (
        calculated_against_billed(
            lab.table("inference_requests"), book, lab.costs(), month="2026-10", metric="ListCost"
        )
        for book in (price_book(lab.table("prices")), stale)
    )
    assert "price_change" not in bars(known)
    # truth.json: the contracted price fell by 14.25 - 11.40 and saved 3,631.54695 in October, 5 % below list.
    assert bars(unknown)["price_change"] * Decimal("0.95") == Decimal("-3631.54695")


# --- refusals ----------------------------------------------------------------------------------------


def test_several_currencies_or_another_than_dollars_are_refused() -> None:
    with pytest.raises(CurrencyError, match="EUR, USD"):
        reconcile(calls({}), bill(INPUT, OUTPUT | {"BillingCurrency": "EUR"}))
    with pytest.raises(CurrencyError, match="in EUR"):
        reconcile(calls({}), bill(INPUT | {"BillingCurrency": "EUR"}))
    # What buys no tokens may be in any.
    rent = charge("1", BillingCurrency="EUR", x_ModelId=None, x_TokenDirection=None)
    assert bars(reconcile(calls({}), bill(INPUT, OUTPUT, rent))) == {}


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(InputError, match="there is no cost 'Cost'"):
        reconcile(calls({}), bill(INPUT), metric="Cost")
    with pytest.raises(InputError, match="ListCost is unknown on 1 token lines"):
        reconcile(calls({}), bill(INPUT), metric="ListCost")
    with pytest.raises(InputError, match="lines have no key team"):
        reconcile(calls({}), bill(INPUT), by=("team",))
    with pytest.raises(InputError, match="lines have no key"):
        reconcile(calls({}), bill(INPUT), by=())
    with pytest.raises(InputError, match="requests lack the columns hosting"):
        reconcile(calls({}).drop("hosting"), bill(INPUT))
    with pytest.raises(InputError, match="costs lack the columns SkuMeter"):
        reconcile(calls({}), bill(INPUT).drop("SkuMeter"))
    with pytest.raises(InputError, match="prices lack the columns unit"):
        reconcile(calls({}), bill(INPUT), book=BOOK.drop("unit"))


def test_a_lost_cent_is_a_defect() -> None:
    found = reconcile(calls({}), bill(INPUT, OUTPUT))
    lost = found.lines.with_columns(pl.col("billed") - pl.lit(Decimal("0.01")))
    with pytest.raises(ReconciliationError, match=r"billed amount of the token lines by -0\.02 USD"):
        prove(lost, Usage({}, {}, frozenset(), {}), {}, calls({}), bill(INPUT, OUTPUT), "BilledCost", None)


# --- the chart ---------------------------------------------------------------------------------------


def test_the_waterfall_chart_tells_the_steps() -> None:
    requests = calls({"cache_read_tokens": MILLION, "output_tokens": 0})
    read = line(MILLION, "0.30", x_TokenCacheAction="Read")
    found = reconcile(requests, bill(line(MILLION, "3", "2.50"), read))
    spec = waterfall(found.waterfall, title="October").to_dict()
    assert spec["width"] == 760
    assert spec["description"].startswith(
        "Calculated at list price $6.00, Billed $2.80. "
        "Steps: Cached tokens -$2.70; Unexplained -$0.50 (18% of Billed). Nothing from: Batch and service tiers"
    )
    assert [row["label"] for row in spec["layer"][1]["data"]["values"]] == [
        "Calculated at list price",
        "Cached tokens",
        "Unexplained",
        "Billed",
    ]
    shuffled = found.waterfall.sort("order", descending=True)
    with pytest.raises(InputError, match="begins elsewhere"):
        waterfall(shuffled, title="October")
    with pytest.raises(InputError, match="a label occurs twice"):
        waterfall(pl.concat([found.waterfall, found.waterfall]), title="October")
    with pytest.raises(InputError, match="there is no kind"):
        waterfall(found.waterfall.with_columns(kind=pl.lit("x")), title="October")


def test_a_bill_in_another_currency_is_set_against_telemetry_by_dated_rates(tmp_path: Path) -> None:
    tokens = {"ConsumedQuantity": "1000000", "ConsumedUnit": "Tokens", "PricingQuantity": "1"}
    tokens |= {"PricingUnit": "1000000 Tokens", "ListUnitPrice": "2", "ContractedUnitPrice": "2"}
    details = '{"ModelId": "gpt-4o", "TokenDirection": "Input"}'
    charge = {"ProviderName": "OpenAI", "BillingCurrency": "EUR", "SkuPriceDetails": details, **tokens}
    call = "ts_start,provider,model,operation,status,input_uncached_tokens\n"
    call += "2026-09-03T12:00:00Z,openai,gpt-4o,chat,ok,1000000\n"
    exports = {"bill.csv": [cost_row("2", **charge)], "calls.csv": call}
    lab = open_lab(write_lab(tmp_path, exports), progress=False)
    with pytest.raises(CurrencyError, match=r"the bill is in EUR\. Hint: add \[\[rates\]\] to USD"):
        of_lab(lab, "2026-09")
    rates = '[lab]\nname = "Euros (synthetic)"\ncurrency = "USD"\n\n[[rates]]\nmonth = "2026-09"\n'
    rates += 'from = "EUR"\nto = "USD"\nrate = "1.2"\n'
    found = of_lab(open_lab(write_lab(tmp_path, {}, rates), progress=False), "2026-09").waterfall
    # 2.50 by the list; the agreed 2 EUR are 2.40 USD, and nothing is left unexplained.
    steps = {step: amount for step, amount in found.select("step", "amount").iter_rows() if amount}
    assert steps == {
        "calculated": Decimal("2.5"),
        "price_change": Decimal("-0.1"),
        "billed": Decimal("2.4"),
    }
