"""Explanations of events: exact parts, the guilty slice, volume or price, what coincides, words."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import finops_lab as fl
from finops_lab.allocation import UNALLOCATED, assign
from finops_lab.anomalies.adtributor import slices
from finops_lab.anomalies.attribution import leaves, span_of
from finops_lab.anomalies.coincidences import coincidences
from finops_lab.anomalies.event import as_events
from finops_lab.anomalies.explain import Explanation, explain
from finops_lab.anomalies.explain_bridge import Side, bridge_by_use, not_measured
from finops_lab.anomalies.sentence import amount_words, bridge_words, span_words
from finops_lab.anomalies.similar import similar_events
from finops_lab.errors import CurrencyError, InputError, NoDataError
from finops_lab.money import MONEY, exact_sum
from finops_lab.unit_economics.schemas import REQUEST_DAYS

DAY = date(2026, 10, 5)  # a Monday
WEEKS = [DAY - timedelta(weeks=n) for n in range(7)]


def event(**more: Any) -> dict[str, Any]:
    known = {"metric": "EffectiveCost", "dimension": "total", "value": None, "first": DAY, "last": DAY}
    return {**known, "grain": "day", "direction": "up", **more}


def ledger(*rows: tuple[date, str, str, str | int], **columns: Sequence[Any]) -> pl.DataFrame:
    """Make entries of day, service, team and amount."""
    frame = pl.DataFrame(
        rows, schema=["x_ChargeDate", "ServiceName", "x_team", "amount"], orient="row", strict=False
    )
    return frame.select(
        pl.exclude("amount"),
        pl.col("amount").cast(pl.String).cast(MONEY).alias("EffectiveCost"),
        pl.lit("USD").alias("BillingCurrency"),
        *[pl.Series(name, values) for name, values in columns.items()],
    )


def quiet(service: str, team: str, amount: int, now: int | None = None) -> list[tuple[date, str, str, int]]:
    return [(day, service, team, amount if n or now is None else now) for n, day in enumerate(WEEKS)]


def parts_are_the_whole(told: Explanation) -> None:
    assert told.excess is not None
    for part in told.slices.partition_by("dimension"):
        for name, whole in (("actual", told.actual), ("expected", told.expected), ("excess", told.excess)):
            assert exact_sum(part[name].to_list()) == whole
    last = told.path.filter("narrows").group_by("element").last().sort("element")
    found = told.found.filter(pl.col("rank") == 1, pl.col("slice") != "").sort("element")
    assert (
        last.select("actual", "expected", "excess").rows()
        == found.select("actual", "expected", "excess").rows()
    )
    of = told.found.filter(rank=1)
    enough = of.height > 0 and of["share"].sum() >= 0.67
    assert exact_sum(told.bridge["amount"].to_list()) == (
        exact_sum(of["excess"].to_list()) if enough else told.excess
    )


# What is expected, and whose part it is.


def test_the_expected_is_the_mean_of_the_same_weekdays() -> None:
    rows = [*quiet("A", "x", 10, 25), *quiet("B", "y", 6)]
    rows += [(DAY - timedelta(days=n), "A", "x", 1000) for n in (1, 2, 8, 13)]  # other weekdays do not count
    rows[1] = (WEEKS[1], "A", "x", 16)  # six weeks: 16 and five times 10
    found = leaves(event(), ledger(*rows))
    assert found.spans == (1, 2, 3, 4, 5, 6)
    assert found.frame.select("service", "team", pl.col("actual", "expected").cast(pl.Int64)).rows() == [
        ("A", "x", 25, 11),
        ("B", "y", 6, 6),
    ]
    assert (found.actual, found.expected, found.excess, found.currency) == (31, 17, 14, "USD")


def test_a_long_event_is_held_against_spans_of_whole_weeks() -> None:
    first = DAY + timedelta(days=1)
    days = [first + timedelta(days=n) for n in range(-42, 10)]
    rows = [(day, "A", "x", 5 if day >= first else 2) for day in days]
    found = leaves(event(first=first, last=days[-1]), ledger(*rows))
    # Ten days against the ten from two, four and six weeks before: never against days of the event.
    assert (found.actual, found.expected, found.spans) == (50, 20, (1, 2, 3))


def test_hours_are_held_against_the_hours_of_the_weeks_before() -> None:
    begin = datetime(2026, 10, 5, 9, tzinfo=UTC)
    moments = [begin - timedelta(weeks=n) + timedelta(hours=h) for n in range(3) for h in range(3)]
    rows = pl.DataFrame({"ts": moments, "team": "a", "gpu_hours": [8.0, 8.0, 99.0, *[2.0, 3.0, 50.0] * 2]})
    one = event(metric="gpu_hours", unit="hours", first=begin, last=begin + timedelta(hours=1), grain="hour")
    told = explain(one, rows)
    assert (told.actual, told.expected, told.currency) == (16, 5, None)
    assert told.sentence.startswith(
        "GPU-hours were 11 above the 5 expected on 5 October 2026 from 09:00 to 11:00 UTC"
    )


def test_all_leaves_are_brought_to_the_level_that_the_detector_expected() -> None:
    rows = [*quiet("A", "x", 100, 120), *quiet("B", "y", 50, 260)]
    found = leaves(event(expected=180.0), ledger(*rows))
    assert found.frame["expected"].cast(pl.Float64).to_list() == [120.0, 60.0]
    # Far from what the weeks say it is not a level: the weeks stand.
    far = leaves(event(expected=500.0), ledger(*rows))
    assert far.frame["expected"].cast(pl.Float64).to_list() == [100.0, 50.0]


def test_a_trend_that_all_weeks_agree_on_is_followed_and_one_odd_week_is_not() -> None:
    grown = [(day, "A", "x", str(round(1000 * 1.02 ** (6 - n), 6))) for n, day in enumerate(WEEKS)]
    assert float(leaves(event(), ledger(*grown)).expected) == pytest.approx(1000 * 1.02**6, rel=1e-5)
    odd = quiet("A", "x", 100)
    odd[2] = (WEEKS[2], "A", "x", 160)
    assert leaves(event(), ledger(*odd)).expected == 110


def test_a_week_that_was_an_event_itself_is_no_baseline() -> None:
    rows = quiet("A", "x", 100, 130)
    rows[1] = (WEEKS[1], "A", "x", 900)
    found = leaves(event(), ledger(*rows))
    assert (found.spans, found.expected) == ((2, 3, 4, 5, 6), 100)
    # Of two weeks nobody can say which one is odd.
    short = leaves(event(), ledger(*rows[:3]))
    assert (short.spans, short.expected) == ((1, 2), 500)


def test_a_forecast_that_comes_with_the_entries_is_taken() -> None:
    rows = ledger((DAY, "A", "x", 30), (DAY, "B", "x", 5), forecast=[12, 4])
    told = explain(event(), rows, expected="forecast")
    assert (told.actual, told.expected) == (35, 16)
    assert "service A" in told.sentence
    parts_are_the_whole(told)


def test_only_use_counts_and_corrections_never_do() -> None:
    rows = [*quiet("A", "x", 10, 40), (DAY, "A", "x", 500), (DAY, "A", "x", -7)]
    frame = ledger(
        *rows, ChargeCategory=["Usage"] * 7 + ["Tax", "Usage"], ChargeClass=[None] * 8 + ["Correction"]
    )
    assert leaves(event(), frame).actual == 40
    assert leaves(event(), frame, categories=None).actual == 540


def test_the_slice_of_the_event_is_all_that_is_looked_at() -> None:
    frame = ledger(*quiet("A", "x", 10, 30), *quiet("A", "y", 10, 90), *quiet("B", "x", 10, 50))
    for more in (
        {"dimension": "service / team", "value": "A / x"},
        {"dimension": "service", "value": "A", "x_team": "x"},
        {"x_service": "A", "x_team": "x"},
    ):
        assert leaves(event(**more), frame).actual == 30


def test_what_cannot_be_explained_says_why() -> None:
    frame = ledger(*quiet("A", "x", 10, 30))
    with pytest.raises(InputError, match=r"column BilledCost.*metric"):
        leaves(event(metric="BilledCost"), frame)
    with pytest.raises(InputError, match="of a model, which the entries do not tell"):
        leaves(event(dimension="model", value="m"), frame)
    with pytest.raises(InputError, match="no moment"):
        leaves(event(), frame.drop("x_ChargeDate"))
    with pytest.raises(InputError, match="no entries in the weeks before 2026-10-05"):
        leaves(event(), frame.filter(pl.col("x_ChargeDate") == DAY))
    with pytest.raises(NoDataError, match="slice"):
        leaves(event(dimension="team", value="nobody"), frame)
    euros = pl.concat([frame, frame.with_columns(BillingCurrency=pl.lit("EUR"))])
    with pytest.raises(CurrencyError):
        leaves(event(), euros)
    assert leaves(event(BillingCurrency="EUR"), euros).currency == "EUR"
    with pytest.raises(InputError, match="one event is explained at a time, not 2"):
        explain(
            as_events(
                pl.DataFrame({"kind": "spend", "metric": "m", "dimension": "total", "first": WEEKS[:2]})
            ),
            None,
        )


AMOUNTS = st.integers(-(10**24), 10**26).map(lambda n: Decimal(n).scaleb(-18))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("AB"), st.sampled_from(["x", "y", None]), AMOUNTS),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([None, 90.0, 1e6]),
)
def test_parts_add_up_exactly_whatever_the_amounts(
    rows: list[tuple[int, str, str, Decimal]], level: float | None
) -> None:
    rows += [(0, "A", "x", Decimal(1)), (1, "A", "x", Decimal(1))]
    frame = ledger(*[(WEEKS[n], service, team, f"{amount:f}") for n, service, team, amount in rows])
    told = explain(event(expected=level), frame)
    parts_are_the_whole(told)
    assert told.actual == exact_sum(amount for n, *_, amount in rows if n == 0)


def test_the_rest_of_many_elements_is_one_row_and_the_sum_stays() -> None:
    rows = [row for n in range(30) for row in quiet(f"s{n:02}", "x", 10 + n, 12 + 2 * n)]
    found = leaves(event(), ledger(*rows))
    table = slices(found, most=5).filter(dimension="service")
    assert table["elements"].to_list() == [1, 1, 1, 1, 1, 25]
    assert exact_sum(table["excess"].to_list()) == found.excess
    assert table["share"].sum() == pytest.approx(1)


def test_surprise_and_explanatory_power_are_those_of_the_paper() -> None:
    # Bhagwan et al. (NSDI 2014), Table 3: revenue by data center, forecast 94 and 6, actual 47 and 3,
    # explains nothing of what advertisers do (50, 20, 20, 10 to 24, 10, 6, 10); worked by hand.
    table = slices(leaves(event(), ledger(*quiet("A", "x", 94, 47), *quiet("B", "x", 6, 3))))
    told = dict(zip(table["value"], table.select("share", "surprise").rows(), strict=True))
    assert told["A"] == (pytest.approx(0.94), pytest.approx(0, abs=1e-12))
    moved = slices(leaves(event(), ledger(*quiet("A", "x", 50, 24), *quiet("B", "x", 50, 26))))
    assert moved.filter(dimension="service")["share"].to_list() == [pytest.approx(0.52), pytest.approx(0.48)]


# The guilty slice.


@pytest.fixture(scope="module")
def incidents() -> ModuleType:
    """The generator of incidents that the benchmark measures explanations with."""
    folder = Path(__file__).parents[1] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("_anomaly_explain", folder / "_anomaly_explain.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


def test_the_guilty_slices_of_twenty_incidents_are_found_and_their_parts_add_up(
    incidents: ModuleType,
) -> None:
    right = terms = 0
    for seed in range(20):
        one = incidents.incident(seed)
        told = explain(one.event, one.ledger)
        right += incidents.answer(told, one.ledger) == one.guilty
        terms += incidents.top_term(told) == {"use": "volume", "price": "price", "new": "new"}[one.by]
        parts_are_the_whole(told)
    assert right >= 19 and terms >= 19


def names(told: Explanation) -> list[str]:
    return told.found.filter(rank=1)["slice"].to_list()


def test_one_dimension_two_together_or_two_values_the_fewest_words_win() -> None:
    grid = [(s, t) for s in "ABC" for t in "xyz"]

    def told(guilty: Mapping[tuple[str, str], int]) -> Explanation:
        return explain(
            event(), ledger(*[row for s, t in grid for row in quiet(s, t, 100, guilty.get((s, t)))])
        )

    assert names(told({("A", "x"): 300, ("A", "y"): 310, ("A", "z"): 290})) == ["service A"]
    assert names(told({("A", "x"): 300})) == ["service A, team x"]
    two = told({(s, t): 300 if t != "z" else 100 for s, t in grid})
    assert sorted(names(two)) == ["team x", "team y"]
    assert "team x and team y" in two.sentence
    alike = told({cell: 200 for cell in grid})
    assert names(alike) == [""] and "all of it changed alike, no slice stands out" in alike.sentence
    fallen = told({("B", "y"): 0})
    assert names(fallen) == ["service B, team y"] and "$100 below the $900 expected" in fallen.sentence


def test_what_swings_anyway_and_now_is_gone_altogether_is_told_as_a_whole() -> None:
    swings = [
        (day, s, "x", (0 if (n + k) % 2 else 200) if n else 0)
        for k, s in enumerate("AB")
        for n, day in enumerate(WEEKS)
    ]
    told = explain(event(), ledger(*swings))
    assert told.sentence == (
        "Effective cost was nothing on 5 October 2026, where $200 was expected:"
        " all of it changed alike, no slice stands out."
    )


def test_what_moves_between_slices_explains_no_change() -> None:
    # A tag that changes hands takes 500 from one team to the other; 100 more are spent elsewhere.
    rows = [*quiet("A", "x", 600, 100), *quiet("A", "y", 100, 600), *quiet("B", "z", 100, 200)]
    assert names(explain(event(), ledger(*rows)))[0] in ("team z", "service B")


def test_names_that_are_made_anew_are_one_group_and_one_that_lasts_keeps_its_name() -> None:
    days = WEEKS
    frames = []
    for n, day in enumerate(days):
        jobs = [f"nightly-2026{10 + n}{k}" for k in range(2)]
        kept = ["node-1", "node-2"]
        amounts = [100, 100, 50, 250 if n == 0 else 50]
        frame = ledger(*[(day, "A", "x", amount) for amount in amounts], ResourceName=[*jobs, *kept])
        frames.append(frame)
    told = explain(event(), pl.concat(frames))
    resources = (
        told.slices.filter(dimension="resource").select("value", pl.col("excess").cast(pl.Int64)).rows()
    )
    assert sorted(resources) == [("nightly-*", 0), ("node-1", 0), ("node-2", 200)]
    assert names(told) == ["resource node-2"]
    parts_are_the_whole(told)


# Volume, price, calls.


def test_quantities_of_the_bill_tell_volume_mix_and_price() -> None:
    def row(span: int, sku: str, hours: int | None, amount: int) -> dict[str, Any]:
        return {
            "_span": span,
            "SkuId": sku,
            "ConsumedUnit": "Hours",
            "ConsumedQuantity": hours,
            "EffectiveCost": amount,
        }

    rows = [
        row(1, "small", 10, 10),
        row(1, "large", 10, 50),
        row(2, "small", 10, 10),
        row(2, "large", 10, 50),
    ]
    rows += [
        row(0, "small", 10, 10),
        row(0, "large", 30, 180),
        row(0, "fresh", 5, 20),
        row(0, "support", None, 3),
    ]
    found = bridge_by_use(pl.DataFrame(rows), Side(Decimal(213), Decimal(60), (1, 2)), amount="EffectiveCost")
    assert found is not None
    # Hours doubled: 60 more. The large ones took them: 20 hours at 1 turned into 30 of 5 where 20 were
    # due of each: 50 - 10. Then 30 hours cost 6 and not 5.
    told = dict(found.select("term", pl.col("amount").cast(pl.Int64)).iter_rows())
    assert told == {"volume": 60, "mix": 40, "price": 30, "new": 20, "not_measured": 3}
    assert found["share"].sum() == pytest.approx(1)


def test_without_any_use_the_change_is_not_measured() -> None:
    side = Side(Decimal(5), Decimal(2), (1,))
    rows = pl.DataFrame({"_span": [0, 1], "EffectiveCost": [5, 2]})
    assert bridge_by_use(rows, side, amount="EffectiveCost") is None
    assert not_measured(side).select("term", "amount", "basis").rows() == [("not_measured", 3, "nothing")]
    with pytest.raises(InputError, match="one unit"):
        bridge_by_use(
            pl.DataFrame({"_span": [0, 1], "unit": ["h", "s"], "quantity": [1, 2]}),
            side,
            amount=None,
            quantity="quantity",
            unit="unit",
        )


def test_gpu_hours_of_the_slice_tell_volume_from_price() -> None:
    frame = ledger(*quiet("A", "x", 100, 330), *quiet("A", "y", 100))
    hours = [30 if day == DAY else 10 for day in WEEKS]
    use = pl.DataFrame(
        {"day": WEEKS * 2, "unit": "GPU hours", "team": ["x"] * 7 + ["y"] * 7, "quantity": hours + [99] * 7}
    )
    told = explain(event(), frame, use=use)
    assert told.bridge.select("term", pl.col("amount").cast(pl.Int64), "basis").rows() == [
        ("volume", 200, "counted use"),
        ("price", 30, "counted use"),
    ]
    assert "87 % volume" in told.sentence or "volume, not price" in told.sentence


def calls(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=REQUEST_DAYS, orient="row")


def call(day: date, number: int, retried: int = 0, **more: Any) -> dict[str, Any]:
    tokens = {"input_uncached_tokens": 100 * number, "output_tokens": 10 * number}
    said = {"day": day, "model": "m", "team": "x", "rows": number, "calls": number, "calls_retried": retried}
    return {**said, **tokens, **more}


def test_calls_that_repeat_failed_ones_are_told_apart_from_more_requests() -> None:
    model = ["m"] * 7
    frame = ledger(*quiet("API", "x", 100, 200), x_model=model)
    requests = calls(*[call(day, 200 if day == DAY else 100, 100 if day == DAY else 0) for day in WEEKS])
    told = explain(event(dimension="team", value="x"), frame, requests=requests)
    assert told.bridge.select("term", pl.col("amount").cast(pl.Int64), "basis").rows() == [
        ("retries", 100, "calls")
    ]
    assert "; retries" in told.sentence
    parts_are_the_whole(told)


def test_calls_of_others_and_calls_sampled_too_thinly_tell_nothing() -> None:
    frame = ledger(
        *quiet("API", "x", 100, 200),
        x_model=["m"] * 7,
        ConsumedQuantity=[20, *[10] * 6],
        ConsumedUnit=["Tokens"] * 7,
    )
    others = calls(*[call(day, 500, team="y") for day in WEEKS])
    one = event(dimension="team", value="x")
    assert explain(one, frame, requests=others).bridge["basis"].unique().to_list() == [
        "quantities of the bill"
    ]
    # A thousand calls that stand for hundreds of thousands: their number is off by more than 3 %.
    thin = calls(*[call(day, 200_000 if day == DAY else 100_000, variance_ok=10**9) for day in WEEKS])
    assert explain(one, frame, requests=thin).bridge["basis"].unique().to_list() == ["quantities of the bill"]
    bare = frame.drop("ConsumedQuantity")
    assert explain(one, bare, requests=thin).bridge["basis"].unique().to_list() == ["calls"]


# What coincides, what was like it.


def at(hours: float) -> datetime:
    return datetime(2026, 10, 5, tzinfo=UTC) + timedelta(hours=hours)


def test_what_is_of_the_slice_and_near_comes_first_and_what_is_of_others_never() -> None:
    deploys = pl.DataFrame(
        {
            "ts": [at(-30), at(-6), at(-5), at(-60), at(30)],
            "service": ["chat", "chat", "search", "chat", "chat"],
            "kind": ["deploy", "rollback", "deploy", "deploy", "deploy"],
            "status": ["succeeded", "failed", "succeeded", "succeeded", "succeeded"],
        }
    )
    found = coincidences(event(), {"feature": {"chat": 0.9}}, deploys=deploys)
    assert found.select("what", "hours_before").rows() == [
        ("rollback of chat, which failed", 6.0),
        ("deploy of chat", 30.0),
    ]
    # A half of its 90 % for each day between.
    assert found["score"].to_list() == pytest.approx([0.9 * 0.5**0.25, 0.9 * 0.5**1.25])


def test_attempts_are_one_job_whose_machines_carry_its_name() -> None:
    jobs = pl.DataFrame(
        {
            "job_id": ["retrain-7", "retrain-7", "retrain-7", "eval-1"],
            "ts_start": [at(3), at(9), at(28), at(-2)],
            "kind": ["retrain", "retrain", "retrain", "eval"],
            "team": ["research", "research", "research", "ads"],
            "state": ["failed", "failed", "cancelled", "completed"],
        }
    )
    scope = {"resource": {"retrain-7-1": 0.5, "retrain-7-2": 0.5}, "team": {"research": 1.0}}
    found = coincidences(event(last=DAY + timedelta(days=1)), scope, jobs=jobs)
    assert found.select("kind", "what", "matched", "match").rows() == [
        ("job", "job retrain-7 started 3 times, never completed", "team, resource", 1.0)
    ]
    assert found["hours_before"].to_list() == [-3.0]


def test_scale_events_evictions_and_prices() -> None:
    scaled = pl.DataFrame(
        {
            "ts_decision": [at(-2), at(-1)],
            "pool_id": "p",
            "from_units": [2.0, 4.0],
            "to_units": [4.0, 9.0],
            "unit": "node",
        }
    )
    lost = pl.DataFrame(
        {"ts_lost": [at(-4)], "instance_type": ["g6"], "region": ["eu"], "job_id": ["j"], "provider": ["P"]}
    )
    since = [at(-9000), at(-8), at(-9000)]
    prices = pl.DataFrame(
        {"model": ["m", "m", "other"], "unit": "output_mtok", "valid_from": since}
    ).with_columns(
        pl.Series("rate_usd_per_unit", ["15", "12", "3"]).cast(MONEY), pl.lit("V").alias("provider")
    )
    found = coincidences(
        event(), {"pool": {"p": 1.0}, "model": {"m": 0.6}}, scale_events=scaled, evictions=lost, prices=prices
    )
    assert found.select("kind", "what").rows() == [
        ("scale events", "2 scale events of p, 2 to at most 9 nodes"),
        ("price change", "price of m, output_mtok, from 15 to 12 USD"),
        ("evictions", "1 eviction of g6 under j"),
    ]
    # Nothing says that the eviction is of this slice: it comes last, and the sentence leaves it out.
    assert found["matched"].to_list() == ["pool", "model", ""]


def test_the_sentence_says_coincides_and_never_caused() -> None:
    frame = ledger(*quiet("A", "x", 10, 500), x_feature=["chat"] * 7)
    deploys = pl.DataFrame({"ts": [at(-6)], "service": ["chat"], "kind": ["deploy"]})
    told = explain(event(), frame, deploys=deploys)
    assert "coincides with deploy of chat, 6 hours before" in told.sentence and "caus" not in told.sentence
    none = explain(
        event(),
        frame,
        deploys=deploys.clear(),
        prices=None,
        jobs=pl.DataFrame(
            schema={
                "job_id": pl.String,
                "ts_start": pl.Datetime("us", "UTC"),
                "state": pl.String,
                "kind": pl.String,
            }
        ),
    )
    assert none.sentence.endswith("no deploy or job in the 2 days before.")


def test_similar_events_are_of_the_slice_the_kind_and_the_shape() -> None:
    base = {
        "kind": "spend",
        "metric": "EffectiveCost",
        "dimension": "team",
        "direction": "up",
        "expected": 10.0,
    }
    mine = {**base, "value": "x", "x_team": "x"}
    rows = [
        {**mine, "first": WEEKS[4], "actual": 31.0, "status": "confirmed", "note": "left on"},
        {**mine, "first": WEEKS[3], "actual": 500.0, "status": "expected"},
        {**base, "value": "y", "x_team": "y", "first": WEEKS[2], "actual": 30.0, "status": "false alarm"},
        {**mine, "first": WEEKS[1], "actual": 3.0, "direction": "down"},
        {**mine, "first": DAY, "actual": 30.0},
    ]
    events = as_events(pl.DataFrame(rows))
    now = events.row(events.height - 1, named=True)
    found = similar_events(now, events)
    assert found.select("status", "note").rows() == [("confirmed", "left on"), ("expected", None)]
    told = explain(now, ledger(*quiet("A", "x", 10, 30)), past=events)
    assert told.sentence.endswith("like 2 earlier events (1 confirmed, 1 expected).")


def test_a_metric_that_does_not_add_up_is_told_by_its_own_figures() -> None:
    one = event(
        metric="p95_ms", unit="ms", actual=420.0, expected=100.0, dimension="model", value="m", x_model="m"
    )
    deploys = pl.DataFrame({"ts": [at(-1)], "service": ["chat"], "kind": ["deploy"], "model": ["m"]})
    told = explain(one, None, deploys=deploys)
    assert told.sentence == (
        "P95 latency of m was 320 ms above the 100 ms expected on 5 October 2026:"
        " coincides with deploy of chat, 1 hour before."
    )
    assert told.excess is None and told.slices.is_empty() and told.bridge.is_empty()


# Words.


def test_words_of_amounts_spans_and_bridges() -> None:
    assert amount_words(Decimal("99.994"), "EUR") == "€99.99"
    assert amount_words(0.25, None, "ratio") == "25 %"
    year = event(first=date(2025, 12, 30), last=date(2026, 1, 2))
    assert span_words(year) == "from 30 December 2025 to 2 January 2026"
    assert span_words(event(first=date(2026, 9, 30))) == "from 30 September to 5 October 2026"
    assert span_of(event(grain="5m"))[1] == datetime(2026, 10, 5, 0, 5)
    parts = pl.DataFrame({"term": ["requests", "price", "tokens"], "share": [0.4, -0.2, 0.8]})
    assert bridge_words(parts) == "80 % tokens per call, 40 % volume, \N{MINUS SIGN}20 % price"
    assert bridge_words(pl.DataFrame({"term": ["not_measured"], "share": [1.0]})) is None
    cheap = pl.DataFrame({"term": ["volume", "mix", "price"], "share": [4.4, -3.5, 0.1]})
    assert bridge_words(cheap) == "volume and mix, not price"


# The sample lab.


@pytest.fixture(scope="module")
def sample() -> tuple[pl.LazyFrame, list[dict[str, Any]], Any]:
    """Bill rows of the sample lab with their owners, what was planted, and the lab."""
    lab = fl.open_lab(progress=False)
    truth = json.loads((lab.folder / "truth.json").read_text(encoding="utf-8"))
    owned = assign(
        lab.costs().with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate")),
        lab.config.dimensions,
    )
    rows = owned.with_columns(pl.col("x_team").fill_null(UNALLOCATED))
    return rows, [*truth["anomalies"], truth["runaway_retrain"]], lab


def test_the_planted_slices_of_the_sample_lab_are_named(
    sample: tuple[pl.LazyFrame, list[dict[str, Any]], Any],
) -> None:
    rows, planted, lab = sample
    telemetry = {name: lab.table(name) for name in ("deploys", "scale_events")}
    said = {}
    for one in planted:
        first, last = (date.fromisoformat(one[name]) for name in ("first_day", "last_day"))
        known = rows.filter(pl.col("x_ChargeDate").is_between(first - timedelta(weeks=7), last)).collect()
        about = event(dimension="service", value=one["service"], first=first, last=last)
        told = explain(
            about, known, jobs=lab.table("training_jobs"), evictions=lab.table("spot_evictions"), **telemetry
        )
        parts_are_the_whole(told)
        assert told.excess == pytest.approx(Decimal(one["excess_effective_cost"]), rel=Decimal("0.1"))
        said[one["id"]] = told.sentence
    assert (
        "resource platform-data" in said["storage-requests"]
        and "volume, not price" in said["storage-requests"]
    )
    assert "region us;" in said["egress"]
    assert "sub-account ticket-triage, variant mini" in said["retry-storm"]
    assert "sub-account growth-dev, resource growth-dev-nodes; volume, not price" in said["dev-nodes-left-on"]
    assert "no deploy, job, scale event or eviction in the 2 days before" in said["dev-nodes-left-on"]
    assert "resource retrain-larch-70b-*-v2-*, sub-account research-training" in said["runaway-retrain"]
    assert "job retrain-larch-70b-20261012-v2 started 7 times, never completed" in said["runaway-retrain"]
