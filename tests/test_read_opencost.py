"""OpenCost's allocations become charges that no invoice has: nothing billed, the model's total effective."""

from __future__ import annotations

import gzip
import json
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.bills import opencost
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

FORMATS = Path(__file__).parent / "formats"
ANSWER, TABLE = FORMATS / "opencost_allocation.json", FORMATS / "opencost_allocation.csv"
REAL = (
    Path(__file__).parents[2]
    / "shared"
    / "data"
    / "billing"
    / "opencost"
    / "unalloc_opencost_allocation.json"
)
CURRENCY = "BillingCurrency: not in the export, USD assumed"
DIFFERS = "EffectiveCost: the total is not the sum of the parts listed"


def allocation(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "a",
        "properties": {"cluster": "c", "namespace": "n", "labels": {}},
        "start": "2026-10-01T00:00:00Z",
        "end": "2026-10-02T00:00:00Z",
        "cpuCost": 1,
        "ramCost": 2,
        "totalCost": 3,
    }
    return {k: v for k, v in {**base, **changes}.items() if v != "ABSENT"}


def rows(tmp_path: Path, *found: Any, text: str | None = None) -> list[dict[str, Any]]:
    path = tmp_path / "answer.json"
    named = {f"a{n}": a for n, a in enumerate(found)}
    path.write_text(text or json.dumps({"code": 200, "data": [named]}))
    return opencost.read(path, ReadSettings(("team",))).collect().rows(named=True)


def day(month: int, number: int) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


@pytest.mark.parametrize("path", [ANSWER, TABLE], ids=["json", "csv"])
def test_only_this_reader_knows_the_file_and_it_keeps_every_rule(path: Path) -> None:
    sample = registry.inspect(path)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["OpenCost allocation"]
    frame = (
        opencost.read(path, ReadSettings(("team",))).with_columns(pl.lit("f").alias("x_SourceFile")).collect()
    )
    assert frame.select(contracts.reasons("costs").alias("r"))["r"].null_count() == frame.height > 0
    assert frame[REASONS].null_count() == frame.height


