"""The bridge between two months: exact, traceable, and each cause in the term of its name."""

from __future__ import annotations

import json
import random
from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

import finops_lab as fl
from finops_lab.charts.bridge import bridge_waterfall
from finops_lab.errors import CurrencyError, InputError, NoDataError
from finops_lab.money import MONEY, exact_sum
from finops_lab.unit_economics.bridge import Bridge, bridge
from finops_lab.unit_economics.bridge_errors import sampling_errors
from finops_lab.unit_economics.bridge_terms import FACTORS, TERMS, rounded
from finops_lab.unit_economics.bridge_weights import price_weights
from finops_lab.unit_economics.schemas import REQUEST_MONTHS

JULY, AUGUST = date(2026, 7, 1), date(2026, 8, 1)
TOKENS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
PRICES = {"large": (3, Decimal("0.3"), Decimal("3.75"), 15), "small": (1, Decimal("0.1"), 1, 4)}
PLANTED = pl.DataFrame(
    [(model, None, *map(Decimal, rates)) for model, rates in PRICES.items()],
    schema={
        "model": pl.String,
        "variant": pl.String,
        **dict.fromkeys(("input", "cache_read", "cache_write", "output"), MONEY),
    },
    orient="row",
)
TEXTS = (
    "x_ChargeMonth",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeClass",
    "CommitmentDiscountStatus",
    "x_AllocationMethod",
    "x_Activity",
    *(f"x_{d}" for d in ("team", "model", "variant", "feature", "customer", "environment", "region")),
)


def ledger(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Entries, with the attributes of plain use where a row does not say otherwise."""
    plain = {
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "x_AllocationMethod": "tag",
        "x_Activity": "inference",
        "x_team": "search",
    }
    filled = [
        {**dict.fromkeys((*TEXTS, "ContractedCost")), **plain, **row, "BilledCost": row["EffectiveCost"]}
        for row in rows
    ]
    money = ("EffectiveCost", "BilledCost", "ContractedCost")
    schema = {**dict.fromkeys(TEXTS, pl.String), **dict.fromkeys(money, MONEY)}
    return pl.DataFrame(filled, schema=schema)


def rollup(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"rows": 1, "calls_retried": 0, "team": "search", **row} for row in rows], schema=REQUEST_MONTHS
    )


def entry(month: date, model: str | None, cost: object, **more: object) -> dict[str, Any]:
    cost = Decimal(str(cost))
    return {"x_ChargeMonth": f"{month:%Y-%m}", "x_model": model, "EffectiveCost": cost, **more}


def cell(
    month: date,
    model: str,
    calls: int,
    *,
    variant: str | None = None,
    per_call: tuple[int, int, int, int] = (1000, 500, 100, 200),
    retried: int = 0,
    prices: Mapping[str, tuple[Any, ...]] = PRICES,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry and a roll-up that agree with the prices, which are per thousand tokens."""
    tokens = [calls * n for n in per_call]
    cost = sum(
        (Decimal(n) * Decimal(p) / 1000 for n, p in zip(tokens, prices[model], strict=True)), Decimal(0)
    )
    counted = {"month": month, "model": model, "variant": variant, "calls": calls, "calls_retried": retried}
    return (
        entry(month, model, cost, x_variant=variant),
        {**counted, **dict(zip(TOKENS, map(Decimal, tokens), strict=True))},
    )


def found(
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]], *more: dict[str, Any], **how: Any
) -> Bridge:
    pairs = list(pairs)
    months = how.pop("months", (JULY, AUGUST))
    entries = ledger([*(pair[0] for pair in pairs), *more])
    return bridge(
        entries, rollup(pair[1] for pair in pairs), *months, weights=how.pop("weights", PLANTED), **how
    )


def amounts(of: Bridge) -> dict[str, Decimal]:
    """The terms that are not nothing."""
    return {term: amount for term, amount in of.terms.select("term", "amount").iter_rows() if amount}


def check_exact(of: Bridge) -> None:
    """Terms, columns, rows and steps all add up to the change, to the last decimal."""
    change = of.end - of.start
    assert exact_sum(of.terms["amount"].to_list()) == change == of.change
    for term, amount in of.terms.select("term", "amount").iter_rows():
        assert exact_sum(of.cells[term].to_list()) == amount
    for row in of.cells.iter_rows(named=True):
        assert exact_sum(row[term] for term in TERMS) == row["end"] - row["start"]
    assert exact_sum(of.cells["start"].to_list()) == of.start
    assert of.steps["end"].to_list()[-2:] == [change, change]


