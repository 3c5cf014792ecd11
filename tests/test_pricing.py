"""The price book and exact pricing, against genai-prices' own function and amounts worked out by hand."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from genai_prices import Usage, calc_price, data
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.contracts import dtypes, reasons
from finops_lab.errors import InputError
from finops_lab.pricing import conflicts, from_litellm, match_models, price, price_book, unpriced

REQUESTS = dtypes("inference_requests")
PRICES = dtypes("prices")
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
STEP = Decimal("1E-18")
TOKENS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")


def calls(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Requests with the columns of the contract; what a row leaves out is null."""
    base = {"ts_start": NOON, "provider": "openai", "model": "m", "operation": "chat", "n_requests": 1}
    filled = [{**base, "sample_weight": 1.0, "source_row": number, **row} for number, row in enumerate(rows)]
    return pl.LazyFrame(filled, schema=REQUESTS)


def own(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Rows of the contract `prices` with origin user; a rate is written as text."""
    base = {
        "provider": "openai",
        "model": "m",
        "tier_above_tokens": 0,
        "context": "standard",
        "origin": "user",
    }
    filled = [{**base, **row, "rate_usd_per_unit": Decimal(row["rate_usd_per_unit"])} for row in rows]
    return pl.LazyFrame(filled, schema=PRICES)


def rate(unit: str, usd: str, **more: Any) -> dict[str, Any]:
    return {"unit": unit, "rate_usd_per_unit": usd, **more}


def one(request: dict[str, Any], book: pl.LazyFrame) -> dict[str, Any]:
    return price(calls(request), book).collect().row(0, named=True)


def usd(request: dict[str, Any], book: pl.LazyFrame) -> Decimal | None:
    return one(request, book)["cost_computed_usd"]


PLAIN = own(rate("input_mtok", "2"), rate("output_mtok", "8"))


# --- the built-in list -------------------------------------------------------------------------


def test_the_built_in_list_is_the_pinned_one_and_keeps_the_contract() -> None:
    book = price_book().collect()
    assert version("genai-prices") == "0.2.3"
    assert dict(book.schema) == PRICES
    assert book.height == 8169
    assert book.select(reasons("prices").alias("r"))["r"].null_count() == book.height
    assert book["origin"].unique().to_list() == ["genai_prices"]
    assert {"standard", "batch", "flex", "priority", "fast"} <= set(book["context"])


def structured() -> list[tuple[str, str]]:
    """Models whose prices have tiers, dates, times of day or variants, by genai-prices' own names."""
    found = []
    for provider in data.providers:
        for model in provider.models:
            prices = (
                model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
            )
            keys = set.intersection(*(set(p.prices.__dict__) for p in prices))
            tiered = any(isinstance(v, TieredPrices) for p in prices for v in p.prices.__dict__.values())
            shaped = tiered or len(prices) > 1 or model.price_variants
            if shaped and keys >= {"input_mtok", "output_mtok"} and provider.find_model(model.id) is model:
                found.append((provider.id, model.id))
    return found


def sampled(names: list[tuple[str, str]], rows: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    made = []
    for _ in range(rows):
        provider, model = draw.choice(names)
        written = draw.choice([0, 0, 1, 30_000])
        output = draw.randrange(5_000)
        made.append(
            {
                "provider": provider,
                "model": model,
                "ts_start": start + timedelta(microseconds=draw.randrange(750 * 86_400 * 10**6)),
                "service_tier": draw.choice([None, "standard", "batch", "flex", "priority", "fast"]),
                "input_uncached_tokens": draw.choice([0, 1, 99_999, 200_000, 272_000, 272_001, 400_000]),
                "cache_read_tokens": draw.choice([0, 0, 1, 100_000]),
                "cache_write_tokens": written,
                "cache_write_1h_tokens": draw.choice([0, written // 3, written]),
                "output_tokens": output,
                "reasoning_tokens": draw.choice([0, output // 2]),
            }
        )
    return made


def calc(row: dict[str, Any]) -> Decimal:
    """What genai-prices says of a request."""
    usage = Usage(
        input_tokens=sum(row[name] for name in TOKENS[:3]),
        cache_read_tokens=row["cache_read_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        cache_write_1h_tokens=row["cache_write_1h_tokens"],
        output_tokens=row["output_tokens"],
        output_reasoning_tokens=row["reasoning_tokens"],
    )
    tier = row["service_tier"]
    return calc_price(
        usage,
        row["model"],
        provider_id=row["provider"],
        genai_request_timestamp=row["ts_start"],
        price_context=tier and {"processing": tier, "service_tier": tier, "speed": tier},
    ).total_price


def test_a_thousand_requests_cost_what_genai_prices_says() -> None:
    names = structured()
    hourly = [name for name in names if name[0] == "deepseek"]
    varied = [name for name in names if name[0] in ("openai", "anthropic", "google", "mistral")]
    rows = [*sampled(names, 500, 1), *sampled(hourly, 200, 2), *sampled(varied, 300, 3)]
    priced = price(calls(*rows), price_book()).collect()
    assert priced["unpriced_reason"].null_count() == 1_000
    off = [
        (row["model"], row["ts_start"], cost, calc(row))
        for row, cost in zip(rows, priced["cost_computed_usd"], strict=True)
        # genai-prices divides in 28 digits, each part by itself; rates of up to 18 decimals make more.
        if abs(calc(row) - cost) > STEP
    ]
    assert off == []
    exact = sum(calc(row) == cost for row, cost in zip(rows, priced["cost_computed_usd"], strict=True))
    assert exact >= 900
    # The sample is worth its name: contexts, dates and times of day all decide some rows.
    assert set(priced["price_context"]) == {"standard", "batch", "flex", "priority", "fast"}
    assert priced["price_valid_from"].n_unique() > 10


def test_a_batch_request_before_its_price_was_recorded_is_priced_as_standard_and_says_so() -> None:
    row = {"model": "gpt-5", "service_tier": "batch", "input_uncached_tokens": 1_000_000, "output_tokens": 0}
    before = one({**row, "ts_start": datetime(2026, 10, 13, 23, 59, 59, tzinfo=UTC)}, price_book())
    after = one({**row, "ts_start": datetime(2026, 10, 14, tzinfo=UTC)}, price_book())
    assert (before["cost_computed_usd"], before["price_context"]) == (Decimal("1.25"), "standard")
    assert (after["cost_computed_usd"], after["price_context"]) == (Decimal("0.625"), "batch")
    assert after["price_valid_from"] == datetime(2026, 10, 14, tzinfo=UTC)
    assert after["price_origin"] == "genai_prices"


def test_azure_falls_back_on_the_vendor_of_the_model_without_its_variants() -> None:
    names = pl.DataFrame({"provider": ["azure"], "model": ["gpt-5.6-sol"]})
    assert match_models(names).row(0)[2:] == ("openai", "gpt-5.6-sol", False)
    row = {
        "model": "gpt-5.6-sol",
        "service_tier": "batch",
        "input_uncached_tokens": 10**6,
        "output_tokens": 0,
    }
    azure, openai = (one({**row, "provider": name}, price_book()) for name in ("azure", "openai"))
    assert azure["price_context"] == "standard"
    assert openai["price_context"] == "batch"
    assert azure["cost_computed_usd"] == 2 * openai["cost_computed_usd"]


def fake(prices: list[ConditionalPrice]) -> pl.DataFrame:
    """Flatten one made-up model as the built-in list is flattened."""
    from finops_lab.pricing.genai import _rows

    model = ModelInfo(id="m", match=data.providers[0].models[0].match, prices=prices)
    schema = {name: PRICES[name] for name in PRICES if name not in ("origin", "source_file", "source_row")}
    return pl.DataFrame([("p", "m", *row) for row in _rows(model)], schema=schema, orient="row")


def test_a_window_past_midnight_and_a_lapsed_unit_are_flattened_as_genai_prices_picks() -> None:
    night = TimeOfDateConstraint(datetime(1, 1, 1, 16, 30).time(), datetime(1, 1, 1, 0, 30).time())
    flat = fake(
        [
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(4), cache_read_mtok=Decimal(1))),
            ConditionalPrice(StartDateConstraint(date(2026, 3, 1)), prices=ModelPrice(input_mtok=Decimal(4))),
            ConditionalPrice(night, prices=ModelPrice(input_mtok=Decimal(2))),
        ]
    )
    found = flat.select("unit", "tod_start", "tod_end", "valid_from", "valid_to", "rate_usd_per_unit")
    march = datetime(2026, 3, 1, tzinfo=UTC)
    assert sorted(found.rows(), key=str) == [
        ("cache_read_mtok", "00:30:00", "16:30:00", None, march, Decimal(1)),
        ("input_mtok", "00:30:00", "16:30:00", None, None, Decimal(4)),
        ("input_mtok", "16:30:00", "00:30:00", None, None, Decimal(2)),
    ]


def test_models_marked_free_cost_nothing_and_others_without_a_price_are_unpriced() -> None:
    tokens = {"input_uncached_tokens": 7, "output_tokens": 7}
    free = next(m for p in data.providers if p.id == "openrouter" for m in p.models if m.id.endswith(":free"))
    assert usd({"provider": "openrouter", "model": free.id, **tokens}, price_book()) == 0
    copilot = one({"provider": "github-copilot", "model": "gpt-4o", **tokens}, price_book())
    assert (copilot["cost_computed_usd"], copilot["unpriced_reason"]) == (None, "no price for the model")


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("openai", "gpt-4o-2024-08-06", ("openai", "gpt-4o")),
        ("OpenAI", "GPT-4o", ("openai", "gpt-4o")),
        (None, "claude-sonnet-4-5-20250929", ("anthropic", "claude-sonnet-4-5")),
        (None, "openai/gpt-4o", ("openai", "gpt-4o")),
        ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("azure.ai.openai", "gpt-4o", ("openai", "gpt-4o")),
        ("gcp.vertex_ai", "gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("mistral", "mistral-large-latest", ("mistral", "mistral-large")),
        ("vllm", "gpt-4o", (None, None)),
        ("openai", "no-such-model", (None, None)),
        (None, "no-such-model", (None, None)),
    ],
)
def test_names_are_matched(provider: str | None, model: str, found: tuple[str | None, str | None]) -> None:
    frame = pl.DataFrame(
        {"provider": [provider], "model": [model]}, schema={"provider": pl.String, "model": pl.String}
    )
    assert match_models(frame).row(0)[2:4] == found


def test_matching_lists_each_pair_once() -> None:
    frame = pl.DataFrame({"provider": ["openai"] * 3, "model": ["gpt-5", "gpt-5", "o3"], "more": [1, 2, 3]})
    assert match_models(frame)["model"].to_list() == ["gpt-5", "o3"]


def test_the_model_served_is_priced_before_the_model_asked_for() -> None:
    tokens = {"input_uncached_tokens": 10**6, "output_tokens": 0}
    routed = {"model": "gpt-5", "response_model": "gpt-5-mini-2025-08-07", **tokens}
    assert usd(routed, price_book()) == Decimal("0.25")
    assert usd({**routed, "response_model": "deployment-7"}, price_book()) == Decimal("1.25")
    # An alias of one's own is priced by what served it, unless nothing is known of that.
    alias = price_book(
        own(rate("input_mtok", "9", model="prod-chat"), rate("output_mtok", "9", model="prod-chat"))
    )
    assert usd({**routed, "model": "prod-chat", "response_model": "x"}, alias) == Decimal(9)


# --- amounts by hand ---------------------------------------------------------------------------


def test_every_bucket_is_charged_once_at_its_own_rate() -> None:
    book = own(
        rate("input_mtok", "3"),
        rate("cache_read_mtok", "0.3"),
        rate("cache_write_mtok", "3.75"),
        rate("cache_write_1h_mtok", "6"),
        rate("output_mtok", "15"),
        rate("output_reasoning_mtok", "20"),
        rate("requests_kcount", "12"),
        rate("web_searches_kcount", "10"),
    )
    row = {
        "input_uncached_tokens": 1_000,
        "cache_read_tokens": 2_000,
        "cache_write_tokens": 500,
        "cache_write_1h_tokens": 200,
        "output_tokens": 300,
        "reasoning_tokens": 100,
        "other_units": 2.0,
        "other_unit": "searches",
        "n_requests": 4,
    }
    tokens = 1_000 * 3 + 2_000 * Decimal("0.3") + 300 * Decimal("3.75") + 200 * 6 + 200 * 15 + 100 * 20
    assert tokens == Decimal(10_925)
    assert usd(row, book) == tokens / 10**6 + 4 * Decimal("0.012") + 2 * Decimal("0.01")


def test_what_has_no_price_of_its_own_costs_what_the_wider_unit_costs() -> None:
    row = {
        "cache_read_tokens": 10,
        "cache_write_tokens": 100,
        "cache_write_1h_tokens": 1,
        "input_uncached_tokens": 0,
    }
    row |= {"output_tokens": 1_000, "reasoning_tokens": 1_000}
    assert usd(row, PLAIN) == Decimal(110 * 2 + 1_000 * 8) / 10**6
    hour = pl.concat([PLAIN, own(rate("cache_write_mtok", "5"))])
    assert usd(row, hour) == Decimal(10 * 2 + 100 * 5 + 1_000 * 8) / 10**6


def test_a_tier_holds_above_its_start_for_all_tokens_and_counts_cached_input() -> None:
    book = own(
        rate("input_mtok", "1"),
        rate("input_mtok", "2", tier_above_tokens=200_000),
        rate("output_mtok", "10"),
        rate("output_mtok", "15", tier_above_tokens=200_000),
    )
    at = {"input_uncached_tokens": 150_000, "cache_read_tokens": 50_000, "output_tokens": 1_000}
    assert usd(at, book) == Decimal("0.21")
    assert usd({**at, "cache_write_tokens": 1}, book) == Decimal("0.415002")
    # Ten calls in a row: the average decides, not the sum.
    many = {"input_uncached_tokens": 2_000_000, "output_tokens": 0, "n_requests": 10}
    assert usd(many, book) == Decimal(2)
    assert usd({**many, "input_uncached_tokens": 2_000_001}, book) == Decimal("4.000002")


@pytest.mark.parametrize(
    ("clock", "cost"),
    [("16:29:59", 4), ("16:30:00", 2), ("23:59:59", 2), ("00:00:00", 2), ("00:29:59", 2), ("00:30:00", 4)],
)
def test_a_time_of_day_may_reach_past_midnight(clock: str, cost: int) -> None:
    night = {"tod_start": "16:30:00", "tod_end": "00:30:00"}
    book = own(rate("input_mtok", "4"), rate("input_mtok", "2", **night), rate("output_mtok", "0"))
    row = {
        "ts_start": datetime.fromisoformat(f"2026-11-02T{clock}+00:00"),
        "input_uncached_tokens": 10**6,
        "output_tokens": 1,
    }
    assert usd(row, book) == cost


def test_prices_change_on_the_microsecond() -> None:
    turn = datetime(2026, 6, 1, tzinfo=UTC)
    book = own(
        rate("input_mtok", "4", valid_to=turn),
        rate("input_mtok", "3", valid_from=turn, valid_to=NOON),
        rate("output_mtok", "0"),
    )
    row = {"input_uncached_tokens": 10**6, "output_tokens": 0}
    before = one({**row, "ts_start": turn - timedelta(microseconds=1)}, book)
    assert (before["cost_computed_usd"], before["price_valid_from"]) == (4, None)
    on = one({**row, "ts_start": turn}, book)
    assert (on["cost_computed_usd"], on["price_valid_from"]) == (3, turn)
    late = one({**row, "ts_start": NOON}, book)
    assert (late["cost_computed_usd"], late["unpriced_reason"]) == (None, "no price for input_mtok")


def test_sums_are_exact_and_rounded_once_half_to_even() -> None:
    book = own(rate("input_mtok", "0.0000000000005"), rate("output_mtok", "0.000000000001"))
    halves = [{"input_uncached_tokens": tokens, "output_tokens": 0} for tokens in (1, 3, 5, 2)]
    costs = price(calls(*halves), book).collect()["cost_computed_usd"].to_list()
    assert costs == [0, 2 * STEP, 2 * STEP, STEP]
    # 0.5 and 0.5 of the last digit are one: parts are not rounded before they are added.
    assert usd({"input_uncached_tokens": 1, "cache_read_tokens": 1, "output_tokens": 0}, book) == STEP


def test_the_largest_counts_and_rates_do_not_wrap() -> None:
    units = (
        "input_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "output_mtok",
        "requests_kcount",
        "web_searches_kcount",
    )
    book = own(*(rate(unit, "10000000") for unit in units))
    row = {name: 10**12 for name in (*TOKENS, "output_tokens", "reasoning_tokens")} | {"n_requests": 10**9}
    row |= {"other_units": 1e9, "other_unit": "searches"}
    assert usd(row, book) == 4 * 10**13 + 2 * 10**13
    assert one({**row, "other_units": 1e9 + 1}, book)["unpriced_reason"] == "counts out of range"


# --- unknown is null ---------------------------------------------------------------------------

COUNTED = {"input_uncached_tokens": 10, "output_tokens": 10}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"model": "unheard-of", **COUNTED}, "no price for the model"),
        ({"input_uncached_tokens": 10, "output_tokens": 10, "model": "read-only"}, "no price for input_mtok"),
        ({"input_uncached_tokens": 0, "output_tokens": 10, "model": "read-only"}, "no price for output_mtok"),
        ({"cache_read_tokens": 5, **COUNTED, "model": "written"}, "no price for input_mtok"),
        ({}, "no usage counted"),
        ({"output_tokens": 10}, "input_uncached_tokens unknown"),
        ({"input_uncached_tokens": 10}, "output_tokens unknown"),
        ({"other_units": 3.0, "other_unit": "images", **COUNTED}, "no price for images"),
        ({"other_units": 3.0, "other_unit": None, **COUNTED}, "no price for other units"),
        ({"other_units": 2.5, "other_unit": "searches", **COUNTED}, "counts out of range"),
        ({"input_uncached_tokens": 10**12 + 1, "output_tokens": 0}, "counts out of range"),
        ({"input_uncached_tokens": -1, "output_tokens": 0}, "counts out of range"),
        ({"cache_write_tokens": 1, "cache_write_1h_tokens": 2, **COUNTED}, "counts out of range"),
        ({"reasoning_tokens": 11, **COUNTED}, "counts out of range"),
        ({"model": "searcher", **COUNTED}, "no price for tokens of the model"),
        ({"model": "late", **COUNTED}, "no price for the model at the time"),
        ({"hosting": "self_hosted", "model": "gpt-4o", **COUNTED}, "no price for the model"),
    ],
)
def test_a_missing_price_or_count_is_unknown_and_says_why(row: dict[str, Any], reason: str) -> None:
    book = price_book(
        pl.concat(
            [
                PLAIN,
                own(
                    rate("cache_read_mtok", "1", model="read-only"),
                    rate("cache_read_mtok", "1", model="written"),
                    rate("output_mtok", "1", model="written"),
                    rate("web_searches_kcount", "1", model="searcher"),
                    rate("input_mtok", "1", model="late", valid_from=NOON + timedelta(days=1)),
                ),
            ]
        )
    )
    priced = one(row, book)
    assert priced["unpriced_reason"] == reason
    assert [priced[name] for name in ("cost_computed_usd", "price_origin", "price_context")] == [None] * 3