@pytest.mark.parametrize("path", [ANSWER, TABLE], ids=["json", "csv"])
def test_frame_has_the_contract_in_order_and_in_its_dtypes(path: Path) -> None:
    schema = dict(opencost.read(path, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("costs").items() if n != "x_SourceFile"}
    assert list(schema)[: len(wanted)] == list(wanted)
    assert list(schema)[-3:] == [RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted
    assert "x_Estimate" in schema


def test_golden_answer() -> None:
    frame = opencost.read(ANSWER, ReadSettings(("team", "namespace", "cost_centre"))).collect()
    columns = (
        "ResourceId",
        "ResourceName",
        "SubAccountId",
        "EffectiveCost",
        "ChargePeriodStart",
        "x_tag_team",
    )
    assert frame.select(columns).rows() == [
        ("serving/chat", "chat-7d9f-abcde", "serving", Decimal("104.75"), day(10, 1), "search"),
        ("__idle__", "__idle__", None, Decimal("50.125"), day(10, 1), None),
        ("__unmounted__", "__unmounted__", None, Decimal("0.75"), day(10, 1), None),
        ("serving/chat", "chat", "serving", Decimal("0.100000000000000006"), day(10, 2), "search"),
        ("batch/embed", "embed", "batch", Decimal(9), day(10, 2), None),
    ]
    assert frame["BilledCost"].sum() == 0
    assert frame["EffectiveCost"].sum() == Decimal("164.725000000000000006")
    assert frame["x_tag_namespace"].to_list() == ["serving", None, None, "serving", "batch"]
    assert frame["x_tag_cost_centre"].to_list() == ["cc-1", None, None, None, None]
    for column, value in (
        ("BillingCurrency", "USD"),
        ("BillingAccountId", "example-cluster"),
        ("ProviderName", "OpenCost"),
        ("ServiceName", "Kubernetes allocation"),
        ("ChargeCategory", "Usage"),
        ("x_Estimate", "OpenCost"),
        ("x_BillingMonth", "2026-10"),
        ("BillingPeriodStart", day(10, 1)),
        ("BillingPeriodEnd", day(11, 1)),
    ):
        assert set(frame[column]) == {value}
    assert frame["x_GpuHours"].to_list() == ["96.0", "48.0", "0.0", "0.0", "2.0"]
    assert frame["x_CpuCost"][3] == "0.10000000000000000555"
    assert frame["ListCost"].null_count() == frame["ContractedCost"].null_count() == 5
    assert frame[NOTES].to_list() == [
        [CURRENCY],
        [CURRENCY],
        [CURRENCY],
        [CURRENCY, "EffectiveCost: more than 18 decimals, rounded to 18"],
        [CURRENCY, DIFFERS],
    ]


def test_golden_table() -> None:
    frame = opencost.read(TABLE, ReadSettings(("team", "namespace"))).collect()
    columns = (
        "ResourceId",
        "ResourceName",
        "EffectiveCost",
        "x_BillingMonth",
        "x_tag_team",
        "x_tag_namespace",
    )
    assert frame.select(columns).rows() == [
        (
            "serving/chat/chat-7d9f-abcde/main",
            "chat-7d9f-abcde",
            Decimal("99.75"),
            "2026-10",
            "search",
            "serving",
        ),
        ("batch/embed/embed-x1/main", "embed-x1", Decimal("0.1000001"), "2026-10", None, "batch"),
        (
            "serving/chat/chat-7d9f-abcde/main",
            "chat-7d9f-abcde",
            Decimal(103),
            "2026-11",
            "search",
            "serving",
        ),
        ("__unmounted__", "__unmounted__", Decimal("0.75"), "2026-11", None, "__unmounted__"),
    ]
    assert frame["BilledCost"].sum() == 0
    assert frame["EffectiveCost"].sum() == Decimal("203.6000001")
    assert frame["ChargePeriodStart"].to_list() == [day(10, 31), day(10, 31), day(11, 1), day(11, 1)]
    assert frame["ChargePeriodEnd"].to_list() == [day(11, 1), day(11, 1), day(11, 2), day(11, 2)]
    assert frame["BillingPeriodEnd"].to_list() == [day(11, 1), day(11, 1), day(12, 1), day(12, 1)]
    assert frame["x_GpuCost"].to_list() == ["96", "0", "96", "0"]
    assert frame["x_CpuCost"][1] == "0.0000001"
    assert set(frame["BillingAccountId"]) == {"OpenCost"}
    assert frame[NOTES].to_list() == [
        [CURRENCY],
        [CURRENCY],
        [CURRENCY, f"{DIFFERS}: load balancers and shared costs have no column"],
        [CURRENCY],
    ]


@pytest.mark.skipif(not REAL.exists(), reason="the shared data is not here")
def test_synthetic_answer_of_a_third_party_to_the_cent() -> None:
    frame = opencost.read(REAL, ReadSettings(("team",))).collect()
    assert (frame.height, frame[REASONS].null_count()) == (5, 5)
    assert frame["EffectiveCost"].sum() == Decimal("42417.72")
    assert frame["BilledCost"].sum() == 0
    assert frame["x_tag_team"].to_list() == ["platform", None, None, "search", None]
    # Every total is the sum of its parts there.
    assert frame[NOTES].to_list() == [[CURRENCY]] * 5


def test_trap_a_modelled_cost_is_not_billed(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, allocation())
    assert (row["BilledCost"], row["EffectiveCost"]) == (Decimal(0), Decimal(3))


def test_trap_shared_and_external_costs_are_in_the_total(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, allocation(sharedCost=4, externalCost=5, totalCost=12))
    assert (row["EffectiveCost"], row[NOTES]) == (Decimal(12), [CURRENCY])


def test_trap_adjustments_are_parts_and_network_by_zone_is_not(tmp_path: Path) -> None:
    changes = {"gpuCost": 10, "gpuCostAdjustment": -2, "networkCost": 1, "networkCrossZoneCost": 1}
    (row,) = rows(tmp_path, allocation(**changes, totalCost=12))
    assert row[NOTES] == [CURRENCY]


@pytest.mark.parametrize(("total", "told"), [(3.004, False), (3.0051, True), (2.99, True)])
def test_totals_are_checked_within_rounding(tmp_path: Path, total: float, told: bool) -> None:
    (row,) = rows(tmp_path, allocation(totalCost=total))
    assert (DIFFERS in row[NOTES]) is told
    assert row["EffectiveCost"] == Decimal(str(total))


def test_floats_keep_the_digits_they_were_written_with(tmp_path: Path) -> None:
    text = json.dumps({"code": 200, "data": [{"a": allocation(totalCost="@", cpuCost=0, ramCost=0)}]})
    (row,) = rows(tmp_path, text=text.replace('"@"', "0.123456789012345678"))
    assert row["EffectiveCost"] == Decimal("0.123456789012345678")
    (row,) = rows(tmp_path, text=text.replace('"@"', "1.25e-7"))
    assert row["EffectiveCost"] == Decimal("0.000000125")


def test_an_answer_without_total_has_the_sum_of_its_parts(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, allocation(totalCost="ABSENT", sharedCost=0.5))
    assert row["EffectiveCost"] == Decimal("3.5")
    assert row[NOTES] == [CURRENCY, "EffectiveCost: the sum of the parts, the answer has no total"]


def test_the_window_stands_for_a_missing_start(tmp_path: Path) -> None:
    window = {"start": "2026-12-31T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
    (row,) = rows(tmp_path, allocation(start="ABSENT", end="ABSENT", window=window))
    assert row["ChargePeriodStart"] == datetime(2026, 12, 31, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2027, 1, 1, tzinfo=UTC)


def test_labels_of_the_pod_win_over_those_of_the_namespace(tmp_path: Path) -> None:
    properties = {"namespace": "n", "labels": {"team": "a"}, "namespaceLabels": {"team": "b", "unit": "u"}}
    (row,) = rows(tmp_path, allocation(properties=properties))
    assert json.loads(row["Tags"]) == {"namespace": "n", "team": "a", "unit": "u"}
    assert (row["x_tag_team"], row["BillingAccountId"]) == ("a", "OpenCost")


def test_what_cannot_be_read_is_kept_with_a_reason(tmp_path: Path) -> None:
    found = rows(tmp_path, allocation(totalCost="much"), allocation(start="soon"), {"name": "x"}, 5)
    assert [r[REASONS] for r in found] == [
        ["EffectiveCost: 'much' is not a number"],
        ["ChargePeriodStart: 'soon' is not a date and time"],
        ["line: is not an allocation of OpenCost"],
        ["line: is not an allocation of OpenCost"],
    ]
    # Money of the row in quarantine is not lost.
    assert found[1]["EffectiveCost"] == Decimal(3)


def test_an_error_of_the_api_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an error of OpenCost instead of costs: no data for window"):
        rows(tmp_path, text='{"code": 500, "message": "no data for window"}')


def test_a_long_answer_is_recognised_by_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"code": 200, "data": [{f"a{n}": allocation() for n in range(8000)}]}))
    assert path.stat().st_size > 1 << 20
    assert opencost.matches(registry.inspect(path))
    assert opencost.read(path, ReadSettings()).collect().height == 8000


