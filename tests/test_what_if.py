"""What-if prices: by hand, conserved, unpriced volume visible, beside the bill and beside own machines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import finops_lab as fl
from finops_lab.cli import app
from finops_lab.contracts import dtypes
from finops_lab.errors import InputError, NoDataError
from finops_lab.money import exact_sum
from finops_lab.planning.repricing import BUCKETS, Scenario, against_bill, reprice
from finops_lab.planning.self_hosting import moved, self_hosted
from finops_lab.pricing import price, price_book

RATES = {
    ("big", "standard"): ("10", "1", "12.5", "30"),
    ("big", "batch"): ("5", "0.5", "6.25", "15"),
    ("small", "standard"): ("2", "0.2", "2.5", "6"),
}
UNITS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
BOOK = price_book(
    pl.LazyFrame(
        [
            {
                "provider": "acme",
                "model": model,
                "context": context,
                "unit": unit,
                "rate_usd_per_unit": Decimal(rate),
            }
            for (model, context), rates in RATES.items()
            for unit, rate in zip(UNITS, rates, strict=True)
        ]
    )
)


def call(**more: Any) -> dict[str, Any]:
    usual = {
        "provider": "acme", "model": "big", "ts_start": datetime(2026, 10, 5, 9, tzinfo=UTC), "n_requests": 1,
        "sample_weight": 1.0, "status": "ok", "input_uncached_tokens": 600_000, "cache_read_tokens": 300_000,
        "cache_write_tokens": 100_000, "output_tokens": 200_000, "hosting": "api", "feature": "chat",
    }  # fmt: skip
    return usual | more


def calls(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dtypes("inference_requests"))


def amounts(found: pl.DataFrame, *names: str) -> tuple[Decimal | None, ...]:
    return found.select(names).row(0)


def test_another_model_costs_what_its_list_says() -> None:
    # 0.6 x 10 + 0.3 x 1 + 0.1 x 12.5 + 0.2 x 30 = 13.55; on the small one 2.71; each row stands for 10.
    found = reprice(calls(call(sample_weight=10.0)), BOOK, [Scenario("small", "small", "acme")])
    told = amounts(found, "actual_list_usd", "repriced_usd", "difference_usd", "calls", "compared_tokens")
    assert told == (Decimal("135.5"), Decimal("27.1"), Decimal("-108.4"), 10, 12_000_000)
    assert found["reason"].to_list() == [None]


def test_batch_takes_the_batch_price_or_says_there_is_none() -> None:
    rows = calls(call(), call(model="small"))
    found = reprice(rows, BOOK, [Scenario("batch", batch=True)], by=["model"])
    big, small = found.sort("model").to_dicts()
    assert (big["repriced_usd"], big["unpriced_tokens"]) == (Decimal("6.775"), 0)
    assert (small["repriced_usd"], small["difference_usd"], small["compared_tokens"]) == (None, None, 0)
    assert (small["unpriced_tokens"], small["unpriced_calls"]) == (1_200_000, 1)
    assert small["reason"] == "the price list has no batch price of it"
    assumed = reprice(rows, BOOK, [Scenario("half", batch=True, batch_factor=Decimal("0.5"))], by=["model"])
    assert assumed.sort("model")["repriced_usd"].to_list() == [Decimal("6.775"), Decimal("1.355")]


def test_caching_moves_input_and_keeps_its_sum() -> None:
    found = reprice(calls(call()), BOOK, [Scenario("cached", cached_share=Decimal("0.8"))])
    # Of a million: 800,000 read, 100,000 written as observed, 100,000 left.
    assert amounts(found, *BUCKETS) == (100_000, 800_000, 100_000, 200_000)
    assert found["repriced_usd"][0] == Decimal("1") + Decimal("0.8") + Decimal("1.25") + 6
    full = reprice(calls(call()), BOOK, [Scenario("all", cached_share=Decimal(1))])
    assert amounts(full, *BUCKETS) == (0, 1_000_000, 0, 200_000)


def test_what_nobody_can_price_is_shown_and_not_compared() -> None:
    rows = calls(call(), call(model="unheard-of"), call(output_tokens=None, input_uncached_tokens=None))
    found = reprice(rows, BOOK, [Scenario("small", "small", "acme"), Scenario("gone", "nothing", "acme")])
    small, gone = found.to_dicts()
    assert (small["actual_unpriced_tokens"], small["unpriced_tokens"]) == (1_200_000 + 400_000, 400_000)
    assert (small["compared_tokens"], small["difference_usd"]) == (
        1_200_000,
        Decimal("2.71") - Decimal("13.55"),
    )
    assert small["reason"] == "input_uncached_tokens unknown"
    assert (gone["repriced_usd"], gone["difference_usd"], gone["unpriced_calls"]) == (None, None, 3)
    assert gone["reason"] == "no price for the model"


def test_a_call_from_the_gateways_own_cache_costs_nothing_anywhere() -> None:
    found = reprice(calls(call(served_from_cache=True)), BOOK, [Scenario("b", "small", "acme", batch=True)])
    assert amounts(found, "actual_list_usd", "repriced_usd", "unpriced_tokens") == (0, 0, 0)


def test_prices_of_another_day_keep_the_time_of_day() -> None:
    dated = price_book(
        pl.LazyFrame(
            {
                "provider": ["acme"] * 2, "model": ["m"] * 2, "unit": ["input_mtok"] * 2,
                "rate_usd_per_unit": [Decimal(4), Decimal(3)],
                "valid_to": [datetime(2026, 11, 1, tzinfo=UTC), None],
                "valid_from": [None, datetime(2026, 11, 1, tzinfo=UTC)],
            }
        )
    )  # fmt: skip
    row = call(
        model="m", input_uncached_tokens=1_000_000, cache_read_tokens=0, cache_write_tokens=0, output_tokens=0
    )
    found = reprice(calls(row), dated, [Scenario("now", prices_on=date(2026, 11, 1))])
    assert amounts(found, "actual_list_usd", "repriced_usd") == (4, 3)


ROWS = st.lists(
    st.builds(
        call,
        model=st.sampled_from(["big", "small", "other"]),
        feature=st.sampled_from(["chat", "search", None]),
        sample_weight=st.sampled_from([1.0, 2.5, 5000.0, 1 / 3]),
        input_uncached_tokens=st.integers(0, 10**7),
        cache_read_tokens=st.integers(0, 10**6),
        output_tokens=st.integers(0, 10**6),
        status=st.sampled_from(["ok", "error"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=6)
@given(rows=ROWS, share=st.none() | st.integers(0, 100))
def test_parts_add_up_to_the_whole_and_to_the_price_of_every_call(
    rows: list[dict[str, Any]], share: int | None
) -> None:
    table = calls(*rows)
    scenario = Scenario("s", "small", "acme", cached_share=None if share is None else Decimal(share) / 100)
    whole = reprice(table, BOOK, [scenario])
    parts = reprice(table, BOOK, [scenario], by=["feature", "model"])
    for name in ("calls", *BUCKETS, "repriced_usd", "actual_list_usd", "difference_usd", "unpriced_tokens"):
        assert abs(exact_sum(parts[name].drop_nulls()) - (whole[name][0] or 0)) <= Decimal("1E-15")
    # The independent way: price row by row, and multiply by the weight in thousandths.
    priced = price(table.lazy(), BOOK).collect()
    by_hand = exact_sum(
        cost * round(weight * 1000) / 1000
        for cost, weight in priced.select("cost_computed_usd", "sample_weight").iter_rows()
        if cost is not None
    )
    assert abs((whole["actual_list_usd"][0] or 0) - by_hand) <= Decimal("1E-14")
    before = exact_sum(whole.select(BUCKETS[:3]).row(0))
    told = exact_sum(
        Decimal(sum(row[name] for name in BUCKETS[:3])) * round(row["sample_weight"] * 1000) / 1000
        for row in rows
    )
    assert before == told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"provider": "acme"}, "names a provider and no model"),
        ({"cached_share": Decimal("1.1")}, "0 to 1"),
        ({"batch_factor": Decimal("0.5")}, "of a batch"),
        ({"batch": True, "batch_factor": Decimal(0)}, "above 0"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Scenario("s", **given)


def test_scenarios_have_names_and_requests_have_columns() -> None:
    with pytest.raises(InputError, match="each once"):
        reprice(calls(call()), BOOK, [Scenario("a"), Scenario("a")])
    with pytest.raises(InputError, match="lack the columns sample_weight"):
        reprice(calls(call()).drop("sample_weight"), BOOK, [Scenario("a")])


def test_the_bill_gives_the_volume() -> None:
    found = reprice(calls(call(sample_weight=10.0)), BOOK, [Scenario("small", "small", "acme")], by=["model"])
    # The logs say 135.5 at list price, the bill 271: twice as much.
    bill = pl.DataFrame({"model": ["big"], "list_usd": [Decimal(271)], "billed_usd": [Decimal(257)]})
    told = against_bill(found, bill).row(0, named=True)
    assert (told["factor"], told["repriced_usd"]) == (2, Decimal("54.2"))
    assert (told["difference_usd"], told["difference_to_billed_usd"]) == (
        Decimal("-216.8"),
        Decimal("-202.8"),
    )
    for change, said in (
        ({"list_usd": None}, "the bill has no list price"),
        ({"actual_unpriced_tokens": Decimal(1)}, "not all logged calls have a list price"),
        ({"unpriced_tokens": Decimal(1)}, "the scenario does not price all"),
    ):
        both = [
            frame.with_columns(
                pl.lit(v).cast(frame.schema[k]).alias(k) for k, v in change.items() if k in frame.columns
            )
            for frame in (found, bill)
        ]
        row = against_bill(*both).row(0, named=True)
        assert row["reason"].startswith(said)
        assert (row["repriced_usd"], row["difference_to_billed_usd"]) == (None, None)


def test_own_machines_at_the_use_they_have_and_at_another() -> None:
    pool = {
        "model": ["m", "n"],
        "currency": ["USD"] * 2,
        "money": [Decimal(600), None],
        "tokens": [Decimal(3 * 10**8), Decimal(1)],
    }
    hosted = self_hosted(pl.DataFrame(pool | {"utilization": [Decimal("0.3"), None]}), at=Decimal("0.6"))
    assert hosted["money_per_mtok"].to_list() == [2, None]
    assert hosted["money_per_mtok_at"].to_list() == [1, None]
    assert hosted["reason"].to_list() == [None, "no money is known of its machines"]
    mix = pl.DataFrame({"tokens": [Decimal(10**7), None]}, schema={"tokens": pl.Decimal(38, 18)})
    assert moved(mix, hosted, "m").select("money", "money_at").rows() == [(20, 10), (None, None)]
    with pytest.raises(InputError, match="no model 'x' is served"):
        moved(mix, hosted, "x")
    with pytest.raises(InputError, match="at most 1"):
        self_hosted(pl.DataFrame(pool), at=Decimal("1.5"))


# A lab's


def test_the_sample_month_as_called_is_what_the_gateway_reckons(sample_copy: Path) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    found = fl.what_if(lab, "2026-10", by=["feature"])
    assert found.scenarios["difference_usd"].drop_nulls().unique().to_list() == [0]
    bill = {row["model"]: row for row in found.bill.to_dicts()}
    # The vendor bills 5 % less than its list; the logs are a sample, so volumes differ by a few percent.
    for model in ("quill-large", "quill-small"):
        row = bill[model]
        assert row["repriced_usd"] == row["list_usd"]
        assert abs(row["billed_usd"] / row["list_usd"] - Decimal("0.95")) < Decimal("0.0001")
        assert Decimal("0.9") < row["factor"] < Decimal("1.1")
    assert set(found.hosted["model"]) == {"larch-7b", "larch-70b", "alder-13b", "alder-34b"}
    entries = fl.entries(lab).filter(pl.col("x_ChargeMonth") == "2026-10", pl.col("x_model") == "larch-7b")
    paid = (
        entries.filter(pl.col("x_environment") == "prod")
        .select(pl.col("EffectiveCost").sum())
        .collect()
        .item()
    )
    assert found.hosted.filter(model="larch-7b")["money"][0] >= paid > 0


def test_the_command_prints_or_writes_json(sample_copy: Path) -> None:
    args = [
        "what-if",
        "--lab",
        str(sample_copy),
        "--month",
        "2026-10",
        "--model",
        "example_models/quill-small",
    ]
    done = CliRunner().invoke(app, [*args, "--batch", "--only", "model=quill-large", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    (row,) = told["scenarios"]
    assert row["scenario"] == "example_models/quill-small, batch"
    assert Decimal(row["repriced_usd"]) < Decimal(row["actual_list_usd"]) / 5
    assert told["bill"] == []
    assert any("Only a part of the calls" in note for note in told["notes"])
    shown = CliRunner().invoke(app, [*args, "--self-host", "larch-7b", "--utilization", "0.9"])
    assert shown.exit_code == 0, shown.output
    for text in ("At the volume of the bill", "On machines of one's own", "quill-large", "is not judged"):
        assert text in shown.stdout


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"models": ["gpt-4o"]}, InputError, "write provider/model"),
        ({"where": {"colour": ["red"]}}, InputError, "no column 'colour'"),
        ({"where": {"model": ["unheard-of"]}}, NoDataError, "no requests of 2026-10 with model unheard-of"),
        ({"self_host": "gpt-4o"}, InputError, "there are: alder-13b"),
    ],
)
def test_a_question_without_an_answer_says_why(
    sample_copy: Path, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    with pytest.raises(error, match=said):
        fl.what_if(lab, "2026-10", **given)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--cached", "lots"], "--cached takes a number"), (["--only", "chat"], "--only takes COLUMN=VALUE")],
)
def test_options_that_cannot_be_read_name_themselves(options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["what-if", "--month", "2026-10", *options])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