def test_known_nothings_are_zero() -> None:
    hit = one({"served_from_cache": True, "model": "unheard-of"}, PLAIN)
    assert (hit["cost_computed_usd"], hit["unpriced_reason"], hit["price_origin"]) == (0, None, None)
    assert usd({"input_uncached_tokens": 0, "output_tokens": 0}, PLAIN) == 0
    # An embedding has no output: neither its count nor its price is missed.
    book = own(rate("input_mtok", "2"))
    assert usd({"operation": "embedding", "input_uncached_tokens": 5}, book) == Decimal("0.00001")
    search = own(rate("input_mtok", "2"), rate("output_mtok", "8"), rate("web_searches_kcount", "10"))
    assert usd({"operation": "tool", "other_units": 3.0, "other_unit": "web_search"}, search) == Decimal(
        "0.03"
    )


def test_what_is_unpriced_is_listed_with_its_volume() -> None:
    tokens = {
        "input_uncached_tokens": 100,
        "cache_read_tokens": 10,
        "output_tokens": 1,
        "reasoning_tokens": 1,
    }
    rows = [
        {"model": "unheard-of", **tokens, "n_requests": 2},
        {"model": "unheard-of", **tokens},
        {"model": "other", "input_uncached_tokens": 10**6},
        {**tokens},
        {},
    ]
    found = unpriced(price(calls(*rows), PLAIN))
    assert found.select("provider", "model", "unpriced_reason", "requests", "tokens").rows() == [
        ("openai", "other", "no price for the model", 1, 10**6),
        ("openai", "unheard-of", "no price for the model", 3, 222),
        ("openai", "m", "no usage counted", 1, 0),
    ]