BASE = [cell(JULY, "large", 1000), cell(JULY, "small", 4000)]
DEARER = {**PRICES, "large": (3, Decimal("0.3"), Decimal("3.75"), 12)}


@pytest.mark.parametrize("method", ["sequential", "shapley"])
@pytest.mark.parametrize(
    ("term", "after", "amount"),
    [
        ("requests", [cell(AUGUST, "large", 2000), cell(AUGUST, "small", 8000)], "14325"),
        ("model_mix", [cell(AUGUST, "large", 2000), cell(AUGUST, "small", 3000)], "4575"),
        (
            "tokens",
            [cell(AUGUST, "large", 1000, per_call=(2000, 1000, 200, 400)), cell(AUGUST, "small", 4000)],
            "6525",
        ),
        (
            "cache",
            [cell(AUGUST, "large", 1000, per_call=(500, 1000, 100, 200)), cell(AUGUST, "small", 4000)],
            "-1350",
        ),
        ("retries", [cell(AUGUST, "large", 1250, retried=250), cell(AUGUST, "small", 4000)], "1631.25"),
        ("price", [cell(AUGUST, "large", 1000, prices=DEARER), cell(AUGUST, "small", 4000)], "-600"),
    ],
)
def test_one_planted_cause_is_found_alone(
    term: str, after: list[tuple[dict[str, Any], dict[str, Any]]], amount: str, method: str
) -> None:
    of = found([*BASE, *after], method=method)
    assert amounts(of) == {term: Decimal(amount)}
    check_exact(of)


def test_variants_of_a_model_that_gain_requests_are_variant_mix() -> None:
    july = [cell(JULY, "large", 500, variant=v, per_call=(n, 0, 0, 0)) for v, n in (("a", 100), ("b", 300))]
    august = [
        cell(AUGUST, "large", calls, variant=v, per_call=(n, 0, 0, 0))
        for v, n, calls in (("a", 100, 400), ("b", 300, 600))
    ]
    assert amounts(found(july + august)) == {"variant_mix": Decimal(60)}


def test_a_longer_month_is_no_growth() -> None:
    months = date(2026, 2, 1), date(2026, 3, 1)
    pairs = [cell(month, "large", 100 * days) for month, days in zip(months, (28, 31), strict=True)]
    assert amounts(found(pairs, months=months)) == {"days": Decimal("1957.5")}


def test_by_hand() -> None:
    # 1,000 requests of 100 tokens at $10 a thousand tokens become 1,500 of 80 at $12: worked on paper.
    rows = [
        (entry(JULY, "m", 1000), {"month": JULY, "model": "m", "calls": 1000, TOKENS[0]: Decimal(100_000)}),
        (
            entry(AUGUST, "m", 1440),
            {"month": AUGUST, "model": "m", "calls": 1500, TOKENS[0]: Decimal(120_000)},
        ),
    ]
    of = found(rows, weights=None)
    assert amounts(of) == {"requests": Decimal(500), "tokens": Decimal(-300), "price": Decimal(240)}
    price = of.drivers.filter(driver="price")
    assert price.select("start", "end", "unit").rows() == [
        (Decimal(10_000), Decimal(12_000), "money per million weighted tokens")
    ]
    assert of.terms.filter(term="price")["share_of_change"].to_list() == [pytest.approx(240 / 440)]


@pytest.mark.parametrize(
    ("term", "more"),
    [
        ("credits", {"ChargeCategory": "Credit"}),
        ("corrections", {"ChargeCategory": "Adjustment"}),
        ("corrections", {"ChargeClass": "Correction"}),
        ("tax", {"ChargeCategory": "Tax"}),
        ("commitments", {"CommitmentDiscountStatus": "Unused"}),
        ("commitments", {"ChargeCategory": "Purchase"}),
        ("idle", {"x_AllocationMethod": "idle"}),
        ("not_measured", {"x_AllocationMethod": "dark"}),
        ("training", {"x_Activity": "training"}),
        ("other", {"x_Activity": "other"}),
        ("not_measured", {"x_model": None}),
        ("not_measured", {"x_model": "seen by nobody"}),
    ],
)
def test_entries_that_calls_do_not_explain_have_terms_of_their_own(term: str, more: dict[str, Any]) -> None:
    same = [*BASE, cell(AUGUST, "large", 1000), cell(AUGUST, "small", 4000)]
    rows = [{**entry(month, "large", cost), **more} for month, cost in ((JULY, "-5.5"), (AUGUST, "2.25"))]
    of = found(same, *rows)
    assert amounts(of) == {term: Decimal("7.75")}
    check_exact(of)


