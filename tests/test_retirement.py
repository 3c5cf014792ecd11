"""Variants that live too long: three things must be known and true."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from finops_lab.errors import InputError
from finops_lab.tradeoffs import retire

POINTS = pl.DataFrame(
    {
        "model": "m",
        "variant": ["fp16", "int8", "int4", "old"],
        "BillingCurrency": "USD",
        "per_1000_inferences": [4.0, 2.0, 3.0, 5.0],
        "quality_metric": "accuracy",
        "quality": [0.9, 0.89, 0.8, 0.85],
        "p95_ms": [90.0, 50.0, 60.0, 95.0],
        "last_amount": [Decimal(40), Decimal(20), Decimal(6), Decimal("7.50")],
        "last_successes": [10_000.0, 10_000.0, 2_000.0, 1_500.0],
        "p_on_front": [1.0, 1.0, 0.01, 0.0],
    }
)


def changed(variant: str, **values: Any) -> pl.DataFrame:
    mine = pl.col("variant") == variant
    return POINTS.with_columns(
        pl.when(~mine).then(name).otherwise(pl.lit(value, dtype=POINTS.schema[name])).alias(name)
        for name, value in values.items()
    )


def test_listed_with_their_money_and_what_moving_their_calls_saves() -> None:
    found = retire(POINTS, migration_amount=300, evaluation_amount=200)
    assert found.unsure.is_empty()
    assert found.listed.rows(named=True) == [
        {
            "model": "m",
            "variant": "old",
            "BillingCurrency": "USD",
            "last_amount": Decimal("7.50"),
            "last_successes": 1500.0,
            "p_dominated": 1.0,
            "dominated_by": "int8",  # fp16 beats it, too, but int8 is cheaper
            "saved_amount": Decimal("4.50"),  # its 1,500 calls cost 3 there
            "break_even_inferences": None,  # it is dearer than fp16: it never pays back
            "why": "it saves nothing against the best variant by quality",
        },
        {
            "model": "m",
            "variant": "int4",
            "BillingCurrency": "USD",
            "last_amount": Decimal(6),
            "last_successes": 2000.0,
            "p_dominated": 0.99,
            "dominated_by": "int8",
            "saved_amount": Decimal(2),
            "break_even_inferences": 500_000,  # 500 over a saving of 0.001 each
            "why": "12 months of its traffic are 24,000 calls, break-even is at 500,000",
        },
    ]


@pytest.mark.parametrize(
    ("points", "options"),
    [
        (changed("int4", p_on_front=0.06), {}),  # beaten, but not surely
        (changed("int4", last_successes=50_000.0), {}),  # 600,000 calls a year pay back
        (POINTS, {"months": 250}),
        (changed("int4", quality=0.91), {}),  # now the best of all
        (changed("int4", last_amount=Decimal(0)), {}),  # no money in it
    ],
)
def test_not_listed(points: pl.DataFrame, options: dict[str, Any]) -> None:
    found = retire(points, evaluation_amount=500, **options)
    assert "int4" not in found.listed["variant"].to_list() + found.unsure["variant"].to_list()


@pytest.mark.parametrize(
    ("points", "amount", "why"),
    [
        (changed("int4", p_on_front=None), 500, "beaten by point values; how surely is not known"),
        (changed("int4", p95_ms=None, quality=None), 500, "quality and P95 unknown"),
        (changed("int4", last_successes=None), 500, "its traffic is unknown"),
        (POINTS, None, "what its migration and evaluation cost is unknown, so break-even is too"),
        (
            changed("fp16", per_1000_inferences=None),
            500,
            "the best variant's cost is unknown, so break-even is too",
        ),
    ],
)
def test_not_listed_for_lack_of_evidence_but_said(points: pl.DataFrame, amount: int | None, why: str) -> None:
    found = retire(points, evaluation_amount=amount)
    assert "int4" not in found.listed["variant"].to_list()
    assert found.unsure.filter(variant="int4").select("last_amount", "why").row(0) == (Decimal(6), why)


@pytest.mark.parametrize(("items", "listed"), [(100_000, True), (30, False)])
def test_draws_tell_how_surely_a_variant_is_beaten(items: int, listed: bool) -> None:
    # 0.80 against 0.89 is certain on 100,000 items, and may be chance on 30.
    drawn = POINTS.drop("p_on_front").with_columns(quality_n=pl.lit(items))
    drawn = drawn.with_columns(quality=pl.when(variant="int4").then(0.86).otherwise("quality"))
    assert ("int4" in retire(drawn, evaluation_amount=500).listed["variant"].to_list()) is listed


def test_equal_variants_do_not_retire_each_other_and_models_stand_alone() -> None:
    twins = changed("int4", per_1000_inferences=2.0, quality=0.89, p95_ms=50.0)
    assert retire(twins, evaluation_amount=500).listed["variant"].to_list() == ["old"]
    alone = POINTS.with_columns(model=pl.col("variant"))
    assert retire(alone, evaluation_amount=500).listed.is_empty()
    assert retire(POINTS.clear()).listed.is_empty()


def test_money_of_the_last_month_must_be_there() -> None:
    with pytest.raises(InputError, match="no column 'last_amount'"):
        retire(POINTS.drop("last_amount"))