def test_sampled_rows_are_not_weighted() -> None:
    assert usd({**COUNTED, "sample_weight": 100.0}, PLAIN) == Decimal("0.0001")


# --- prices of one's own -----------------------------------------------------------------------


def test_a_negotiated_price_holds_for_its_unit_and_context_while_it_is_valid() -> None:
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    deal = rate("input_mtok", "1.00", model="gpt-5", valid_from=start, valid_to=end)
    book = price_book(own(deal))
    row = {"model": "gpt-5-2025-08-07", "input_uncached_tokens": 10**6, "output_tokens": 10**6}
    during = one(row, book)
    assert (during["cost_computed_usd"], during["price_origin"]) == (Decimal(11), "user, genai_prices")
    assert during["price_valid_from"] == start
    for outside in (start - timedelta(microseconds=1), end):
        listed = one({**row, "ts_start": outside}, book)
        assert (listed["cost_computed_usd"], listed["price_origin"]) == (Decimal("11.25"), "genai_prices")
    # Cached input and batches have prices of their own, which the deal does not name.
    assert usd({**row, "cache_read_tokens": 10**6}, book) == Decimal("11.125")
    assert usd({**row, "service_tier": "batch"}, book) == Decimal("5.625")
    # Azure falls back on OpenAI's list, not on what was agreed with OpenAI, and can have a deal of its own.
    assert usd({**row, "provider": "azure"}, book) == Decimal("11.25")
    azure = price_book(own({**deal, "provider": "azure"}))
    assert [usd({**row, "provider": name}, azure) for name in ("azure", "openai")] == [11, Decimal("11.25")]