def test_what_begins_and_what_ends() -> None:
    of = found([*BASE, cell(AUGUST, "small", 4000), cell(AUGUST, "large", 10, variant="mini")])
    assert amounts(of) == {"new": Decimal("65.25"), "vanished": Decimal(-6525)}
    statuses = of.cells.select("model", "variant", "status").rows()
    assert statuses == [("large", "mini", "new"), ("large", None, "vanished"), ("small", None, "both")]


def test_a_free_model_that_gets_a_price_is_a_price_change_and_the_other_way_round() -> None:
    free, priced = cell(JULY, "small", 100), cell(AUGUST, "small", 100)
    for nothing in ({**free[0], "EffectiveCost": Decimal(0)}, None):
        entries = ledger(
            [priced[0], entry(JULY, None, 1), entry(AUGUST, None, 1), *([nothing] if nothing else [])]
        )
        calls = rollup([free[1], priced[1]])
        assert amounts(bridge(entries, calls, JULY, AUGUST)) == {"price": Decimal(195)}
        assert amounts(bridge(entries, calls, AUGUST, JULY)) == {"price": Decimal(-195)}


def test_spend_in_both_months_with_calls_in_one_is_not_measured() -> None:
    pairs = [cell(JULY, "small", 100), cell(AUGUST, "small", 200)]
    for kept in pairs:
        of = bridge(ledger(pair[0] for pair in pairs), rollup([kept[1]]), JULY, AUGUST)
        assert amounts(of) == {"not_measured": Decimal(195)}
        assert of.cells["status"].to_list() == ["not measured"]


def test_calls_count_alike_where_tokens_are_unknown() -> None:
    rows = [
        (entry(JULY, "m", 10), {"month": JULY, "model": "m", "calls": 100}),
        (entry(AUGUST, "m", 24), {"month": AUGUST, "model": "m", "calls": 200, TOKENS[0]: Decimal(10)}),
    ]
    of = found(rows)
    assert amounts(of) == {"requests": Decimal(10), "price": Decimal(4)}
    undefined = of.drivers.filter(pl.col("start").is_null())["driver"].to_list()
    assert undefined == ["cache-hit rate", "cache writes", "price"]


def test_calls_that_all_repeat_others_are_requests() -> None:
    of = found([cell(JULY, "small", 100, retried=100), cell(AUGUST, "small", 200, retried=200)])
    assert amounts(of) == {"requests": Decimal(195)}


def test_a_model_is_one_cell_where_one_side_does_not_know_its_variants() -> None:
    july = [cell(JULY, "small", 100, variant=v) for v in ("a", "b")]
    august = cell(AUGUST, "small", 400)
    entries = ledger([*({**pair[0], "x_variant": None} for pair in july), august[0]])
    calls = rollup([*(pair[1] for pair in july), {**august[1], "variant": "a"}])
    of = bridge(entries, calls, JULY, AUGUST)
    assert amounts(of) == {"requests": Decimal(390)}
    assert of.cells.select("model", "variant", "status").rows() == [("small", None, "both")]


def test_calls_that_the_bill_does_not_name_are_listed_and_share_in_nothing() -> None:
    extra = [cell(JULY, "large", 7)[1], {**cell(AUGUST, "large", 999)[1]}]
    pairs = [cell(JULY, "small", 100), cell(AUGUST, "small", 200)]
    of = bridge(ledger(pair[0] for pair in pairs), rollup([*(p[1] for p in pairs), *extra]), JULY, AUGUST)
    assert amounts(of) == {"requests": Decimal(195)}
    assert of.cells.filter(model="large")["status"].to_list() == ["not on the bill"]


def test_what_a_commitment_takes_off_is_not_a_lower_price() -> None:
    pairs = [cell(JULY, "small", 100), cell(AUGUST, "small", 200)]
    covered = {
        **pairs[1][0],
        "CommitmentDiscountStatus": "Used",
        "ContractedCost": Decimal(390),
        "EffectiveCost": 300,
    }
    covered["EffectiveCost"] = Decimal(300)
    of = bridge(ledger([pairs[0][0], covered]), rollup(p[1] for p in pairs), JULY, AUGUST)
    assert amounts(of) == {"requests": Decimal(195), "commitments": Decimal(-90)}


