"""Files in columns of their own, mapped in `finops.toml`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from helpers import PLAIN_TOML, cost_row, write_lab

from finops_lab.errors import ConfigError, FinopsError, InputError
from finops_lab.lab import Lab, open_lab

CALLS = """
[[columns]]
path = "tool/*.csv"
table = "inference_requests"
map = { ts_start = "created", model = "engine", status = "state", output_tokens = "out", cost_reported_usd = "usd" }
values = { operation = "chat", provider = "example" }
"""
BILL = """
[[columns]]
path = "saas/*"
table = "costs"
map = { BilledCost = "Net", BillingCurrency = "Cur", ChargePeriodStart = "Day", ServiceName = "Item" }
values = { ProviderName = "SaaS One", BillingAccountId = "contract-7" }
"""


def opened(tmp_path: Path, toml: str, name: str, text: str) -> Lab:
    folder = write_lab(tmp_path, {"bill.csv": [cost_row("1")], name: text}, PLAIN_TOML + toml)
    return open_lab(folder, progress=False)


def test_a_plain_csv_of_calls_is_read_by_its_map(tmp_path: Path) -> None:
    text = "created,engine,state,out,usd,note\n2026-09-03T10:00:00Z,m-1,ok,42,1.5e-6,hello\n,m-1,ok,x,,\n"
    lab = opened(tmp_path, CALLS, "tool/calls.csv", text)
    (row,) = lab.table("inference_requests").collect().rows(named=True)
    assert row["ts_start"] == datetime(2026, 9, 3, 10, tzinfo=UTC)
    assert (row["model"], row["provider"], row["operation"], row["n_requests"]) == (
        "m-1",
        "example",
        "chat",
        1,
    )
    assert (row["output_tokens"], row["cost_reported_usd"]) == (42, Decimal("0.0000015"))
    (bad,) = lab.quarantine().collect().rows(named=True)
    assert bad["reason"] == (
        "output_tokens: 'x' is not a whole number; ts_start: missing or not readable; day: missing or not readable"
    )
    assert '"note"' in bad["row"]
    notes = {text for file, text, _ in lab.summary.notes.iter_rows() if file == "tool/calls.csv"}
    assert notes == {"note: no column of inference_requests, left out"}


def test_a_plain_bill_is_read_by_its_map(tmp_path: Path) -> None:
    text = 'Day,Item,Net,Cur,Who\n2026-09-03,Seats,"1,200.10",EUR,ops\n'
    text += "2026-10-04,Seats,0.05,EUR,ops\n2026-10-05,Seats,?,EUR,\n"
    lab = opened(tmp_path, BILL, "saas/x.csv", text)
    rows = lab.costs().collect().filter(ProviderName="SaaS One").sort("ChargePeriodStart")
    assert rows["BilledCost"].to_list() == [Decimal("1200.10"), Decimal("0.05")]
    assert rows["EffectiveCost"].to_list() == rows["BilledCost"].to_list()
    assert rows["x_BillingMonth"].to_list() == ["2026-09", "2026-10"]
    assert rows["ChargeCategory"].to_list() == ["Usage", "Usage"]
    assert rows["x_Who"].to_list() == ["ops", "ops"]
    (bad,) = lab.quarantine().collect().rows(named=True)
    assert bad["reason"].startswith("Net: '?' is not a number")
    money = lab.summary.files.filter(file="saas/x.csv").row(0, named=True)
    assert (money["currency"], money["BilledCost_accepted"]) == ("EUR", Decimal("1200.15"))


def test_a_changed_map_reads_the_file_again(tmp_path: Path) -> None:
    text = "created,engine,state,out,usd\n2026-09-03T10:00:00Z,m-1,ok,42,1\n"
    opened(tmp_path, CALLS, "tool/calls.csv", text)
    lab = opened(tmp_path, CALLS.replace('"chat"', '"embedding"'), "tool/calls.csv", text)
    assert lab.table("inference_requests").collect()["operation"].to_list() == ["embedding"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"engine"', '"engin"'), "has no column 'engin', which .*did you mean 'engine'"),
        (('"inference_requests"', '"inference"'), "there is no table 'inference'"),
        (("ts_start =", "ts_begin ="), "has no column 'ts_begin'"),
        (('operation = "chat", ', ""), "has no column operation"),
        (('provider = "example"', 'model = "example"'), "'model' stands in both map and values"),
        (('table = "inference_requests"', 'table = "budgets"'), "budgets"),
    ],
)
def test_a_wrong_map_is_told(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = "created,engine,state,out,usd\n2026-09-03T10:00:00Z,m-1,ok,42,1\n"
    with pytest.raises(FinopsError, match=said) as caught:
        opened(tmp_path, CALLS.replace(*change), "tool/calls.csv", text)
    assert isinstance(caught.value, ConfigError | InputError)


def test_a_bill_lacks_what_neither_map_nor_values_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is given for BillingAccountId.*\[\[columns\]\]"):
        opened(
            tmp_path,
            BILL.replace(', BillingAccountId = "contract-7"', ""),
            "saas/x.csv",
            "Day,Item,Net,Cur\n2026-09-03,a,1,EUR\n",
        )