def test_a_flat_deal_takes_the_place_of_all_listed_tiers() -> None:
    deal = price_book(own(rate("input_mtok", "2", model="gpt-5.4")))
    row = {"model": "gpt-5.4", "input_uncached_tokens": 10**6, "output_tokens": 0}
    assert usd(row, price_book()) == Decimal(5)
    assert usd(row, deal) == Decimal(2)


def test_of_ones_own_prices_the_latest_start_wins() -> None:
    book = own(rate("input_mtok", "4"), rate("input_mtok", "3", valid_from=NOON), rate("output_mtok", "0"))
    row = {"input_uncached_tokens": 10**6, "output_tokens": 0}
    assert usd(row, book) == 3
    assert usd({**row, "ts_start": NOON - timedelta(seconds=1)}, book) == 4


def test_a_self_hosted_model_takes_ones_own_price_only_and_needs_no_provider() -> None:
    mine = own(
        rate("input_mtok", "0.2", provider=None, model="gpt-4o"),
        rate("output_mtok", "0.4", provider=None, model="gpt-4o"),
    )
    row = {
        "provider": "vllm",
        "model": "gpt-4o",
        "hosting": "self_hosted",
        "input_uncached_tokens": 10**6,
        "output_tokens": 0,
    }
    priced = one(row, price_book(mine))
    assert (priced["cost_computed_usd"], priced["price_origin"]) == (Decimal("0.2"), "user")
    assert usd({**row, "provider": None}, price_book(mine)) == Decimal("0.2")