def test_a_filter_means_the_same_on_both_sides() -> None:
    pairs = [
        cell(JULY, "small", 100),
        cell(AUGUST, "small", 200),
        cell(JULY, "large", 10),
        cell(AUGUST, "large", 10),
    ]
    entries = ledger(
        {**p[0], "x_team": "unallocated" if p[0]["x_model"] == "small" else "chat"} for p in pairs
    )
    calls = rollup({**p[1], "team": None if p[0]["x_model"] == "small" else "chat"} for p in pairs)
    of = bridge(entries, calls, JULY, AUGUST, where={"team": "unallocated"})
    assert (amounts(of), of.start) == ({"requests": Decimal(195)}, Decimal(195))
    assert bridge(entries, calls, "2026-07", "2026-08", where={"team": ["~^ch", "x"]}).change == 0


def test_without_change_shares_are_unknown() -> None:
    of = found([*BASE, cell(AUGUST, "large", 1000), cell(AUGUST, "small", 4000)])
    assert amounts(of) == {}
    assert of.terms["share_of_change"].null_count() == len(TERMS)


def test_refusals() -> None:
    entries, calls = ledger([entry(JULY, "m", 1)]), rollup([])
    with pytest.raises(NoDataError, match="2025-01 or 2025-02"):
        bridge(entries, calls, "2025-01", "2025-02")
    with pytest.raises(InputError, match="from 2026-07 to itself"):
        bridge(entries, calls, JULY, date(2026, 7, 31))
    with pytest.raises(InputError, match="do not both know product"):
        bridge(entries, calls, JULY, AUGUST, where={"product": "x"})
    with pytest.raises(InputError, match="no metric 'cost'"):
        bridge(entries, calls, JULY, AUGUST, metric="cost")
    with pytest.raises(InputError, match="missing: x_model"):
        bridge(entries.drop("x_model"), calls, JULY, AUGUST)
    with pytest.raises(InputError, match="missing: calls_retried"):
        bridge(entries, calls.drop("calls_retried"), JULY, AUGUST)
    untold = entries.with_columns(pl.lit(None, MONEY).alias("ListCost"))
    with pytest.raises(InputError, match="1 of 1 ledger entries of 2026-07 and 2026-08 have no ListCost"):
        bridge(untold, calls, JULY, AUGUST, metric="ListCost")
    with pytest.raises(CurrencyError):
        bridge(ledger([entry(JULY, "m", 1), entry(JULY, "m", 1, BillingCurrency="EUR")]), calls, JULY, AUGUST)
    for bad in (
        PLANTED.with_columns(-pl.col("input")),
        pl.concat([PLANTED, PLANTED]),
        PLANTED.drop("output"),
    ):
        with pytest.raises(InputError, match="weights"):
            bridge(entries, calls, JULY, AUGUST, weights=bad)


def test_weights_are_the_prices_in_force_at_the_end_of_the_month() -> None:
    def rate(
        unit: str,
        value: str,
        *,
        provider: str | None = "a",
        first: int | None = None,
        last: int | None = None,
    ):  # type: ignore[no-untyped-def]
        days = [datetime(2026, 7, day, tzinfo=UTC) if day else None for day in (first, last)]
        return (provider, "m", unit, 0, "standard", None, *days, Decimal(value))

    rows = [
        rate("input_mtok", "9", last=15),
        rate("input_mtok", "3", first=15),
        rate("output_mtok", "15"),
        rate("cache_read_mtok", "0.3"),
        rate("input_mtok", "1", provider="b"),
        ("a", "m", "output_mtok", 0, "batch", None, None, None, Decimal(7)),
        ("a", "without output", "input_mtok", 0, "standard", None, None, None, Decimal(7)),
    ]
    names = [
        "provider",
        "model",
        "unit",
        "tier_above_tokens",
        "context",
        "tod_start",
        "valid_from",
        "valid_to",
    ]
    book = pl.DataFrame(
        rows,
        schema={
            **dict.fromkeys(names, pl.String),
            "tier_above_tokens": pl.Int64,
            **dict.fromkeys(names[-2:], pl.Datetime("us", "UTC")),
            "rate_usd_per_unit": MONEY,
        },
        orient="row",
    )
    assert price_weights(book.lazy(), JULY).rows() == [
        ("m", None, Decimal(3), Decimal("0.3"), Decimal(3), Decimal(15))
    ]


