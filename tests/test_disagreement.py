"""One pool by several rules: real traces, hand-computed shares, conservation, what a rule moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import decimal_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.allocation.disagreement import RULES, Disagreement, disagreement
from finops_lab.charts.disagreement import disagreement_ranges
from finops_lab.config import TokenWeights
from finops_lab.errors import InputError
from finops_lab.ingestion.registry import ReadSettings
from finops_lab.ingestion.requests import azure_llm_trace
from finops_lab.lab import open_lab
from finops_lab.money import MONEY, split

TRACES = Path(__file__).parents[2] / "shared" / "data" / "telemetry" / "azure_llm_2023"
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
COUNTS: dict[str, Any] = {
    "pool_id": pl.String,
    "team": pl.String,
    "n_requests": pl.Int64,
    "sample_weight": pl.Float64,
    "input_uncached_tokens": pl.Int64,
    "cache_read_tokens": pl.Int64,
    "cache_write_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "latency_ms": pl.Float64,
    "prefill_ms": pl.Float64,
    "decode_ms": pl.Float64,
}


def calls(*rows: dict[str, Any]) -> pl.LazyFrame:
    usual = {"pool_id": "gpu", "team": "chat", "n_requests": 1, "sample_weight": 1.0}
    return pl.DataFrame([{**dict.fromkeys(COUNTS), **usual, **row} for row in rows], schema=COUNTS).lazy()


def money(*rows: tuple[str, str, str]) -> pl.LazyFrame:
    schema = {"pool_id": pl.String, "BillingCurrency": pl.String, "amount": MONEY}
    return pl.DataFrame(
        [(pool, code, Decimal(amount)) for pool, code, amount in rows], schema=schema, orient="row"
    ).lazy()


POOL = money(("gpu", "USD", "100"))


def paid(found: Disagreement, rule: str) -> dict[str | None, Decimal | None]:
    rows = found.shares.filter(pl.col("rule") == rule)
    return dict(rows.select("consumer", "amount").iter_rows())


# --- real traces ------------------------------------------------------------------------------------


def test_the_code_share_of_the_real_azure_traces_by_six_rules() -> None:
    if not TRACES.is_dir():
        pytest.skip("no real traces beside this checkout")
    traces = pl.concat(
        azure_llm_trace.read(TRACES / f"AzureLLMInferenceTrace_{name}.csv", ReadSettings()).with_columns(
            pl.lit(name).alias("feature"), pl.lit("gpu").alias("pool_id")
        )
        for name in ("code", "conv")
    )
    weighed = [TokenWeights(input=1, cached_input=1, output=ratio) for ratio in (2, 4, 8)]
    only_output = TokenWeights(input=0, cached_input=0, output=1)
    found = disagreement(
        traces, POOL, rules=["requests", "tokens", *weighed, only_output, *RULES[3:5]], consumer="feature"
    )
    code = found.shares.filter(pl.col("consumer") == "code")
    percents = [None if s is None else f"{s:.1%}" for s in code["share"]]
    assert percents == ["31.3%", "40.9%", "37.8%", "33.0%", "26.7%", "5.7%", None, None]
    assert code["reason"].to_list() == [None] * 6 + ["no engine time measured", "no GPU time measured"]
    # Counted by Python's own reading of the files.
    lines = {
        name: (TRACES / f"AzureLLMInferenceTrace_{name}.csv").read_text(encoding="utf-8").splitlines()[1:]
        for name in ("code", "conv")
    }
    tokens = {name: sum(int(n) for line in each for n in line.split(",")[1:]) for name, each in lines.items()}
    parts = split(Decimal(100), [tokens["code"], tokens["conv"]])
    assert list(paid(found, "tokens").values()) == parts
    widest = found.range.filter(pl.col("consumer") == "code").row(0, named=True)
    assert (widest["cheapest"], widest["dearest"]) == ("tokens 0:0:1", "tokens")
    assert f"{widest['spread_share']:.1%}" == "35.2%"


# --- golden -----------------------------------------------------------------------------------------

GOLDEN = calls(
    {"team": "chat", "input_uncached_tokens": 10, "cache_read_tokens": 100, "output_tokens": 5, "latency_ms": 999.0,
     "prefill_ms": 1.0, "decode_ms": 2.0},
    {"team": "code", "input_uncached_tokens": 20, "cache_write_tokens": 20, "output_tokens": 0, "latency_ms": 6.0},
    {"team": "code", "n_requests": 2, "sample_weight": 1.0},
)  # fmt: skip


def test_golden_shares() -> None:
    found = disagreement(GOLDEN, POOL)
    # tokens 115 : 40; weighted 10 + 10 + 20 = 40 : 40; requests 1 : 3; engine 3 ms : 6 ms; even.
    exact = {
        "tokens": [Fraction(115, 155), Fraction(40, 155)],
        "weighted_tokens": [Fraction(1, 2), Fraction(1, 2)],
        "requests": [Fraction(1, 4), Fraction(3, 4)],
        "engine_seconds": [Fraction(1, 3), Fraction(2, 3)],
        "even": [Fraction(1, 2), Fraction(1, 2)],
    }
    assert found.shares["rule"].unique(maintain_order=True).to_list() == list(RULES)
    for rule, shares in exact.items():
        rows = found.shares.filter(pl.col("rule") == rule)
        assert rows["consumer"].to_list() == ["chat", "code"]
        assert rows["amount"].to_list() == split(Decimal(100), shares), rule
        assert rows["share"].to_list() == pytest.approx([float(share) for share in shares])
        assert decimal_sum(rows["amount"]) == 100
    gpu = found.shares.filter(pl.col("rule") == "gpu_seconds")
    assert gpu.select("consumer", "weight", "share", "amount", "reason").rows() == [
        ("chat", None, None, None, "no GPU time measured"),
        ("code", None, None, None, "no GPU time measured"),
    ]
    assert dict(found.shares.select("weight", "share", "amount").schema) == {
        "weight": pl.Int64(),
        "share": pl.Float64(),
        "amount": MONEY,
    }


def test_golden_range_and_moves() -> None:
    found = disagreement(GOLDEN, POOL, rules=["requests", "weighted_tokens", "gpu_seconds", "even"])
    assert found.range.rows() == [
        ("gpu", "USD", "chat", Decimal(25), Decimal(50), Decimal(25), 0.25, "requests", "weighted_tokens"),
        ("gpu", "USD", "code", Decimal(50), Decimal(75), Decimal(25), 0.25, "weighted_tokens", "requests"),
    ]
    assert found.moves.drop("pool", "BillingCurrency").rows() == [
        ("requests", "weighted_tokens", Decimal(25), "chat", Decimal(25), "code", Decimal(25)),
        ("requests", "gpu_seconds", None, None, None, None, None),
        ("requests", "even", Decimal(25), "chat", Decimal(25), "code", Decimal(25)),
        ("weighted_tokens", "gpu_seconds", None, None, None, None, None),
        ("weighted_tokens", "even", Decimal(0), None, None, None, None),
        ("gpu_seconds", "even", None, None, None, None, None),
    ]


def test_rows_without_a_measure_are_counted() -> None:
    found = disagreement(GOLDEN, POOL)
    assert found.measured.rows() == [
        ("gpu", "tokens", 3, 1),
        ("gpu", "weighted_tokens", 3, 1),
        ("gpu", "requests", 3, 0),
        ("gpu", "engine_seconds", 3, 1),
        ("gpu", "gpu_seconds", 0, 0),
        ("gpu", "even", 3, 0),
    ]
    only_output = disagreement(GOLDEN, POOL, rules=[TokenWeights(input=0, cached_input=0, output=3)])
    assert only_output.measured["unmeasured_rows"].to_list() == [1]
    # A row that knows its input alone tells nothing of output.
    blind = disagreement(
        calls({"input_uncached_tokens": 5}), POOL, rules=["tokens", TokenWeights(input=0, cached_input=0)]
    )
    assert blind.measured["unmeasured_rows"].to_list() == [0, 1]
    assert blind.shares["reason"].to_list() == [None, "no tokens measured"]


def test_counts_of_sampled_and_added_up_rows() -> None:
    rows = calls(
        {"team": "a", "n_requests": 10, "sample_weight": 2.5, "output_tokens": 7},
        {"team": "b", "n_requests": 1, "sample_weight": 75.0, "output_tokens": 1},
    )
    found = disagreement(rows, POOL, rules=["requests", "tokens"])
    assert paid(found, "requests") == {"a": Decimal(25), "b": Decimal(75)}
    assert list(paid(found, "tokens").values()) == split(Decimal(100), [Fraction(35, 2), 75])


def test_bare_usage_needs_a_pool_and_a_consumer_only() -> None:
    bare = pl.LazyFrame({"pool_id": ["gpu", "gpu", "gpu"], "team": ["a", None, "a"]})
    found = disagreement(bare, POOL)
    assert list(paid(found, "requests").items()) == [
        ("a", Decimal("66.666666666666666667")),
        ("unallocated", Decimal("33.333333333333333333")),
    ]
    assert paid(found, "even") == {"a": Decimal(50), "unallocated": Decimal(50)}
    assert set(paid(found, "tokens").values()) == {None}


def test_busy_gpu_time_comes_from_samples() -> None:
    busy = {"a": 0.6, "b": 0.2, None: None, "batch": 0.2}
    rest = {"interval_s": 10.0, "pool_id": "gpu", "util_kind": "sm_active"}
    samples = pl.DataFrame(
        [
            {"ts": i, "gpu_uuid": f"g{i}", "team": t, "util": u, **rest}
            for i, (t, u) in enumerate(busy.items())
        ],
        schema_overrides=contracts.dtypes("gpu_samples"),
    )
    rows = calls({"team": "a"}, {"team": "b"})
    found = disagreement(rows, POOL, rules=["gpu_seconds", "even", "requests"], gpu_samples=samples.lazy())
    assert paid(found, "gpu_seconds") == {
        "a": Decimal(60),
        "b": Decimal(20),
        "batch": Decimal(20),
        "unallocated": Decimal(0),
    }
    # Who shows up in GPU samples alone used the pool too.
    assert set(paid(found, "even").values()) == {Decimal(25)}
    assert paid(found, "requests")["batch"] == 0
    assert found.measured.rows() == [
        ("gpu", "gpu_seconds", 4, 1),
        ("gpu", "even", 2, 0),
        ("gpu", "requests", 2, 0),
    ]


def test_nothing_is_dropped() -> None:
    rows = calls(
        {"team": "a", "output_tokens": 0}, {"pool_id": "elsewhere"}, {"pool_id": None}, {"pool_id": None}
    )
    pools = money(("gpu", "USD", "8"), ("gpu", "EUR", "-2"), ("idle", "USD", "5"))
    found = disagreement(rows, pools, rules=["requests", "tokens"])
    assert found.shares.select("pool", "BillingCurrency", "rule", "consumer", "amount", "reason").rows() == [
        ("gpu", "EUR", "requests", "a", Decimal(-2), None),
        ("gpu", "EUR", "tokens", "a", None, "the tokens counted are 0"),
        ("gpu", "USD", "requests", "a", Decimal(8), None),
        ("gpu", "USD", "tokens", "a", None, "the tokens counted are 0"),
        ("idle", "USD", "requests", None, None, "nobody used the pool"),
        ("idle", "USD", "tokens", None, None, "nobody used the pool"),
    ]
    assert found.without_pool.rows() == [("elsewhere", 1), (None, 2)]
    assert found.range.filter(pl.col("pool") == "idle")["lowest"].to_list() == [None]
    assert found.moves.filter(pl.col("pool") == "idle")["moved"].to_list() == [None]


def test_a_pool_of_nothing_has_no_share_of_its_spread() -> None:
    found = disagreement(GOLDEN, money(("gpu", "USD", "0")), rules=["requests", "even"])
    assert found.range.select("lowest", "highest", "spread", "spread_share").rows() == [
        (Decimal(0), Decimal(0), Decimal(0), None)
    ] * 2  # fmt: skip


def test_the_sample_lab_adds_up_by_every_rule() -> None:
    lab = open_lab(SAMPLES, progress=False)
    usage = lab.table("inference_requests").filter(pl.col("pool_id").is_not_null())
    names = usage.select(pl.col("pool_id").unique().sort()).collect()["pool_id"].to_list()
    found = disagreement(usage, money(*((name, "USD", "1234.56") for name in names)))
    sums = found.shares.group_by("pool", "rule").agg(pl.col("amount").sum(), pl.col("reason").first())
    assert (
        sums.filter(pl.col("reason").is_null())["amount"].to_list()
        == [Decimal("1234.56")] * len(names) * 5
    )  # fmt: skip
    assert set(sums.filter(pl.col("reason").is_not_null())["rule"]) == {"gpu_seconds"}
    assert found.without_pool.is_empty()


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"usage": GOLDEN.drop("team")}, "usage has no column 'team'"),
        ({"usage": GOLDEN.drop("pool_id")}, "usage has no column 'pool_id'"),
        ({"pools": POOL.drop("amount")}, "pools have no column 'amount'"),
        ({"pools": POOL.with_columns(pl.col("amount").cast(pl.Float64))}, "money is Decimal"),
        ({"pools": POOL.with_columns(amount=pl.lit(None, MONEY))}, "unknown"),
        ({"pools": pl.concat([POOL, POOL])}, "stands twice"),
        ({"rules": []}, "no rule"),
        ({"rules": ["tokens", "tokens"]}, "given twice"),
        ({"rules": ["token"]}, "no rule 'token'"),
        ({"rules": [TokenWeights(input=0, cached_input=0, output=0)]}, "weighs every token 0"),
        ({"usage": calls({"output_tokens": -1}), "rules": ["tokens"]}, "negative"),
        ({"usage": calls({"output_tokens": 10**15}), "rules": [TokenWeights(output="12345.6")]}, "2\\^63"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, Any], words: str) -> None:
    given_ = {"usage": GOLDEN, "pools": POOL, "rules": RULES, **change}
    with pytest.raises(InputError, match=words):
        disagreement(given_.pop("usage"), given_.pop("pools"), **given_)


# --- a plain reference, conservation, order ------------------------------------------------------------

TOKENS = st.none() | st.integers(0, 10**6)
TIMES = st.none() | st.floats(0, 10**5)
CALL = st.fixed_dictionaries(
    {
        "pool_id": st.sampled_from(["p", "q", None]),
        "team": st.sampled_from(["a", "b", "c", None]),
        "n_requests": st.integers(1, 3),
        "sample_weight": st.sampled_from([1.0, 2.5, 4096.0, 10 / 3]),
        "input_uncached_tokens": TOKENS,
        "cache_read_tokens": TOKENS,
        "cache_write_tokens": TOKENS,
        "output_tokens": TOKENS,
        "latency_ms": TIMES,
        "prefill_ms": TIMES,
        "decode_ms": TIMES,
    }
)
AMOUNT = st.decimals(min_value=-(10**9), max_value=10**9, places=18, allow_nan=False)


def counted(row: dict[str, Any], rule: str) -> int:
    """Count one call as the rules say, in plain Python: thousandths of tokens and requests."""

    def parts(number: float | None) -> int:
        return round((number or 0) * row["sample_weight"] * 1000)

    fresh = parts((row["input_uncached_tokens"] or 0) + (row["cache_write_tokens"] or 0))
    cached, output = parts(row["cache_read_tokens"]), parts(row["output_tokens"])
    return {
        "tokens": fresh + cached + output,
        "weighted_tokens": 10 * fresh + cached + 40 * output,
        "requests": parts(row["n_requests"]),
    }[rule]


@settings(max_examples=60)
@given(st.lists(CALL, max_size=12), AMOUNT, AMOUNT, st.randoms(use_true_random=False))
def test_every_rule_conserves_every_pool_in_any_order(
    rows: list[dict[str, Any]], first: Decimal, second: Decimal, random: Any
) -> None:
    pools = money(("p", "USD", str(first)), ("q", "EUR", str(second)))
    frame = calls(*rows) if rows else calls({}).head(0)
    found = disagreement(frame, pools)
    for (pool, rule), part in found.shares.partition_by("pool", "rule", as_dict=True).items():
        mine = [row for row in rows if row["pool_id"] == pool]
        users = sorted({row["team"] or "unallocated" for row in mine})
        if part["reason"][0] is not None:
            assert part["amount"].null_count() == part.height == max(len(users), 1)
            continue
        assert decimal_sum(part["amount"]) == (first if pool == "p" else second)
        assert part["consumer"].to_list() == users
        if rule in ("tokens", "weighted_tokens", "requests"):
            weights = [
                sum(counted(row, str(rule)) for row in mine if (row["team"] or "unallocated") == user)
                for user in users
            ]
            assert part["weight"].to_list() == weights
            assert part["amount"].to_list() == split(first if pool == "p" else second, weights)
    for row in found.moves.filter(pl.col("moved").is_not_null()).iter_rows(named=True):
        before, after = (
            dict(
                found.shares.filter(pool=row["pool"], rule=rule).select("consumer", "amount").iter_rows()
            )
            for rule in (row["rule_a"], row["rule_b"])
        )  # fmt: skip
        changes = [after[name] - before[name] for name in before]
        assert (
            row["moved"]
            == decimal_sum(c for c in changes if c > 0)
            == -decimal_sum(c for c in changes if c < 0)
        )
        if row["moved"]:
            assert (row["more"], -row["less"]) == (max(changes), min(changes))
            assert after[row["pays_more"]] - before[row["pays_more"]] == row["more"]
    random.shuffle(rows)
    again = disagreement(calls(*rows) if rows else calls({}).head(0), pools)
    for name in ("shares", "range", "moves", "measured", "without_pool"):
        assert getattr(again, name).equals(getattr(found, name)), name


# --- the chart ----------------------------------------------------------------------------------------


def drawn(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for layer in spec["layer"] for row in layer["data"]["values"]]


def test_the_chart_says_what_the_frame_says() -> None:
    import vl_convert

    draw: Callable[[], dict[str, Any]] = lambda: disagreement_ranges(  # noqa: E731
        disagreement(GOLDEN, POOL, rules=["requests", "weighted_tokens", "gpu_seconds"]).shares,
        title="One pool, two rules",
    ).to_dict()
    spec = draw()
    assert spec["description"] == (
        "Share of the pool of 2 teams by 2 rules, the most disputed first: "
        "code from $50.00 (weighted tokens) to $75.00 (requests); "
        "chat from $25.00 (requests) to $50.00 (weighted tokens). Not measured, so not drawn: gpu seconds."
    )
    rows = drawn(spec)
    assert [(r["consumer"], r["low"], r["high"], r["text"]) for r in rows if "low" in r][:2] == [
        ("code", 50.0, 75.0, "$25.00 apart (25% of the pool)"),
        ("chat", 25.0, 50.0, "$25.00 apart (25% of the pool)"),
    ]
    assert [(r["consumer"], r["rule"], r["amount"]) for r in rows if "rule" in r] == [
        ("code", "requests", 75.0),
        ("code", "weighted tokens", 50.0),
        ("chat", "requests", 25.0),
        ("chat", "weighted tokens", 50.0),
    ]
    assert spec["title"]["text"] and spec["title"]["subtitle"] and spec["width"] == 760
    assert "Share of the pool (USD)" in json.dumps(spec) and "'~s'" in json.dumps(spec)
    assert json.dumps(spec) == json.dumps(draw())
    assert vl_convert.vegalite_to_svg(spec).count("<path") > 4


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (disagreement(GOLDEN, POOL, rules=["gpu_seconds"]).shares, "no rule could be computed"),
        (disagreement(GOLDEN, money(("gpu", "USD", "1"), ("gpu", "EUR", "1"))).shares, "stands twice"),
        (pl.DataFrame({"consumer": ["a"] * 8, "rule": list("abcdefgh"), "amount": [1] * 8}), "8 rules do not"),
    ],
)  # fmt: skip
def test_a_chart_that_would_mislead_is_refused(shares: pl.DataFrame, words: str) -> None:
    with pytest.raises(InputError, match=words):
        disagreement_ranges(shares, title="t")