def test_few_columns_make_a_price() -> None:
    brief = pl.LazyFrame(
        {"model": ["mine", "mine"], "unit": ["input_mtok", "output_mtok"], "rate_usd_per_unit": [1, 2]}
    )
    assert usd({"model": "mine", **COUNTED}, price_book(brief)) == Decimal("0.00003")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [rate("input_mtoks", "1")],
            "row 1, column unit: unknown unit 'input_mtoks'. Hint: did you mean input_mtok?",
        ),
        ([rate("input_mtok", "-1")], "a price of -1"),
        ([rate("input_mtok", "10000001")], "cannot be right"),
        ([rate("input_mtok", "1"), rate("input_mtok", "2")], "two prices for input_mtok of openai/m"),
        ([rate("input_mtok", "1", tod_start="8 am")], "row 1: tod_start: not in the expected form"),
        ([rate("input_mtok", "1", valid_from=NOON, valid_to=NOON)], "row 1: valid to before valid from"),
    ],
)
def test_a_wrong_price_is_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match="(?s)" + said.replace("?", r"\?")):
        price_book(own(*rows))


def test_prices_in_floats_or_without_a_unit_are_refused() -> None:
    with pytest.raises(InputError, match="not exact"):
        price_book(pl.LazyFrame({"model": ["m"], "unit": ["input_mtok"], "rate_usd_per_unit": [0.1]}))
    with pytest.raises(InputError, match="lack the columns unit"):
        price_book(pl.LazyFrame({"model": ["m"], "rate_usd_per_unit": [1]}))
    with pytest.raises(InputError, match="requests lack the columns cache_read_tokens"):
        price(calls(COUNTED).drop("cache_read_tokens"), PLAIN)


