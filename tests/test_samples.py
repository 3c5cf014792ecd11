"""The sample lab: deterministic, exact, complete, and what `truth.json` says of it."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_cli import run

from finops_lab import config, contracts
from finops_lab.calendar import add_months, format_month, months_from
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.samples import generate
from finops_lab.samples.capacity import capacity
from finops_lab.samples.company import FEATURES, FIRST_DAY, LAST_DAY, MODELS, TEAMS, VARIANTS
from finops_lab.samples.demand import demand
from finops_lab.samples.deploys import deploys
from finops_lab.samples.operations import Operations, told
from finops_lab.samples.plants import Plants
from finops_lab.samples.traces import traced
from finops_lab.samples.traffic import sample
from finops_lab.samples.training import jobs

Spans = list[tuple[dict[str, Any], dict[str, Any]]]
ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "data" / "samples"
AMOUNTS = ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"]
PRICED = ["ListUnitPrice", "ContractedUnitPrice", "PricingQuantity"]
TEXTS = [
    "ProviderName", "BillingAccountId", "BillingCurrency", "ChargeCategory", "ChargeClass", "ServiceName",
    "SubAccountName", "ResourceName", "SkuId", "SkuPriceId", "RegionId", "CommitmentDiscountId",
    "CommitmentDiscountStatus", "Tags",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lab") / "made"
    done = run("sample", "--out", out, "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote the synthetic lab {out}\n"
    return out


@pytest.fixture(scope="module")
def truth(lab: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((lab / "truth.json").read_text())
    return found


@pytest.fixture(scope="module")
def deliveries(lab: Path) -> pl.DataFrame:
    """Return all bill rows of all files, read here without the library's readers."""
    frames = []
    for path in sorted(files(lab)):
        if not path.startswith(("exports/aws/", "exports/gcp/", "exports/model-vendor/")):
            continue
        full = lab / path
        frame = pl.read_parquet(full) if full.suffix == ".parquet" else pl.read_csv(full, infer_schema=False)
        frames.append(
            frame.select(
                *[pl.col(name).cast(MONEY) for name in (*AMOUNTS, *PRICED)],
                *[pl.col(name).cast(pl.String) for name in TEXTS],
                *[
                    pl.col(name).cast(pl.String).str.slice(0, 10).str.to_date("%Y-%m-%d").alias(name)
                    for name in ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart")
                ],
                pl.lit(path).alias("file"),
            )
        )
    return pl.concat(frames)


@pytest.fixture(scope="module")
def bill(deliveries: pl.DataFrame) -> pl.DataFrame:
    """Return the bill with the newest delivery of the restated month only."""
    return deliveries.filter(~pl.col("file").str.contains("delivered=2026-10-03"))


def files(folder: Path) -> list[str]:
    # Measurements were taken on real machines: they lie beside the generated lab, and are tested apart.
    ignored = {"lake", "quarantine", "measurements"}
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ignored
    ]


def digests(folder: Path) -> dict[str, str]:
    return {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in files(folder)}


def total(frame: pl.DataFrame, column: str) -> Decimal:
    found = frame[column].sum()
    assert isinstance(found, Decimal)
    return found


def by_month(frame: pl.DataFrame, column: str, moment: str) -> dict[str, Decimal]:
    months = frame.group_by(pl.col(moment).dt.strftime("%Y-%m").alias("month")).agg(pl.col(column).sum())
    return dict(months.rows())