def test_rounding_keeps_the_sum_and_every_part_within_a_unit() -> None:
    shuffled = random.Random(5)
    for _ in range(200):
        parts = [Fraction(shuffled.randint(-(10**6), 10**6), shuffled.randint(1, 999)) for _ in range(7)]
        total = Decimal(round(sum(parts) * 10**18)).scaleb(-18)
        parts[-1] += Fraction(total) - sum(parts)
        whole = rounded(parts, total)
        assert exact_sum(whole) == total
        assert all(abs(Fraction(a) - b) < Fraction(1, 10**18) for a, b in zip(whole, parts, strict=True))


def random_months(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, date, date]:
    """Two months with every kind of cell: new, vanished, free, negative, dark, without calls."""
    chance = random.Random(seed)
    first = date(2024 + chance.randrange(3), chance.randrange(1, 13), 1)
    last = date(2027, chance.randrange(1, 13), 1)
    entries, calls = [entry(first, None, "0.01"), entry(last, None, "0.02")], []
    for model in ("a", "b"):
        for variant in ("x", "y", None):
            for month in (first, last):
                if chance.random() < 0.8:
                    size = chance.choice(
                        ("0", "-3.7", "0.000000000000000001", str(chance.randrange(10**9)) + ".123456789")
                    )
                    entries.append(entry(month, model, size, x_variant=variant))
                if chance.random() < 0.3:
                    kind = chance.choice(
                        (
                            {"ChargeCategory": "Credit"},
                            {"CommitmentDiscountStatus": "Unused"},
                            {"CommitmentDiscountStatus": "Used", "ContractedCost": Decimal("77.7")},
                            {"x_AllocationMethod": "idle"},
                            {"x_Activity": "training"},
                        )
                    )
                    cost = f"{chance.randrange(-(10**5), 10**5)}.7"
                    entries.append({**entry(month, model, cost, x_variant=variant), **kind})
                if chance.random() < 0.8:
                    number = chance.randrange(0, 5000)
                    counted = {"month": month, "model": model, "variant": variant, "calls": number}
                    tokens = {name: Decimal(number * chance.randrange(0, 900)) for name in TOKENS}
                    calls.append({**counted, "calls_retried": chance.randrange(0, number // 5 + 1), **tokens})
    return ledger(entries), rollup(calls), first, last


def brute_force(of: Bridge, calls: pl.DataFrame) -> dict[str, Fraction]:
    """The sequential formula over totals: the sum of all products, one factor after the other changed."""
    both = {row[:2] for row in of.cells.filter(status="both").select("model", "variant").iter_rows()}
    spent = {(row["model"], row["variant"], row["driver"]): row for row in of.drivers.iter_rows(named=True)}
    sides: list[dict[Any, dict[str, Any]]] = [{}, {}]
    for month, known, place in zip((of.first, of.last), sides, (0, 1), strict=True):
        for row in calls.filter(month=month).iter_rows(named=True):
            key = (row["model"], row["variant"])
            if key in both:
                spend = Fraction(spent[(*key, "spend on use")][("start", "end")[place]])
                tokens = [Fraction(row[name] or 0) for name in TOKENS]
                known[key] = {
                    "n": Fraction(row["calls"]),
                    "r": Fraction(row["calls_retried"]),
                    "t": tokens,
                    "s": spend,
                }
    plain = [Fraction(1), Fraction(1, 10), Fraction(1), Fraction(4)]

    def weight(side: dict[str, Any]) -> Fraction:
        return sum((w * t for w, t in zip(plain, side["t"], strict=True)), Fraction(0))

    def total(ended: int) -> Fraction:
        """All spend where the first so many factors are those of the later month."""
        whole = Fraction(0)
        at = [sides[place < ended] for place in range(len(FACTORS))]
        days, days_of_requests = (
            monthrange(*((of.first, of.last)[later].timetuple()[:2]))[1] for later in (ended > 0, ended > 1)
        )
        requests = [{k: v["n"] - v["r"] for k, v in side.items()} for side in at[:5]]
        sums = [sum(side.values(), Fraction(0)) for side in requests]
        for key in both:
            spend = days * sums[1] / days_of_requests
            in_model = {n: sum(v for k, v in requests[n].items() if k[0] == key[0]) for n in (2, 3)}
            spend *= in_model[2] / sums[2] * requests[3][key] / in_model[3]
            mine = [side[key] for side in at]
            spend *= mine[4]["n"] / requests[4][key]
            counts = all(weight(side[key]) for side in sides)
            if counts:
                inputs = sum(mine[5]["t"][:3]) / mine[5]["n"]
                cached = sum(mine[6]["t"][:3])
                blend = (
                    sum(w * t / cached for w, t in zip(plain, mine[6]["t"][:3], strict=False))
                    if cached
                    else 1
                )
                spend *= inputs * blend + plain[3] * mine[5]["t"][3] / mine[5]["n"]
                spend *= mine[7]["s"] / weight(mine[7])
            else:
                spend *= mine[7]["s"] / mine[7]["n"]
            whole += spend
        return whole

    totals = [total(ended) for ended in range(len(FACTORS) + 1)]
    return {name: totals[n + 1] - totals[n] for n, name in enumerate(FACTORS)}


def test_terms_add_up_on_300_random_pairs_of_months_and_equal_brute_force_on_100() -> None:
    met: set[str] = set()
    for seed in range(300):
        entries, calls, first, last = random_months(seed)
        of = bridge(entries, calls, first, last)
        check_exact(of)
        met |= set(of.cells["status"]) | set(amounts(of))
        if seed % 25 == 0:
            whole = bridge(entries, calls, first, last, method="shapley")
            check_exact(whole)
            back = bridge(entries, calls, last, first, method="shapley")
            for name in FACTORS:  # the mean over all orders is the same whichever month comes first
                forth, again = (b.terms.filter(term=name)["amount"][0] for b in (whole, back))
                assert abs(forth + again) <= Decimal(of.cells.height).scaleb(-18)
        if seed % 3:
            continue
        plain = brute_force(of, calls)
        # What commitments take off is a part of the price until it is told apart.
        mine = {term: Fraction(amount) for term, amount in of.terms.select("term", "amount").iter_rows()}
        unused = exact_sum(
            amount if month == f"{last:%Y-%m}" else -amount
            for month, status, amount in entries.select(
                "x_ChargeMonth", "CommitmentDiscountStatus", "EffectiveCost"
            ).iter_rows()
            if status == "Unused"
        )
        mine["price"] += mine["commitments"] - Fraction(unused)
        for name in FACTORS:
            assert abs(mine[name] - plain[name]) <= Fraction(2 * of.cells.height, 10**18), (
                seed,
                name,
            )
    assert {"both", "new", "vanished", "not measured", "not on the bill"} <= met
    assert {*FACTORS, "commitments", "new", "vanished", "idle", "training", "not_measured", "credits"} <= met


def test_same_inputs_in_any_order_give_the_same_frames() -> None:
    entries, calls, first, last = random_months(11)
    one = bridge(entries, calls, first, last)
    other = bridge(
        entries.reverse().lazy(), calls.sample(fraction=1, shuffle=True, seed=3).lazy(), first, last
    )
    for name in ("terms", "cells", "drivers", "steps"):
        assert getattr(one, name).equals(getattr(other, name))


def test_the_waterfall_tells_both_totals_and_draws_what_is_not_measured() -> None:
    of = found([*BASE, cell(AUGUST, "large", 1000, prices=DEARER), cell(AUGUST, "small", 4000)])
    chart = bridge_waterfall(of)
    said = chart.to_dict()
    assert said["description"].startswith(
        "July 2026 $14.3k, August 2026 $13.7k. Change -$600. Steps: Price -$600;"
    )
    assert "Not measured $0" in said["description"]
    assert said["title"]["text"] == "Why spend changed from July 2026 to August 2026"


def calls_one_by_one(rows: int, weight: float, tokens: Iterable[int], month: date = JULY) -> pl.DataFrame:
    """Rows of requests to the small model, with so many tokens of uncached input."""
    told = dict.fromkeys((*TOKENS, "variant", "team", "feature", "customer", "environment", "region"))
    return pl.DataFrame(
        [
            {**told, "day": month, "model": "small", "sample_weight": weight, TOKENS[0]: number}
            for number, _ in zip(tokens, range(rows), strict=False)
        ],
        schema_overrides={**dict.fromkeys(TOKENS, pl.Int64), **dict.fromkeys([*told][4:], pl.String)},
    )


def test_sampling_errors_are_those_of_sampling_again_and_again() -> None:
    chance = random.Random(9)
    everyone = [chance.randrange(10, 3000) for _ in range(2000)]
    totals, told = [], []
    for _ in range(150):
        kept = [tokens for tokens in everyone if chance.random() < 0.1]
        found = sampling_errors(calls_one_by_one(len(kept), 10.0, kept))
        totals.append(float(found["weighed"][0]))
        told.append(float(found["variance"][0]) ** 0.5)
    mean = sum(totals) / len(totals)
    spread = (sum((total - mean) ** 2 for total in totals) / (len(totals) - 1)) ** 0.5
    assert sum(told) / len(told) == pytest.approx(spread, rel=0.15)
    assert mean == pytest.approx(sum(everyone), rel=0.02)
    assert sampling_errors(calls_one_by_one(5, 1.0, everyone))["variance"].to_list() == [0]


def test_the_price_says_how_far_sampling_may_move_it() -> None:
    pairs = [
        cell(JULY, "small", 100, per_call=(10, 0, 0, 0)),
        cell(AUGUST, "small", 200, per_call=(10, 0, 0, 0)),
    ]
    months = [calls_one_by_one(n, 10.0, [10] * n, month) for n, month in ((10, JULY), (20, AUGUST))]
    errors = sampling_errors(pl.concat(months), PLANTED)
    of = found(pairs, errors=errors)
    # Shares of 10 and 20 rows kept of ten: square roots of 0.9 / 10 and 0.9 / 20, of a spend of 2.
    assert of.terms.filter(term="price")["standard_error"].to_list() == [
        pytest.approx(2 * (0.09 + 0.045) ** 0.5)
    ]
    assert of.terms.filter(term="requests")["standard_error"].to_list() == [None]
    assert found(pairs).terms["standard_error"].null_count() == len(TERMS)
    said = bridge_waterfall(of).to_dict()
    for text in (said["description"], said["title"]["subtitle"]):
        assert "price ± $1.47 (two standard errors of sampling)" in text
    with pytest.raises(InputError, match="missing: sample_weight"):
        sampling_errors(months[0].drop("sample_weight"))


@pytest.fixture(scope="module")
def planted() -> tuple[pl.DataFrame, dict[str, Any]]:
    """The vendor's charges of the sample lab for one model and what was planted in them."""
    lab = fl.open_lab(progress=False)
    change = json.loads((lab.folder / "truth.json").read_text(encoding="utf-8"))["price_change"]
    sku = f"{change['model']}-{change['variant']}-"
    costs = lab.costs().filter(
        pl.col("SkuId").str.starts_with(sku), pl.col("ChargeClass").is_null(), ChargeCategory="Usage"
    )
    month = pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month")
    kind = pl.col("SkuId").str.strip_prefix(sku).alias("kind")
    return costs.group_by(month, kind).agg(
        pl.col("EffectiveCost", "ConsumedQuantity").sum()
    ).collect(), change


def test_the_price_change_planted_in_the_sample_lab_is_the_price_term_to_the_cent(
    planted: tuple[pl.DataFrame, dict[str, Any]],
) -> None:
    charges, change = planted
    names = {"input": TOKENS[0], "cached-input": TOKENS[1], "output": TOKENS[3]}
    months = [date(2026, 8, 1), date(2026, 9, 1)]
    pairs = []
    for month in months:
        lines = charges.filter(month=month)
        counted = {
            names[kind]: tokens for kind, tokens in lines.select("kind", "ConsumedQuantity").iter_rows()
        }
        spent = exact_sum(lines["EffectiveCost"].to_list())
        told = {"month": month, "model": "m", "calls": 1000}
        pairs.append(
            (
                entry(month, "m", spent),
                {**told, **{k: v.quantize(Decimal("0.001")) for k, v in counted.items()}},
            )
        )
    rate = Decimal(change["contracted_price"]["from"])
    weights = pl.DataFrame(
        [("m", None, rate / 5, rate / 50, rate / 5, rate)],
        schema=PLANTED.schema,
        orient="row",
    )
    of = found(pairs, weights=weights, months=months)
    price = amounts(of)["price"]
    saved = Decimal(change["saved_by_month"]["2026-09"])
    assert abs(price + saved) < Decimal("0.01"), (price, saved)