# --- LiteLLM's map, and two books --------------------------------------------------------------

MAP = """{
 "sample_spec": {"litellm_provider": "one of ...", "input_cost_per_token": 0.0},
 "gpt-x": {"litellm_provider": "openai", "mode": "chat",
  "input_cost_per_token": 2.5e-06, "input_cost_per_token_above_272k_tokens": 5e-06,
  "input_cost_per_token_batches": 1.25e-06, "input_cost_per_token_flex": "0.00000125",
  "input_cost_per_token_priority": 5e-06, "input_cost_per_token_above_272k_tokens_priority": 1e-05,
  "cache_read_input_token_cost": 1.3e-07, "output_cost_per_token": 1.5e-05, "max_tokens": 4096,
  "output_cost_per_reasoning_token": null,
  "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.01}},
 "claude-x": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06,
  "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
  "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
  "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.02}},
 "mistral/mistral-large-latest": {"litellm_provider": "mistral",
  "input_cost_per_token": 5e-07, "output_cost_per_token": 1.5e-06},
 "dashscope/qwen-x": {"litellm_provider": "dashscope", "tiered_pricing": [
  {"range": [0, 256000.0], "input_cost_per_token": 4e-07, "output_cost_per_token": 1.2e-06},
  {"range": [256000.0, 1000000.0], "input_cost_per_token": 1.2e-06}]},
 "rerank-x": {"litellm_provider": "cohere", "input_cost_per_query": 0.002}
}"""