def test_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    for source in (ANSWER, TABLE):
        path = tmp_path / f"{source.name}.gz"
        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + source.read_bytes()))
        assert opencost.matches(registry.inspect(path))
        found, wanted = (opencost.read(p, ReadSettings()).collect().drop(RAW) for p in (path, source))
        assert found.equals(wanted)


def test_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(ANSWER.read_text()[:-100])
    with pytest.raises(InputError, match=r"cut\.json: is not JSON"):
        opencost.read(path, ReadSettings()).collect()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE.read_text().replace("TotalCost", "Total"))
    with pytest.raises(InputError, match="has no column TotalCost"):
        opencost.read(path, ReadSettings())


def test_columns_that_older_exports_lack_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("Date,Namespace,CPUCost,RAMCost,TotalCost\n2026-10-01,n,1,2,3\n2026-10-02,n,1,x,oops\n")
    first, second = opencost.read(path, ReadSettings()).collect().rows(named=True)
    assert (first["ResourceId"], first["ResourceType"], first["Tags"]) == ("n", None, '{"namespace":"n"}')
    assert second[REASONS] == ["TotalCost: 'oops' is not a number"]


def test_labels_that_are_no_json_are_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("Date,Namespace,Labels,CPUCost,RAMCost,TotalCost\n2026-10-01,n,=cmd|x,1,2,3\n")
    (row,) = opencost.read(path, ReadSettings(("team",))).collect().rows(named=True)
    assert (row["Tags"], row["x_tag_team"]) == ("=cmd|x", None)
    assert "Tags: not JSON, left unread" in row[NOTES]


@given(st.lists(st.decimals(-(10**9), 10**9, places=12), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_money_is_conserved(amounts: list[Decimal]) -> None:
    named = {f"a{n}": allocation(totalCost=f"@{a:f}@") for n, a in enumerate(amounts)}
    text = json.dumps({"code": 200, "data": [named]}).replace('"@', "").replace('@"', "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.json"
        path.write_text(text)
        frame = opencost.read(path, ReadSettings()).collect()
    assert frame["EffectiveCost"].sum() == sum(amounts)


@pytest.mark.parametrize("key", ["properties", "window", "start", "cpuCost", "gpuHours", "name"])
@pytest.mark.parametrize("value", [None, 5, "x", [], {"labels": [1]}, {"cluster": {}}, 10**40, True])
def test_odd_values_never_fail(tmp_path: Path, key: str, value: Any) -> None:
    (row,) = rows(tmp_path, allocation(**{key: value}))
    assert row["EffectiveCost"] == Decimal(3)