def lines(lab: Path, folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((lab / "exports" / "requests" / folder).iterdir()):
        with gzip.open(path, "rt") as stream:
            for line in stream:
                yield json.loads(line)


def busiest_hour(events: pl.DataFrame) -> int:
    """Return the most changes of one pool within an hour."""
    hours = events.group_by("pool_id", pl.col("ts_decision").dt.truncate("1h")).len()["len"]
    return int(hours.max())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def spans(lab: Path) -> Spans:
    """Return every span with its resource's attributes."""
    found = []
    for line in lines(lab, "otlp"):
        for resource in line["resourceSpans"]:
            shared = {a["key"]: next(iter(a["value"].values())) for a in resource["resource"]["attributes"]}
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    found.append((shared, span))
    return found


def test_same_seed_same_bytes_as_the_committed_sample(lab: Path) -> None:
    assert digests(COMMITTED) == digests(lab)


def test_another_seed_differs_and_stays_consistent(lab: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=2, plants=False)
    ours, theirs = digests(lab), digests(tmp_path)
    # The rules and budgets are the company's, not chance's; everything else is drawn anew.
    assert {path for path in ours if ours[path] == theirs.get(path)} == set()
    rules, prices = zip(
        *[(folder / "finops.toml").read_text().split("# The list prices") for folder in (lab, tmp_path)],
        strict=True,
    )  # fmt: skip
    assert rules[0] == rules[1]
    assert [text.count("[[prices]]") for text in prices] == [19, 18]
    found = json.loads((tmp_path / "truth.json").read_text())
    assert found["anomalies"] == []
    planted = ("runaway_retrain", "mis_tagged_team", "price_change", "launch", "restated_month", "correction")
    planted += ("incident", "thrashing_pool", "over_provisioned_pool")
    assert [found[name] for name in planted] == [None] * 9
    assert not any("template_error" in json.dumps(line) for line in lines(tmp_path, "otlp"))
    assert busiest_hour(pl.read_parquet(tmp_path / "exports/capacity/scale_events.parquet")) < 6
    assert not any("delivered=" in path for path in theirs)
    restored = pl.read_csv(tmp_path / "exports/model-vendor/focus_2026-10.csv", infer_schema=False)
    assert restored["ChargeClass"].null_count() == restored.height


def test_size_and_layout(lab: Path) -> None:
    found = files(lab)
    assert sum((lab / path).stat().st_size for path in found) <= 12_000_000
    assert {path.split("/")[0] for path in found} == {
        "README.md", "exports", "finops.toml", "plans", "truth.json",
    }  # fmt: skip
    assert "synthetic" in (lab / "README.md").read_text().lower()


def test_gzip_headers_carry_no_time_and_no_name(lab: Path) -> None:
    headers = {(lab / path).read_bytes()[:8] for path in files(lab) if path.endswith(".gz")}
    assert headers == {b"\x1f\x8b\x08\x00\x00\x00\x00\x00"}


@pytest.mark.parametrize("kind", ["file", "seed"])
def test_bad_parameters(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("")
        with pytest.raises(InputError, match="is a file"):
            generate(path)
        assert path.read_text() == ""
    else:
        with pytest.raises(InputError, match="negative"):
            generate(path, seed=-1)
        assert not path.exists()


def test_imports_no_room_that_finds_the_truths_again() -> None:
    allowed = {"errors", "money", "calendar", "contracts", "samples"}
    for path in (ROOT / "finops_lab" / "samples").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                parts = name.split(".")
                assert parts[0] != "finops_lab" or parts[1] in allowed, f"{path.name} imports {name}"


def test_config_loads_and_names_every_team_and_service(lab: Path) -> None:
    loaded = config.load(lab)
    assert loaded.lab.name == "Synthetic sample lab" and loaded.lab.currency == "USD"
    assert all(getattr(loaded.dimensions, name) for name in contracts.DIMENSIONS)
    for team in (None, *TEAMS, "platform"):
        who = (None, None) if team is None else ("team", team)
        covered = [m for b in loaded.budgets if b.selector == who for m in months_from(b.first, b.last)]
        assert covered == months_from(date(2025, 1, 1), date(2026, 12, 1))
    assert {slo.service for slo in loaded.slos} == set(FEATURES)
    assert [(s.path, s.rate) for s in loaded.telemetry.sampling] == [("requests/litellm/**", 1 / 5000)]
    assert {target.kpi for target in loaded.kpis} == {"M1", "M2", "M4", "M5", "M7", "M8", "M11", "M12"}


def test_months_are_complete_and_daily(bill: pl.DataFrame) -> None:
    expected = [format_month(m) for m in months_from(FIRST_DAY, LAST_DAY)]
    assert len(expected) == 30
    for provider, rows in bill.partition_by("ProviderName", as_dict=True).items():
        assert sorted(by_month(rows, "BilledCost", "BillingPeriodStart")) == expected, provider
        daily = rows.filter(pl.col("ChargePeriodEnd") == pl.col("ChargePeriodStart") + pl.duration(days=1))
        assert daily["ChargePeriodStart"].n_unique() == (LAST_DAY - FIRST_DAY).days + 1, provider
    assert 60_000 <= bill.height <= 120_000
    assert bill["BillingCurrency"].unique().to_list() == ["USD"]


def test_every_charge_category_class_and_status_is_there(bill: pl.DataFrame) -> None:
    assert set(bill["ChargeCategory"]) == {"Usage", "Purchase", "Tax", "Credit"}
    assert set(bill["ChargeClass"]) == {None, "Correction"}
    assert set(bill["CommitmentDiscountStatus"]) == {None, "Used", "Unused"}


def test_price_times_quantity_is_the_cost_exactly(bill: pl.DataFrame) -> None:
    priced = bill.filter(pl.col("ListUnitPrice").is_not_null())
    assert priced.height > 0.99 * bill.height
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        rows = priced.select(price, "PricingQuantity", cost).rows()
        assert all(p * q == c for p, q, c in rows)
    assert priced.filter(pl.col("ListCost") <= pl.col("ContractedCost")).is_empty()
    assert priced.filter(pl.col("ContractedCost") < pl.col("EffectiveCost")).is_empty()


def test_amounts_carry_at_most_ten_decimals(bill: pl.DataFrame) -> None:
    for name in (*AMOUNTS, *PRICED):
        assert bill[name].cast(pl.Decimal(38, 10)).cast(MONEY).equals(bill[name]), name


def test_commitments_are_used_and_unused_to_the_last_decimal(
    bill: pl.DataFrame, truth: dict[str, Any]
) -> None:
    committed = bill.filter(pl.col("CommitmentDiscountId").is_not_null())
    parts = committed.partition_by("CommitmentDiscountId", as_dict=True)
    assert len(parts) == len(truth["commitments"]) == 2
    for entry in truth["commitments"]:
        rows = parts[(entry["id"],)]
        usage = rows.filter(pl.col("ChargeCategory") == "Usage")
        purchase = rows.filter(pl.col("ChargeCategory") == "Purchase")
        assert total(usage, "EffectiveCost") == total(purchase, "BilledCost") == Decimal(entry["purchased"])
        assert total(usage, "BilledCost") == total(purchase, "EffectiveCost") == 0
        for status in ("Used", "Unused"):
            of_status = usage.filter(pl.col("CommitmentDiscountStatus") == status)
            assert total(of_status, "EffectiveCost") == Decimal(entry[status.lower()]) > 0


def test_totals_equal_the_files(bill: pl.DataFrame, truth: dict[str, Any]) -> None:
    assert bill.height == truth["rows"]
    for key, moment in (("charge", "ChargePeriodStart"), ("billing", "BillingPeriodStart")):
        for column in ("BilledCost", "EffectiveCost"):
            expected = truth[f"totals_by_{key}_month"]
            assert by_month(bill, column, moment) == {m: Decimal(e[column]) for m, e in expected.items()}
            for provider, rows in bill.partition_by("ProviderName", as_dict=True).items():
                found = {
                    m: Decimal(e["by_provider"][provider[0]][column])
                    for m, e in expected.items()
                    if provider[0] in e["by_provider"]
                }
                assert by_month(rows, column, moment) == found


def test_restated_month_holds_the_late_rows_and_only_them(
    deliveries: pl.DataFrame, truth: dict[str, Any]
) -> None:
    told = truth["restated_month"]
    old, new = (
        deliveries.filter(pl.col("file").str.contains(f"delivered={told[name]}")).drop("file")
        for name in ("first_delivery", "second_delivery")
    )
    late = new.join(old, on=new.columns, how="anti", nulls_equal=True)
    assert late.height == new.height - old.height == told["late_rows"] > 0
    assert total(late, "EffectiveCost") == Decimal(told["late_effective_cost"])
    assert total(old, "EffectiveCost") == Decimal(told["first_effective_cost"])
    assert total(new, "EffectiveCost") == Decimal(told["second_effective_cost"])


def test_anomalies_stand_out_by_what_the_truth_says(bill: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = [*truth["anomalies"], truth["runaway_retrain"]]
    assert len(told) == 5
    for anomaly in told:
        assert sum(map(Decimal, anomaly["excess_by_day"].values())) == Decimal(
            anomaly["excess_effective_cost"]
        )
        series = bill.filter(
            (pl.col("ProviderName") == anomaly["provider"])
            & (pl.col("ServiceName") == anomaly["service"])
            & (pl.col("SubAccountName") == anomaly["sub_account"])
        )
        days = dict(series.group_by("ChargePeriodStart").agg(pl.col("EffectiveCost").sum()).rows())
        first, last = date.fromisoformat(anomaly["first_day"]), date.fromisoformat(anomaly["last_day"])
        usual = max(cost for day, cost in days.items() if add_months(first.replace(day=1), -2) <= day < first)
        for day, excess in anomaly["excess_by_day"].items():
            assert first <= date.fromisoformat(day) <= last
            assert days[date.fromisoformat(day)] >= Decimal(excess) > 0
        # The whole incident is far beyond the highest of the usual days.
        assert Decimal(anomaly["excess_effective_cost"]) > usual


def test_mis_tagged_pool(bill: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["mis_tagged_team"]
    rows = bill.filter(pl.col("ResourceName") == told["resource_name"]).with_columns(
        pl.col("Tags").str.extract('(?i)"team":"([a-z]+)"').alias("team")
    )
    since = date.fromisoformat(told["since"])
    late = rows.filter(pl.col("ChargePeriodStart") >= since)
    assert set(late["team"].drop_nulls()) == {told["tagged_team"]}
    early = rows.filter(pl.col("ChargePeriodStart") < since)
    assert set(early["team"].drop_nulls()) == {told["true_team"]}
    assert total(late, "EffectiveCost") == Decimal(told["effective_cost"])


def test_price_change_credits_correction_and_launch(bill: pl.DataFrame, truth: dict[str, Any]) -> None:
    cut = truth["price_change"]
    rows = bill.filter((pl.col("SkuId") == cut["sku"]) & (pl.col("ChargeClass").is_null()))
    since = date.fromisoformat(cut["date"])
    for late, moment in ((False, "from"), (True, "to")):
        part = rows.filter((pl.col("ChargePeriodStart") >= since) == late)
        assert part["ListUnitPrice"].unique().to_list() == [Decimal(cut["list_price"][moment])]
        assert part["ContractedUnitPrice"].unique().to_list() == [Decimal(cut["contracted_price"][moment])]

    credits = bill.filter(pl.col("ChargeCategory") == "Credit")
    told = truth["credits_that_end"]
    assert max(by_month(credits, "BilledCost", "ChargePeriodStart")) == told["last_month"]
    assert credits["BilledCost"].unique().to_list() == [Decimal(told["monthly_amount"])]

    refund = bill.filter(pl.col("ChargeClass") == "Correction")
    told = truth["correction"]
    assert by_month(refund, "BilledCost", "BillingPeriodStart") == {
        told["billing_month"]: Decimal(told["amount"])
    }
    assert list(by_month(refund, "BilledCost", "ChargePeriodStart")) == [told["charge_month"]]

    launch = truth["launch"]
    own = bill.filter(pl.col("Tags").str.contains(f'"(feature|project)":"{launch["feature"]}"'))
    assert own["ChargePeriodStart"].min() == date.fromisoformat(launch["date"])


def test_tags_have_the_dirt_of_real_exports(bill: pl.DataFrame) -> None:
    tagged = bill.filter(pl.col("Tags").str.contains('(?i)"team"'))
    share = tagged["Tags"].str.contains('"Team"').mean()
    assert isinstance(share, float) and 0.03 < share < 0.07
    untagged = bill.filter(pl.col("Tags").is_null() & pl.col("ResourceName").is_not_null())
    assert 0 < untagged.height < 0.05 * bill.height
    gateway = bill.filter(pl.col("SubAccountName") == "shared-gateway")
    assert gateway.height > 0
    assert not gateway["Tags"].str.contains('(?i)"team"').any()
    for tags in bill["Tags"].drop_nulls().unique():
        assert isinstance(json.loads(tags), dict)


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("gpu_samples", "gpu/gpu_samples.parquet"),
        ("capacity_series", "capacity/capacity_series.parquet"),
        ("scale_events", "capacity/scale_events.parquet"),
        ("latency_histograms", "latency/latency_histograms.parquet"),
        ("deploys", "deploys/deploys.csv"),
        ("accuracy_samples", "evaluations/accuracy_samples.parquet"),
        ("training_jobs", "training/training_jobs.csv"),
        ("spot_evictions", "spot/spot_evictions.csv"),
        ("feature_value", "value/feature_value.csv"),
    ],
)
def test_canonical_files_keep_their_contract(lab: Path, table: str, path: str) -> None:
    full = lab / "exports" / path
    frame = pl.read_parquet(full) if path.endswith("parquet") else pl.read_csv(full, infer_schema=False)
    wanted = contracts.dtypes(table)
    added = {"day", "source_file", "source_row", "mig_id"} & set(wanted)  # no MIG slices in the sample
    assert set(frame.columns) == set(wanted) - added
    typed = frame.with_columns(
        *[
            pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
            if isinstance(wanted[name], pl.Datetime) and dtype == pl.String
            else pl.col(name).cast(wanted[name])
            for name, dtype in frame.schema.items()
        ],
        *([pl.col("ts").dt.date().alias("day")] if "day" in added else []),
        *([pl.lit(None, dtype=pl.String).alias("mig_id")] if "mig_id" in added else []),
        source_file=pl.lit(path),
        source_row=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    ).select(*wanted)
    assert typed.height > 0
    assert typed.select(contracts.reasons(table).list.len().sum()).item() == 0


def test_training_jobs_cost_what_the_bill_says(lab: Path, bill: pl.DataFrame, truth: dict[str, Any]) -> None:
    jobs = pl.read_csv(lab / "exports/training/training_jobs.csv", infer_schema=False)
    billed = dict(bill.group_by("ResourceName").agg(pl.col("BilledCost").sum()).rows())
    for job, attempt, cost in jobs.select("job_id", "attempt", "cost_usd").rows():
        assert billed[f"{job}-{attempt}"] == Decimal(cost)
    runaway = jobs.filter(pl.col("job_id") == truth["runaway_retrain"]["job_id"])
    assert set(runaway["state"]) == {"failed", "cancelled"}
    assert sum(map(Decimal, runaway["cost_usd"])) == Decimal(
        truth["runaway_retrain"]["excess_effective_cost"]
    )


def test_requests_cover_every_model_variant_and_feature(lab: Path, spans: Spans) -> None:
    seen: set[tuple[str, str, str]] = set()
    missing = rows = 0
    for log in lines(lab, "litellm"):
        tags = dict(tag.split(":", 1) for tag in log["request_tags"])
        rows += 1
        missing += "feature" not in tags
        seen.add((tags.get("feature", ""), log["model"], tags["variant"]))
        cached = (
            log["metadata"].get("usage_object", {}).get("prompt_tokens_details", {}).get("cached_tokens", 0)
        )
        assert 0 <= cached <= log["prompt_tokens"]
        assert log["startTime"] <= log["completionStartTime"] <= log["endTime"]
    for resource, span in spans:
        attributes = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
        if "gen_ai.request.model" not in attributes:
            continue  # around calls
        rows += 1
        missing += "finops.feature" not in resource
        model = attributes["gen_ai.request.model"]
        seen.add((resource.get("finops.feature", ""), model, resource["finops.variant"]))
        assert ("error.type" in attributes) == (span["status"].get("code") == 2)
        tokens = int(attributes.get("gen_ai.usage.input_tokens", "0"))
        assert int(attributes.get("gen_ai.usage.cache_read.input_tokens", "0")) <= tokens
    expected = {(f, m, v) for f in FEATURES for m in MODELS for v in VARIANTS[m]}
    assert len(expected) == 8 * 6 * 3
    assert {key for key in seen if key[0]} == expected
    assert 45_000 <= rows <= 65_000
    assert 0.02 < missing / rows < 0.10


def test_kept_spans_pass_their_sampling_threshold(spans: Spans) -> None:
    traces, ids = set(), set()
    for _, span in spans:
        threshold = span["traceState"].removeprefix("ot=th:").ljust(14, "0")
        assert re.fullmatch(r"[0-9a-f]{32}", span["traceId"]) and re.fullmatch(
            r"[0-9a-f]{16}", span["spanId"]
        )
        assert int(span["traceId"][-14:], 16) >= int(threshold, 16)
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        traces.add(span["traceId"])
        ids.add(span["spanId"])
    assert len(ids) == len(spans)
    assert len(traces) > 0.95 * len(spans)


def test_calls_of_a_trace_lie_inside_the_span_that_made_them(spans: Spans) -> None:
    by_id = {span["spanId"]: span for _, span in spans}
    kinds: dict[str, int] = {}
    for _, span in spans:
        if (parent := by_id.get(span.get("parentSpanId", ""))) is None:
            assert "parentSpanId" not in span
            continue
        assert parent["traceId"] == span["traceId"]
        assert int(parent["startTimeUnixNano"]) < int(span["startTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) < int(parent["endTimeUnixNano"])
        kind = "retry" if "http.request.resend_count" in json.dumps(span) else span["name"].split()[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    assert kinds["retrieval"] > 150 and kinds["retry"] > 150 and kinds["chat"] > 400


def test_spans_of_the_newest_month_tell_sizes_and_times_in_the_engine(spans: Spans) -> None:
    for _, span in spans:
        told = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
        new = int(span["startTimeUnixNano"]) >= 1_790_812_800_000_000_000  # 2026-10-01
        if "gen_ai.request.model" not in told:
            assert new
            continue
        assert ("http.request.body.size" in told) == ("http.response.body.size" in told) == new
        engine = [told.get(f"gen_ai.latency.time_in_{n}") for n in ("queue", "model_prefill", "model_decode")]
        assert (None not in engine) == (new and "error.type" not in told)
        if None not in engine:
            took = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
            first = told["gen_ai.response.time_to_first_chunk"]
            assert sum(engine) * 1e9 == pytest.approx(took)
            assert engine[0] + engine[1] == pytest.approx(first)
            assert int(told["http.request.body.size"]) > int(told["gen_ai.usage.input_tokens"])


def test_weighted_logs_match_the_token_bill_up_to_sampling(lab: Path, bill: pl.DataFrame) -> None:
    billed = bill.filter(
        (pl.col("ProviderName") == "Example Models API")
        & (pl.col("ChargePeriodStart") >= date(2026, 8, 1))
        & pl.col("PricingQuantity").is_not_null()
    )
    tokens = {"input": 0, "cached-input": 0, "output": 0}
    spend = 0.0
    for log in lines(lab, "litellm"):
        if log["cache_hit"] == "True" or log["status"] == "failure":
            continue
        cached = log["metadata"]["usage_object"]["prompt_tokens_details"]["cached_tokens"]
        tokens["input"] += (log["prompt_tokens"] - cached) * 5000
        tokens["cached-input"] += cached * 5000
        tokens["output"] += log["completion_tokens"] * 5000
        spend += log["spend"] * 5000
    for direction, logged in tokens.items():
        of_direction = billed.filter(pl.col("SkuId").str.contains(f"(standard|batch|mini)-{direction}$"))
        expected = float(total(of_direction, "PricingQuantity")) * 1e6
        # About 20,000 lognormal draws: a few standard errors.
        assert logged == pytest.approx(expected, rel=0.06), direction
    assert spend == pytest.approx(float(total(billed, "ListCost")), rel=0.06)


def test_quantized_variants_are_cheaper_faster_and_a_little_less_accurate(lab: Path) -> None:
    found = pl.read_parquet(lab / "exports/evaluations/accuracy_samples.parquet")
    means = {
        (model, variant): value
        for model, variant, value in found.group_by("model", "variant").agg(pl.col("value").mean()).rows()
    }
    for model in ("larch-7b", "larch-70b", "alder-13b", "alder-34b"):
        loss8 = means[model, "bf16"] - means[model, "int8"]
        loss4 = means[model, "bf16"] - means[model, "int4"]
        assert 0 < loss8 < 0.008 < loss4 < 0.03


def test_gpu_samples_keep_the_two_kinds_apart(lab: Path) -> None:
    samples = pl.read_parquet(lab / "exports/gpu/gpu_samples.parquet")
    assert 24 <= samples["gpu_uuid"].n_unique() <= 60
    medians = dict(
        samples.filter(pl.col("util") > 0).group_by("util_kind").agg(pl.col("util").median()).rows()
    )
    assert medians["gpu_util"] > 0.9 and 0.5 < medians["sm_active"] < 0.75
    idle = (samples["util"] == 0).mean()
    assert isinstance(idle, float) and 0.2 < idle < 0.4
    assert (
        samples.filter(~pl.col("allocated"))["pod"].null_count()
        == samples.filter(~pl.col("allocated")).height
    )


# --- operations --------------------------------------------------------------------------------------


def test_the_incident_stands_out_in_the_spans(spans: Spans, truth: dict[str, Any]) -> None:
    known = truth["incident"]
    begin, end = (int(datetime.fromisoformat(known[k]["ts"]).timestamp()) for k in ("deploy", "rollback"))
    counts = {True: [0.0, 0.0], False: [0.0, 0.0]}
    planted = 0
    for resource, span in spans:
        if resource.get("finops.feature") != known["feature"] or span["name"] != f"chat {known['model']}":
            continue
        start = int(span["startTimeUnixNano"]) / 1e9
        threshold = int(span["traceState"].removeprefix("ot=th:").ljust(14, "0"), 16)
        weight = 2**56 / (2**56 - threshold)
        failed = span["status"].get("code") == 2
        planted += failed and weight == known["calls_per_span"]
        assert not failed or weight != known["calls_per_span"] or begin - 60 <= start < end
        inside = counts[begin <= start < end]
        inside[failed] += weight
    assert planted == known["failed_spans"] > 300
    assert counts[True][True] > 0.3 * sum(counts[True])
    assert counts[False][True] < 0.03 * sum(counts[False])
    assert known["failed_calls"] == known["failed_spans"] * known["calls_per_span"]


def test_deploys_name_versions_that_were_trained_before(lab: Path, truth: dict[str, Any]) -> None:
    found = pl.read_csv(lab / "exports/deploys/deploys.csv", infer_schema=False)
    trained = pl.read_csv(lab / "exports/training/training_jobs.csv", infer_schema=False)
    done = dict(trained.filter(pl.col("state") == "completed").select("model_version", "ts_end").rows())
    for version, ts in found.select("model_version", "ts").drop_nulls().rows():
        assert done[version] < ts
    assert set(found["service"]) == set(FEATURES)
    assert dict(found.group_by("kind").len().rows()).keys() == {"deploy", "rollback", "config"}
    known = truth["incident"]
    own = found.filter(pl.col("service") == known["service"], pl.col("kind") != "config")
    own = own.filter(pl.col("ts") >= "2026-10-14")
    assert own.select("ts", "kind", "model_version", "commit").unique().sort("ts").rows() == [
        (known[kind]["ts"], kind, known[kind]["model_version"], known[kind]["commit"])
        for kind in ("deploy", "rollback")
    ]
    assert known["deploy"]["model_version"] != known["rollback"]["model_version"]
    assert set(own["pool_id"]) == set(known["pools"])


def test_hours_of_capacity_are_what_the_scale_events_made_them(lab: Path, truth: dict[str, Any]) -> None:
    series = pl.read_parquet(lab / "exports/capacity/capacity_series.parquet")
    events = pl.read_parquet(lab / "exports/capacity/scale_events.parquet")
    pools = pl.read_parquet(lab / "exports/gpu/gpu_samples.parquet", columns=["pool_id"])["pool_id"].unique()
    assert set(series["pool_id"]) == set(pools)
    assert series.group_by("pool_id").len()["len"].unique().to_list() == [92 * 24]
    assert (series["least"] <= series["desired"]).all() and (series["desired"] <= series["most"]).all()
    for (pool,), hours in series.partition_by("pool_id", as_dict=True).items():
        own = events.filter(pl.col("pool_id") == pool).sort("ts_decision")
        assert (own["from_units"][1:] == own["to_units"][:-1]).all()
        for column, moment in (("desired", "ts_decision"), ("ready", "ts_ready")):
            # An hour without a change keeps the number it began with; one with a change has a mean between.
            changes = own.group_by(pl.col(moment).dt.truncate("1h").alias("ts")).agg(
                (pl.col("to_units") - pl.col("from_units")).sum().alias("net"),
                (
                    (pl.col("to_units") - pl.col("from_units"))
                    * (3600 - (pl.col(moment) - pl.col(moment).dt.truncate("1h")).dt.total_seconds())
                ).sum().alias("second_units"),
            )  # fmt: skip
            joined = hours.join(changes, on="ts", how="left").sort("ts").fill_null(0)
            first = own["from_units"][0] if own.height else joined[column][0]
            begin = first + joined["net"].cum_sum() - joined["net"]
            assert ((begin + joined["second_units"] / 3600) - joined[column]).abs().max() < 1e-9
    flapping = truth["thrashing_pool"]
    busy = events.filter(pl.col("pool_id") == flapping["pool_id"])
    assert busiest_hour(busy) >= 8
    assert busiest_hour(events.filter(pl.col("pool_id") != flapping["pool_id"])) < 6
    large = series.filter(pl.col("pool_id") == truth["over_provisioned_pool"]["pool_id"])
    assert large["needed"].sum() < 0.5 * large["ready"].sum()
    others = series.filter(pl.col("pool_id") != truth["over_provisioned_pool"]["pool_id"])
    shares = others.group_by("pool_id").agg(pl.col("needed").sum() / pl.col("ready").sum())["needed"]
    assert shares.min() > 0.5  # type: ignore[operator]


def test_histograms_tell_the_durations_of_the_sampled_calls(lab: Path, spans: Spans) -> None:
    buckets = pl.read_parquet(lab / "exports/latency/latency_histograms.parquet")
    key = ["pool_id", "metric", "ts"]
    ordered = buckets.sort(*key, "le_ms")
    steps = ordered.select(pl.col("cumulative_count").diff().over(key)).to_series().drop_nulls()
    assert steps.min() == 0
    last = ordered.group_by(key).agg(pl.all().last())
    assert last["le_ms"].is_infinite().all() and last["sum_ms"].null_count() == 0
    assert last.height == 9 * 2 * 92 * 4
    measured: dict[str, list[int]] = {}
    for resource, span in spans:
        if not span["status"] and span["name"].startswith("chat"):
            took = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
            measured.setdefault(resource["k8s.deployment.name"], []).append(took)
    for (pool,), rows in buckets.filter(metric="latency").partition_by("pool_id", as_dict=True).items():
        counted = rows.group_by("le_ms").agg(pl.col("cumulative_count").sum()).sort("le_ms")
        total = int(counted["cumulative_count"][-1])
        own = sorted(measured[pool])
        for le, count in counted.filter(pl.col("le_ms").is_between(1000, 15_000)).rows():
            share = sum(took <= le * 1e6 for took in own) / len(own)
            assert count / total == pytest.approx(share, abs=2.5 / len(own) ** 0.5)


@pytest.mark.parametrize("seed", [2, 3])
def test_operations_of_other_seeds_hold_what_the_truth_says(seed: int) -> None:
    plants = Plants()
    volume, training = demand(seed, plants), jobs(seed, plants)
    plain = sample(seed, volume, api=False)
    calls = traced(seed, plain, volume, plants)
    series, events = capacity(seed, volume, plants)
    said = told(Operations(calls, series, events, deploys(seed, training, plants)), plants)
    # The calls of before are all there, on their days, with their tokens; only failures were added.
    added = calls.filter(pl.col("number") >= 900_000)
    kept = calls.filter(pl.col("number") < 900_000)
    same = ["feature", "model", "variant", "customer", "input_tokens", "output_tokens", "latency_ms", "error"]
    day = (pl.col("start_ms") // 86_400_000).alias("day")
    assert kept.select(day, *same).sort(pl.all()).equals(plain.select(day, *same).sort(pl.all()))
    assert added.height == said["incident"]["failed_spans"] > 300 and added["error"].null_count() == 0
    assert added["output_tokens"].sum() == 0
    window = calls.filter(
        pl.col("feature") == "reply-drafts",
        pl.from_epoch("start_ms", time_unit="ms").is_between(
            datetime(2026, 10, 21, 9), datetime(2026, 10, 21, 15)
        ),
    )
    assert window["error"].count() > 0.8 * window.height
    assert busiest_hour(events.filter(pl.col("pool_id") == said["thrashing_pool"]["pool_id"])) >= 8
    large = said["over_provisioned_pool"]
    assert large["needed_hours"] < 0.5 * large["ready_hours"]