@pytest.fixture
def litellm(tmp_path: Path) -> Path:
    path = tmp_path / "model_prices_and_context_window.json"
    path.write_text(MAP, encoding="utf-8")
    return path


def test_litellm_amounts_become_rates_from_their_text(litellm: Path) -> None:
    book = from_litellm(litellm).collect()
    assert dict(book.schema) == PRICES
    assert book.select(reasons("prices").alias("r"))["r"].null_count() == book.height
    columns = ("provider", "model", "unit", "tier_above_tokens", "context", "rate_usd_per_unit", "source_row")
    assert sorted(book.select(columns).rows()) == [
        ("anthropic", "claude-x", "cache_write_1h_mtok", 0, "standard", Decimal(6), 3),
        ("anthropic", "claude-x", "cache_write_1h_mtok", 200_000, "standard", Decimal(12), 3),
        ("anthropic", "claude-x", "cache_write_mtok", 0, "standard", Decimal("3.75"), 3),
        ("anthropic", "claude-x", "input_mtok", 0, "standard", Decimal(3), 3),
        ("cohere", "rerank-x", "requests_kcount", 0, "standard", Decimal(2), 6),
        ("dashscope", "qwen-x", "input_mtok", 0, "standard", Decimal("0.4"), 5),
        ("dashscope", "qwen-x", "input_mtok", 256_000, "standard", Decimal("1.2"), 5),
        ("dashscope", "qwen-x", "output_mtok", 0, "standard", Decimal("1.2"), 5),
        ("mistral", "mistral-large-latest", "input_mtok", 0, "standard", Decimal("0.5"), 4),
        ("mistral", "mistral-large-latest", "output_mtok", 0, "standard", Decimal("1.5"), 4),
        ("openai", "gpt-x", "cache_read_mtok", 0, "standard", Decimal("0.13"), 2),
        ("openai", "gpt-x", "input_mtok", 0, "batch", Decimal("1.25"), 2),
        ("openai", "gpt-x", "input_mtok", 0, "flex", Decimal("1.25"), 2),
        ("openai", "gpt-x", "input_mtok", 0, "priority", Decimal(5), 2),
        ("openai", "gpt-x", "input_mtok", 0, "standard", Decimal("2.5"), 2),
        ("openai", "gpt-x", "input_mtok", 272_000, "priority", Decimal(10), 2),
        ("openai", "gpt-x", "input_mtok", 272_000, "standard", Decimal(5), 2),
        ("openai", "gpt-x", "output_mtok", 0, "standard", Decimal(15), 2),
        ("openai", "gpt-x", "web_searches_kcount", 0, "standard", Decimal(10), 2),
    ]


def test_a_litellm_book_prices_requests_and_fills_what_the_list_lacks(litellm: Path) -> None:
    row = {
        "model": "gpt-x",
        "service_tier": "priority",
        "input_uncached_tokens": 272_001,
        "output_tokens": 1_000,
    }
    priced = one(row, from_litellm(litellm, valid_from=NOON))
    assert priced["cost_computed_usd"] == Decimal("2.73501")
    assert (priced["price_origin"], priced["price_valid_from"]) == ("litellm", NOON)
    both = pl.concat([price_book(), from_litellm(litellm)])
    assert usd({"model": "gpt-x", **COUNTED}, both) == Decimal("0.000175")
    known = {"provider": "mistral", "model": "mistral-large-latest", **COUNTED}
    assert one(known, both)["price_origin"] == "genai_prices"


def test_litellm_names_that_meet_without_their_prefix_stay_apart(tmp_path: Path) -> None:
    costs = [f'"litellm_provider": "azure", "input_cost_per_token": {number}e-06' for number in (1, 2, 3)]
    names = ("azure/GPT-x", "gpt-x", "azure/gpt-X")
    path = tmp_path / "map.json"
    path.write_text("{" + ", ".join(f'"{n}": {{{c}}}' for n, c in zip(names, costs, strict=True)) + "}")
    book = from_litellm(path)
    assert book.collect().select("model", "rate_usd_per_unit").rows() == [("GPT-x", 1), ("azure/gpt-X", 3)]
    assert (
        usd({"provider": "azure", "model": "gpt-x", "input_uncached_tokens": 10**6, "output_tokens": 0}, book)
        == 1
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is no price map"),
        ('{"a": {"x": 1}}', "is no price map"),
        ('{"a": {"litellm_provider": "x"}, "b": 3}', "row 2: model 'b' has no litellm_provider"),
        ('{"a": {"litellm_provider": "x", "input_cost_per_token": "free"}}', "row 1: .* is no amount"),
        ('{"a": {"litellm_provider": "x", "input_cost_per_token": -1}}', "row 1: .* is no amount"),
        ('{"a": {"litellm_provider": "x", "input_cost_per_token": 1e999999999999999999999}}', "is not JSON"),
        ('{"a": {"litellm_provider": "x", "input_cost_per_token": NaN}}', "is no amount"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_broken_map_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        from_litellm(path)
    with pytest.raises(InputError, match="cannot be read"):
        from_litellm(tmp_path / "absent.json")


def test_books_that_disagree_are_told_apart(litellm: Path) -> None:
    found = conflicts(price_book(), from_litellm(litellm), at=NOON)
    large = found.filter(provider="mistral", model="mistral-large-latest")
    assert large.select("unit", "rate_a", "rate_b", "status").rows() == [
        ("input_mtok", Decimal(2), Decimal("0.5"), "differs"),
        ("output_mtok", Decimal(6), Decimal("1.5"), "differs"),
    ]
    assert set(found.filter(model="gpt-x")["status"]) == {"only in b"}
    assert set(found.filter(provider="openai", model="gpt-5")["status"]) == {"only in a"}
    same = conflicts(price_book(), price_book(), at=NOON)
    assert set(same["status"]) == {"same"}
    assert_frame_equal(same.select("rate_a").rename({"rate_a": "rate"}), same.select(rate="rate_b"))


def test_books_are_compared_at_an_hour(litellm: Path) -> None:
    chat = []
    for hour in (12, 20):
        found = conflicts(price_book(), price_book(), at=NOON.replace(hour=hour))
        chat += found.filter(provider="deepseek", model="deepseek-chat", unit="input_mtok")[
            "rate_a"
        ].to_list()
    assert chat == [Decimal("0.27"), Decimal("0.135")]
    with pytest.raises(InputError, match="no time zone"):
        conflicts(price_book(), price_book(), at=datetime(2026, 1, 1))


# --- properties --------------------------------------------------------------------------------


@cache
def few_models() -> pl.LazyFrame:
    few = pl.col("model").is_in(["gpt-5", "gpt-5.4", "m", "deepseek-chat"])
    return price_book(PLAIN).filter(few).collect().lazy()


count = st.one_of(st.none(), st.integers(0, 300_000))
request = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["gpt-5", "gpt-5.4", "m", "deepseek-chat", "unheard-of"]),
        "provider": st.sampled_from(["openai", "deepseek", "azure", None]),
        "service_tier": st.sampled_from([None, "batch", "flex"]),
        "ts_start": st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)).map(
            lambda t: t.replace(tzinfo=UTC)
        ),
        **{name: count for name in (*TOKENS, "output_tokens")},
    }
)


@settings(max_examples=30, deadline=None)
@given(st.lists(request, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_rows_are_kept_and_priced_one_by_one(rows: list[dict[str, Any]], shuffle: random.Random) -> None:
    book = few_models()
    priced = price(calls(*rows), book).collect()
    assert_frame_equal(priced.select(list(REQUESTS)), calls(*rows).collect())
    # A row has a cost or a reason, never both.
    assert (priced["cost_computed_usd"].is_null() == priced["unpriced_reason"].is_not_null()).all()
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    mixed = price(calls(*rows).collect()[order].lazy(), book).collect().sort("source_row")
    assert_frame_equal(mixed, priced)
    alone = pl.concat([price(calls(row), book) for row in rows[:3]]).collect()
    assert_frame_equal(alone.drop("source_row"), priced.head(3).drop("source_row"))


def test_pricing_again_replaces_and_selecting_needs_little() -> None:
    once = price(calls(COUNTED), PLAIN)
    assert_frame_equal(
        price(once, own(rate("input_mtok", "0"), rate("output_mtok", "0")))
        .select("cost_computed_usd")
        .collect(),
        pl.DataFrame({"cost_computed_usd": [Decimal(0)]}, schema={"cost_computed_usd": pl.Decimal(38, 18)}),
    )
    assert price(calls(), PLAIN).collect().height == 0


def test_the_map_of_the_tests_is_json() -> None:
    assert len(json.loads(MAP)) == 6
