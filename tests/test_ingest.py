"""Ingestion: every row and every cent of every file is accepted, quarantined or superseded."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import (
    BINDER,
    FOCUS_SAMPLE,
    PLAIN_TOML,
    binder_focus,
    cost_row,
    csv_rows,
    csv_text,
    decimal_sum,
    focus_row,
    ingest_lab,
    put,
    write_lab,
)

from finops_lab.errors import ConfigError, InputError
from finops_lab.ingestion import lake, quarantine
from finops_lab.ingestion.doubles import repeated
from finops_lab.ingestion.summary import IngestSummary, Work
from finops_lab.lab import open_lab

TEAM_TOML = PLAIN_TOML + '[[dimensions.team]]\nname = "tag"\ntag = "team"\n'


def costs(lab: Path, as_of: date | None = None) -> pl.DataFrame:
    return lake.scan(lab / "lake", "costs", as_of).collect().sort("x_SourceFile", "x_SourceRow")


def total(lab: Path, as_of: date | None = None) -> Decimal:
    return costs(lab, as_of)["BilledCost"].sum()


def by_file(lab: Path) -> dict[str, Decimal]:
    sums = costs(lab).group_by("x_SourceFile").agg(pl.col("BilledCost").sum())
    return dict(sums.sort("x_SourceFile").iter_rows())


def statuses(summary: IngestSummary) -> dict[str, str]:
    return dict(summary.files.select("file", "status").iter_rows())


def rejected(lab: Path) -> pl.DataFrame:
    return quarantine.read(lab / "quarantine").collect()


def assert_balanced(lab: Path, summary: IngestSummary) -> None:
    """Every row and amount read has one fate, and the lake and quarantine hold what the summary says."""
    for row in summary.files.iter_rows(named=True):
        fates = ("accepted", "quarantined", "superseded")
        assert row["rows_read"] == sum(row[f"rows_{fate}"] for fate in fates), row
        if row["BilledCost_read"] is not None:
            assert row["BilledCost_read"] == decimal_sum(row[f"BilledCost_{fate}"] for fate in fates), row
    held = costs(lab)
    assert summary.files["rows_accepted"].sum() == held.height
    assert summary.files["rows_quarantined"].sum() == rejected(lab).height
    accepted = summary.files.filter(pl.col("rows_accepted") + pl.col("BilledCost_accepted").fill_null(0) != 0)
    per_currency = dict(
        accepted.group_by("currency").agg(pl.col("BilledCost_accepted").sum()).sort("currency").iter_rows()
    )
    in_lake = dict(
        held.group_by("BillingCurrency").agg(pl.col("BilledCost").sum()).sort("BillingCurrency").iter_rows()
    )
    assert per_currency == in_lake


# --- fates -----------------------------------------------------------------------------------------


def test_every_row_and_cent_has_a_fate(tmp_path: Path) -> None:
    bill = [
        cost_row("1.10"),
        cost_row("2.20", ChargeCategory="Refund"),
        cost_row("12,5"),
        cost_row("-0.30", BillingCurrency="EUR"),
        cost_row("4", BillingCurrency=None),
        cost_row("0.000000000000000001"),
    ]
    lab = write_lab(tmp_path, {"bill.csv": bill})
    summary = ingest_lab(lab)
    assert_balanced(lab, summary)
    files = summary.files.sort("currency")
    assert files["currency"].to_list() == ["EUR", "USD", "unknown"]
    assert files["BilledCost_accepted"].to_list() == [Decimal("-0.3"), Decimal("1.100000000000000001"), None]
    assert files["BilledCost_quarantined"].to_list() == [None, Decimal("2.2"), Decimal(4)]
    assert (files["rows_read"].sum(), files["rows_accepted"].sum(), files["rows_quarantined"].sum()) == (
        6,
        3,
        3,
    )
    assert dict(summary.reasons.select("text", "rows").iter_rows()) == {
        "BilledCost: '12,5' is not a number": 1,
        "ChargeCategory: value not allowed": 1,
        "BillingCurrency: missing or not readable": 1,
        "ContractedCost: '12,5' is not a number": 1,
        "EffectiveCost: '12,5' is not a number": 1,
        "ListCost: '12,5' is not a number": 1,
    }


def test_a_quarantined_row_keeps_reason_place_money_and_itself(tmp_path: Path) -> None:
    bill = [focus_row(), focus_row(BilledCost="7.5", ChargeCategory="Refund", x_Note="the row as it came")]
    lab = write_lab(tmp_path, {"aws/bill.csv": bill})
    ingest_lab(lab)
    row = rejected(lab).row(0, named=True)
    assert (row["table"], row["source_file"], row["source_row"]) == ("costs", "aws/bill.csv", 2)
    assert row["reason"] == "ChargeCategory: value not allowed"
    assert (row["BilledCost"], row["EffectiveCost"], row["BillingCurrency"]) == (
        Decimal("7.5"),
        Decimal(1),
        "USD",
    )
    assert json.loads(row["row"])["x_Note"] == "the row as it came"
    assert json.loads(row["row"])["ChargeCategory"] == "Refund"
    assert rejected(lab).equals(open_lab(lab, progress=False).quarantine().collect())


def test_a_quarantined_parquet_row_of_many_dtypes(tmp_path: Path) -> None:
    bill = pl.DataFrame([focus_row(ChargeCategory="Refund")]).with_columns(
        pl.lit(Decimal("1.5")).alias("BilledCost"),
        pl.lit(date(2026, 9, 1)).alias("x_Day"),
        pl.Series("x_List", [[1, 2]]),
        pl.Series("Tags", [{"team": "a"}]),
        pl.lit(b"bytes").alias("x_Bytes"),
        pl.lit(bytes(range(128, 144))).alias("x_Uuid"),
        pl.Series("x_Many", [[b"one", b"\xff"]]),
    )
    lab = write_lab(tmp_path, {"bill.parquet": bill})
    assert_balanced(lab, ingest_lab(lab))
    row = json.loads(rejected(lab)["row"][0])
    assert (row["x_List"], row["Tags"], row["ServiceName"]) == ([1, 2], {"team": "a"}, "Model API")
    assert (row["x_Bytes"], row["x_Uuid"]) == ("bytes", "808182838485868788898a8b8c8d8e8f")
    assert json.loads(row["x_Many"]) == ["one", "ff"]


def test_a_fixed_file_leaves_quarantine_and_a_broken_one_enters(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": [cost_row("x"), cost_row("1")]})
    assert_balanced(lab, ingest_lab(lab))
    assert (total(lab), rejected(lab).height) == (Decimal(1), 1)
    put(lab / "exports" / "bill.csv", [cost_row("2"), cost_row("1")])
    assert_balanced(lab, ingest_lab(lab))
    assert (total(lab), rejected(lab).height) == (Decimal(3), 0)
    put(lab / "exports" / "bill.csv", [cost_row("y")])
    summary = ingest_lab(lab)
    assert_balanced(lab, summary)
    assert (costs(lab).height, rejected(lab).height) == (0, 1)
    assert statuses(ingest_lab(lab)) == {"bill.csv": "unchanged"}


def test_a_file_without_rows_is_kept_in_the_log(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": csv_text([focus_row()]).splitlines()[0]})
    assert_balanced(lab, ingest_lab(lab))
    assert statuses(ingest_lab(lab)) == {"bill.csv": "unchanged"}


def test_two_currencies_are_accepted_and_never_added(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": [cost_row("1"), cost_row("2", BillingCurrency="EUR")]})
    summary = ingest_lab(lab)
    assert_balanced(lab, summary)
    money = dict(summary.files.select("currency", "BilledCost_read").iter_rows())
    assert money == {"USD": Decimal(1), "EUR": Decimal(2)}


def test_money_beyond_28_digits_stays_exact_in_the_summary(tmp_path: Path) -> None:
    big = "12345678901.000000000000000001"
    exports = {
        "delivered=2026-10-08/b.csv": [cost_row("1")],
        "delivered=2026-10-01/b.csv": [cost_row(big), cost_row(big, month="2026-07")],
        "other.csv": [cost_row(big, BillingAccountId="z"), cost_row(big, ChargeCategory="?")],
    }
    lab = write_lab(tmp_path, exports)
    assert_balanced(lab, ingest_lab(lab))
    late = write_lab(tmp_path / "late", dict(itertools.islice(exports.items(), 1)))
    ingest_lab(late)
    put(late / "exports" / "delivered=2026-10-01" / "b.csv", exports["delivered=2026-10-01/b.csv"])
    assert_balanced(late, ingest_lab(late))


def test_notes_are_counted_per_file(tmp_path: Path) -> None:
    rows = [focus_row(Tags="not json"), focus_row(Tags="nor this"), focus_row(ListCost="1e-19")]
    summary = ingest_lab(write_lab(tmp_path, {"bill.csv": rows}))
    assert dict(summary.notes.select("text", "rows").iter_rows()) == {
        "Tags: not JSON, left unread": 2,
        "ListCost: more than 18 decimals, rounded to 18": 1,
    }


# --- the same again --------------------------------------------------------------------------------


def test_the_same_files_again_change_nothing(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1"), cost_row("x")], "b/c.csv": [cost_row("2")]})
    first = ingest_lab(lab)
    before = (lake.version(lab / "lake", "costs"), costs(lab).write_csv(), rejected(lab))
    files = {p: p.stat().st_mtime_ns for p in (lab / "lake" / "costs").rglob("*") if p.is_file()}
    again = ingest_lab(lab)
    assert set(statuses(first).values()) == {"ingested"}
    assert set(statuses(again).values()) == {"unchanged"}
    assert again.files.drop("status").equals(first.files.drop("status"))
    assert again.reasons.equals(first.reasons)
    assert (lake.version(lab / "lake", "costs"), costs(lab).write_csv()) == before[:2]
    assert rejected(lab).equals(before[2])
    assert {p: p.stat().st_mtime_ns for p in (lab / "lake" / "costs").rglob("*") if p.is_file()} == files


def test_a_changed_file_replaces_its_own_rows_only(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")], "o'b c.csv": [cost_row("2"), cost_row("3")]})
    ingest_lab(lab)
    put(lab / "exports" / "o'b c.csv", [cost_row("5")])
    summary = ingest_lab(lab)
    assert statuses(summary) == {"a.csv": "unchanged", "o'b c.csv": "changed"}
    assert by_file(lab) == {"a.csv": Decimal(1), "o'b c.csv": Decimal(5)}
    assert_balanced(lab, summary)


def test_a_changed_and_a_new_file_in_one_run(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")]})
    ingest_lab(lab)
    put(lab / "exports" / "a.csv", [cost_row("10", month="2026-08")])
    put(lab / "exports" / "b.csv", [cost_row("20", ProviderName="O'Neil / Co=1 %20 é")])
    assert_balanced(lab, ingest_lab(lab))
    assert by_file(lab) == {"a.csv": Decimal(10), "b.csv": Decimal(20)}
    put(lab / "exports" / "b.csv", [cost_row("21", ProviderName="O'Neil / Co=1 %20 é")])
    assert_balanced(lab, ingest_lab(lab))
    assert by_file(lab) == {"a.csv": Decimal(10), "b.csv": Decimal(21)}


def test_the_same_content_under_two_names_is_read_once(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")], "copy/b.csv": [cost_row("1")]})
    summary = ingest_lab(lab)
    assert statuses(summary) == {"a.csv": "ingested", "copy/b.csv": "duplicate"}
    assert summary.notes.rows() == [("copy/b.csv", "same content as a.csv: read once", 1)]
    assert_balanced(lab, summary)
    assert total(lab) == Decimal(1)


def test_a_copy_made_later_is_not_read_whatever_its_name(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"b.csv": [cost_row("1")]})
    ingest_lab(lab)
    shutil.copy(lab / "exports" / "b.csv", lab / "exports" / "a.csv")
    for _ in range(2):
        summary = ingest_lab(lab)
        assert statuses(summary) == {"a.csv": "duplicate", "b.csv": "unchanged"}
        assert by_file(lab) == {"b.csv": Decimal(1)}


def test_a_renamed_file_is_not_read_twice(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"b.csv": [cost_row("1")]})
    ingest_lab(lab)
    (lab / "exports" / "b.csv").rename(lab / "exports" / "c.csv")
    assert statuses(ingest_lab(lab)) == {"c.csv": "duplicate"}
    assert total(lab) == Decimal(1)


def test_a_file_whose_old_content_moved_to_another_name(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"latest.csv": [cost_row("1", month="2026-08")]})
    ingest_lab(lab)
    (lab / "exports" / "latest.csv").rename(lab / "exports" / "august.csv")
    put(lab / "exports" / "latest.csv", [cost_row("2")])
    assert_balanced(lab, ingest_lab(lab))
    assert by_file(lab) == {"august.csv": Decimal(1), "latest.csv": Decimal(2)}


def test_a_file_that_becomes_a_copy_of_another_loses_its_own_rows(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")], "b.csv": [cost_row("2")]})
    ingest_lab(lab)
    shutil.copy(lab / "exports" / "b.csv", lab / "exports" / "a.csv")
    ingest_lab(lab)
    assert total(lab) == Decimal(2)
    assert set(statuses(ingest_lab(lab)).values()) == {"unchanged", "duplicate"}
    assert total(lab) == Decimal(2)


def test_charges_alike_in_two_files_are_reported(tmp_path: Path) -> None:
    rows = [cost_row("1"), cost_row("2"), cost_row("2"), cost_row("-4")]
    lab = write_lab(tmp_path, {"a.csv": rows, "b.csv": [*rows[1:], cost_row("8")]})
    ingest_lab(lab)
    found = repeated(costs(lab).lazy())
    assert found.rows() == [("a.csv and b.csv", "USD", 3, Decimal(0))]
    assert total(lab) == Decimal(9)  # reported, never removed
    alone = write_lab(tmp_path / "alone", {"a.csv": rows})
    ingest_lab(alone)
    assert repeated(costs(alone).lazy()).height == 0


def test_a_delivery_date_that_is_none_is_refused(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"delivered=2024-13-03/a.csv": [cost_row("1")]})
    with pytest.raises(InputError, match=r"'2024-13-03' is no date.*delivered=2026-11-03"):
        ingest_lab(lab)


def test_other_tag_keys_read_the_bills_again(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": [focus_row(Tags='{"Team": "search"}')]})
    ingest_lab(lab)
    assert "x_tag_team" not in costs(lab).columns
    (lab / "finops.toml").write_text(TEAM_TOML)
    summary = ingest_lab(lab)
    assert statuses(summary) == {"bill.csv": "changed"}
    assert costs(lab)["x_tag_team"].to_list() == ["search"]
    assert_balanced(lab, summary)
    assert statuses(ingest_lab(lab)) == {"bill.csv": "unchanged"}


def test_x_columns_of_different_files_merge(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1", x_A="p")], "b.csv": [cost_row("2", Bee="q")]})
    ingest_lab(lab)
    put(lab / "exports" / "c.csv", [cost_row("3", x_C="r", x_A="s")])
    assert_balanced(lab, ingest_lab(lab))
    assert costs(lab).select("x_A", "x_Bee", "x_C").rows() == [
        ("p", None, None),
        (None, "q", None),
        ("s", None, "r"),
    ]


# --- what is no export -----------------------------------------------------------------------------


def test_notes_and_hidden_files_are_no_exports(tmp_path: Path) -> None:
    bill = [cost_row("1")]
    lab = write_lab(
        tmp_path,
        {
            "bill.csv": bill,
            "README.md": "# about",
            ".hidden.csv": [cost_row("2")],
            ".ipynb_checkpoints/bill-checkpoint.csv": [cost_row("3")],
            "aws/.git/x.csv": [cost_row("4")],
            "aws/manifest.json": "{}",
            "aws/_SUCCESS": "",
        },
    )
    assert statuses(ingest_lab(lab)) == {"bill.csv": "ingested"}
    assert total(lab) == Decimal(1)


# --- deliveries ------------------------------------------------------------------------------------

OLD, MID, NEW = "delivered=2026-10-01/b.csv", "delivered=2026-10-05/b.csv", "delivered=2026-10-08/b.csv"


def test_a_newer_delivery_replaces_provider_account_and_month_only(tmp_path: Path) -> None:
    old = [
        cost_row("1"),
        cost_row("2", month="2026-08"),
        cost_row("4", BillingAccountId="acct-2"),
        cost_row("8", ProviderName="CloudTwo"),
    ]
    lab = write_lab(tmp_path, {OLD: old})
    assert_balanced(lab, ingest_lab(lab))
    put(lab / "exports" / NEW, [cost_row("100")])
    summary = ingest_lab(lab)
    assert statuses(summary) == {OLD: "unchanged", NEW: "ingested"}
    assert by_file(lab) == {OLD: Decimal(14), NEW: Decimal(100)}
    assert_balanced(lab, summary)
    older = summary.files.filter(file=OLD).row(0, named=True)
    assert (older["rows_accepted"], older["rows_superseded"], older["BilledCost_superseded"]) == (
        3,
        1,
        Decimal(1),
    )
    again = ingest_lab(lab)
    assert set(statuses(again).values()) == {"unchanged"}
    assert_balanced(lab, again)


def test_an_older_delivery_that_arrives_late_does_not_override(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {NEW: [cost_row("100")]})
    ingest_lab(lab)
    put(lab / "exports" / OLD, [cost_row("1"), cost_row("2", month="2026-08")])
    summary = ingest_lab(lab)
    assert by_file(lab) == {OLD: Decimal(2), NEW: Decimal(100)}
    assert_balanced(lab, summary)
    assert summary.files.filter(file=OLD)["rows_superseded"].to_list() == [1]


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    exports = {
        OLD: [cost_row("1"), cost_row("2", month="2026-08"), cost_row("4", month="2026-07")],
        MID: [cost_row("10"), cost_row("20", month="2026-08")],
        NEW: [cost_row("100")],
    }
    expected = {OLD: Decimal(4), MID: Decimal(20), NEW: Decimal(100)}
    for number, order in enumerate([tuple(exports), *list(itertools.permutations(exports))[::2]]):
        lab = write_lab(tmp_path / str(number), {})
        for name in order if number else ():
            put(lab / "exports" / name, exports[name])
            assert_balanced(lab, ingest_lab(lab))
        if not number:  # all in one run
            for name, rows in exports.items():
                put(lab / "exports" / name, rows)
            assert_balanced(lab, ingest_lab(lab))
        assert by_file(lab) == expected, order


def test_several_files_of_one_delivery_stand_together(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {OLD: [cost_row("1")]})
    ingest_lab(lab)
    put(lab / "exports" / "delivered=2026-10-08" / "part-1.csv", [cost_row("10")])
    ingest_lab(lab)
    put(lab / "exports" / "delivered=2026-10-08" / "part-2.csv", [cost_row("20")])
    assert_balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(30)


def test_another_stream_is_never_replaced(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {f"aws/{OLD}": [cost_row("1")], f"marketplace/{NEW}": [cost_row("2")]})
    ingest_lab(lab)
    put(lab / "exports" / "delivered=2026-10-09" / "b.csv", [cost_row("4")])
    assert_balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(7)


def test_a_delivery_replaces_undated_files_of_its_stream(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"aws/b.csv": [cost_row("1")]})
    ingest_lab(lab)
    put(lab / "exports" / "aws" / NEW, [cost_row("2")])
    assert_balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(2)


def test_a_restatement_taken_back_is_taken_back(tmp_path: Path) -> None:
    exports = {OLD: [cost_row("1")], MID: [cost_row("2")], NEW: [cost_row("1")]}
    together = write_lab(tmp_path / "together", exports)
    one_by_one = write_lab(tmp_path / "one", {})
    assert_balanced(together, ingest_lab(together))
    for name, rows in exports.items():
        put(one_by_one / "exports" / name, rows)
        assert_balanced(one_by_one, ingest_lab(one_by_one))
    for lab in (together, one_by_one):
        assert by_file(lab) == {NEW: Decimal(1)}
        assert set(statuses(ingest_lab(lab)).values()) == {"unchanged"}


def test_changed_tag_keys_keep_what_is_superseded(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {OLD: [cost_row("1"), cost_row("2", month="2026-08")], NEW: [cost_row("100")]})
    ingest_lab(lab)
    (lab / "finops.toml").write_text(TEAM_TOML)
    assert_balanced(lab, ingest_lab(lab))
    assert by_file(lab) == {OLD: Decimal(2), NEW: Decimal(100)}


def test_as_of_reads_what_had_been_delivered_by_then(tmp_path: Path) -> None:
    lab = write_lab(
        tmp_path,
        {OLD: [cost_row("1"), cost_row("2", month="2026-08")], MID: [cost_row("10")], NEW: [cost_row("100")]},
    )
    ingest_lab(lab)
    assert total(lab, date(2026, 10, 1)) == Decimal(3)
    assert total(lab, date(2026, 10, 4)) == Decimal(3)
    assert total(lab, date(2026, 10, 5)) == Decimal(12)
    assert total(lab, date(2026, 10, 8)) == Decimal(102)
    assert total(lab) == Decimal(102)
    opened = open_lab(lab, progress=False)
    assert opened.table("costs", date(2026, 10, 5)).collect().height == 2


# --- bad input -------------------------------------------------------------------------------------

LINES = csv_text([cost_row(str(n)) for n in range(1, 400)]).splitlines()
ZIPPED = gzip.compress("\n".join(LINES).encode(), mtime=0)


def parquet_bytes(tmp_path: Path) -> bytes:
    return put(tmp_path / "whole.parquet", pl.DataFrame([cost_row("1")] * 50)).read_bytes()


def bad_files(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    parquet = parquet_bytes(tmp_path)
    scrambled = bytearray(parquet)
    scrambled[10:60] = bytes(50)
    return {
        "ragged": (
            ("\n".join([*LINES[:7], LINES[7] + ",one,two", *LINES[8:]])).encode(),
            "row 7: .*more fields",
        ),
        "ragged, zipped": (gzip.compress(f"{LINES[0]}\n{LINES[1]},x".encode()), "row 1: .*more fields"),
        "open quote": (
            ("\n".join([*LINES[:3], LINES[3].replace("CloudOne", '"CloudOne')])).encode(),
            "cannot be read",
        ),
        "cut gzip": (ZIPPED[: len(ZIPPED) // 2], "cannot be read"),
        "gzip without its end": (ZIPPED[:-4], "cannot be read"),
        "gzip of another size": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], "cannot be read"),
        "broken gzip": (ZIPPED[:20] + b"\xff" * 20 + ZIPPED[40:], "bad"),
        "no gzip at all": (b"\x1f\x8bnope", "cannot be read"),
        "not UTF-8": (csv_text([focus_row(ServiceName="Données")]).encode("latin-1"), "utf-?8"),
        "cut parquet": (parquet[: len(parquet) // 2], "cannot be read"),
        "parquet in name only": (b"PAR1" + b"x" * 100, "cannot be read"),
        "scrambled parquet": (bytes(scrambled), "cannot be read"),
        "empty": (b"", "is empty"),
        "blank": (b" \n", "is empty"),
        "unknown": (b"a,b\n1,2\n", "no reader knows"),
        "without BilledCost": (
            csv_text([{k: v for k, v in focus_row().items() if k != "BilledCost"}]).encode(),
            "column BilledCost: the bill has no column BilledCost",
        ),
    }


BAD_KINDS = [
    "ragged", "ragged, zipped", "open quote", "cut gzip", "gzip without its end", "gzip of another size",
    "broken gzip", "no gzip at all", "not UTF-8", "cut parquet", "parquet in name only", "scrambled parquet",
    "empty", "blank", "unknown", "without BilledCost",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD_KINDS)
def test_a_bad_file_stops_the_run_and_leaves_the_lake(tmp_path: Path, kind: str) -> None:
    content, words = bad_files(tmp_path)[kind]
    lab = write_lab(tmp_path / "lab", {"good.csv": [cost_row("1"), cost_row("x")]})
    ingest_lab(lab)
    before = (lake.version(lab / "lake", "costs"), costs(lab), rejected(lab))
    put(lab / "exports" / "also-good.csv", [cost_row("2"), cost_row("y")])
    put(lab / "exports" / "z-bad.csv", content)
    with pytest.raises(InputError, match=r"z-bad\.csv") as caught:
        ingest_lab(lab)
    if words != "bad":
        with pytest.raises(InputError, match=f"(?i){words}"):
            ingest_lab(lab)
        assert caught.value.hint or "cannot be read" in caught.value.message
    assert caught.value.exit_code == 2
    assert lake.version(lab / "lake", "costs") == before[0]
    assert costs(lab).equals(before[1])
    assert rejected(lab).equals(before[2])
    (lab / "exports" / "z-bad.csv").unlink()
    assert_balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(3)


@pytest.mark.parametrize("cut", [1, 2])
def test_a_row_with_too_few_fields_is_not_accepted(tmp_path: Path, cut: int) -> None:
    lines = [*LINES[:3], LINES[3].rsplit(",", cut)[0]]
    lab = write_lab(tmp_path, {"cut.csv": "\n".join(lines)})
    try:
        summary = ingest_lab(lab)
    except InputError as error:
        assert error.row == 3
    else:
        assert summary.files["rows_quarantined"].sum() == 1


def test_a_lab_without_exports(tmp_path: Path) -> None:
    (tmp_path / "finops.toml").write_text(PLAIN_TOML)
    with pytest.raises(InputError, match=r"no exports/ folder.*Hint"):
        ingest_lab(tmp_path)


def test_an_empty_exports_folder_is_an_empty_lab(tmp_path: Path) -> None:
    lab = open_lab(write_lab(tmp_path, {}), progress=False)
    assert lab.costs().collect().height == 0
    assert (lab.months(), lab.versions(), lab.files()) == ([], {}, [])
    assert lab.summary.files.height == 0
    assert lab.quarantine().collect().height == 0


def test_a_lab_path_that_is_no_lab(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a lab is a folder, this is a file"):
        open_lab(tmp_path / "file", progress=False)
    with pytest.raises(InputError, match=r"no such lab folder.*Hint"):
        open_lab(tmp_path / "nowhere", progress=False)
    with pytest.raises(ConfigError, match=r"finops\.toml is missing"):
        open_lab(tmp_path, progress=False)


def test_a_lab_as_an_analyst_opens_it(tmp_path: Path) -> None:
    toml = (
        TEAM_TOML
        + '[[budgets]]\nfrom = "2026-09"\nto = "2026-10"\namount = "10.5"\n'
        + '[[slos]]\nservice = "answers"\nobjective = "latency"\ntarget = 0.95\nthreshold_ms = 200\n'
    )
    lab = open_lab(write_lab(tmp_path, {"a.csv": [cost_row("1"), cost_row("2", month="2026-07")]}, toml))
    assert (lab.name, lab.currency) == ("Test lab (synthetic)", "USD")
    assert lab.months() == [date(2026, 7, 1), date(2026, 9, 1)]
    assert lab.versions() == {"costs": 0}
    assert dict((e.path, e) for _, e in lab.files())["a.csv"].rows_accepted == 2
    assert lab.budgets().rows() == [
        (month, None, None, Decimal("10.5"), "USD", None, None, None) for month in ("2026-09", "2026-10")
    ]
    promised = ["service", "objective", "target", "threshold_ms", "window_days"]
    assert lab.table("slos").select(promised).collect().rows() == [("answers", "latency", 0.95, 200.0, 28)]
    assert lab.table("inference_requests").collect().height == 0
    with pytest.raises(InputError, match="there is no table 'cost'"):
        lab.table("cost")


# --- real bills ------------------------------------------------------------------------------------


def test_the_real_focus_sample_arrives_whole(tmp_path: Path) -> None:
    if not FOCUS_SAMPLE.is_file():
        pytest.skip("no real FOCUS sample beside this checkout")
    lab = write_lab(tmp_path, {"sample.csv": FOCUS_SAMPLE.read_bytes()})
    summary = ingest_lab(lab)
    assert_balanced(lab, summary)
    assert summary.files.select("rows_read", "rows_accepted", "rows_quarantined").row(0) == (1000, 1000, 0)
    assert total(lab) == Decimal("20.52022672899")
    assert costs(lab)["EffectiveCost"].sum() == decimal_sum(
        r["EffectiveCost"] for r in csv_rows(FOCUS_SAMPLE)
    )


def test_the_real_bill_of_mybinder_arrives_whole(tmp_path: Path) -> None:
    if not BINDER.is_file():
        pytest.skip("no real bill of mybinder.org beside this checkout")
    rows = binder_focus()
    lab = write_lab(tmp_path, {"binder.csv.gz": csv_text(rows)})
    assert_balanced(lab, ingest_lab(lab))
    assert total(lab) == decimal_sum(row["BilledCost"] for row in rows)
    assert costs(lab)["x_BillingMonth"].n_unique() == len(
        {(row["BillingPeriodStart"] or "")[:7] for row in rows}
    )


# --- crashes and crowds ----------------------------------------------------------------------------

INGEST = """
import sys
from pathlib import Path
from finops_lab.config import load
from finops_lab.ingestion.run import ingest
folder = Path(sys.argv[1])
print("ready", flush=True)
ingest(folder, load(folder), lambda done, total, name: print(done, name, flush=True))
print("done", flush=True)
"""


def test_a_kill_during_ingest_leaves_the_last_version(tmp_path: Path) -> None:
    march = [
        cost_row(f"{n}.01", month="2026-03", Tags=json.dumps({"team": f"t{n % 50}"})) for n in range(4000)
    ]
    lab = write_lab(tmp_path, {"march.csv": march}, TEAM_TOML)
    assert_balanced(lab, ingest_lab(lab))
    march_total = decimal_sum(row["BilledCost"] for row in march)
    new = {f"{m}.csv": [cost_row(f"{n}.07", month=f"2026-0{m}") for n in range(3000)] for m in (4, 5, 6)}
    for name, rows in new.items():
        put(lab / "exports" / name, rows)
    put(lab / "exports" / "march.csv", [*march, cost_row("0.5", month="2026-03")])
    full = march_total + Decimal("0.5") + decimal_sum(r["BilledCost"] for rows in new.values() for r in rows)
    killed = 0
    for delay in (0.0, 0.03, 0.08, 0.15, 0.25, 0.4):
        run = subprocess.Popen(
            [sys.executable, "-c", INGEST, str(lab)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.kill(run.pid, signal.SIGKILL)
        run.stdout.close()
        killed += run.wait() == -signal.SIGKILL
        # Old or new, never between; and the log says what the rows say.
        assert total(lab) in (march_total, full)
        logged = lake.files(lab / "lake", "costs")
        assert sum(entry.rows_accepted for entry in logged.values()) == costs(lab).height
        assert rejected(lab).height == 0
    assert killed > 0
    summary = ingest_lab(lab)
    assert_balanced(lab, summary)
    assert total(lab) == full
    assert not (lab / "lake" / ".staging").exists()
    assert set(statuses(ingest_lab(lab)).values()) == {"unchanged"}


def test_the_second_of_two_ingests_at_once_refuses(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": [cost_row("1")]})
    from finops_lab.config import load
    from finops_lab.ingestion.run import ingest

    refused = []

    def meanwhile(work: Work) -> None:
        if work.name.endswith(".csv"):
            code = "import sys; from pathlib import Path; from finops_lab.lab import open_lab\n"
            code += "try: open_lab(Path(sys.argv[1]), progress=False)\n"
            code += "except Exception as error: print(type(error).__name__, error)"
            run = subprocess.run(
                [sys.executable, "-c", code, str(lab)], capture_output=True, text=True, check=True
            )
            refused.append(run.stdout)

    ingest(lab, load(lab), meanwhile)
    assert len(refused) == 1
    assert "InputError" in refused[0]
    assert "another ingest of this lab is running" in refused[0]
    assert total(lab) == Decimal(1)
    assert statuses(ingest_lab(lab)) == {"bill.csv": "unchanged"}


def test_progress_counts_files_up_to_all(tmp_path: Path) -> None:
    from finops_lab.config import load
    from finops_lab.ingestion.run import ingest

    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")], "b.csv": [cost_row("2")]})
    told: list[Work] = []
    ingest(lab, load(lab), told.append)
    sizes = [(lab / "exports" / name).stat().st_size for name in ("a.csv", "b.csv")]
    assert [(w.files, w.files_total, w.name) for w in told] == [
        (0, 2, "a.csv"), (1, 2, "b.csv"), (2, 2, "writing the lake"), (2, 2, ""),
    ]  # fmt: skip
    assert [w.bytes for w in told] == [0, sizes[0], sum(sizes), sum(sizes)]
    assert [w.rows for w in told] == [0, 1, 2, 2]


# --- files for several tables, what a run would do, as of ------------------------------------------

FORMATS = Path(__file__).parent / "formats"


def test_a_file_of_several_tables_is_read_for_each_and_goes_as_one(tmp_path: Path) -> None:
    both = (FORMATS / "sagemaker_training_job.json").read_text()
    lab = write_lab(tmp_path, {"bill.csv": [cost_row("1")], "job.json": both})
    summary = ingest_lab(lab)
    found = summary.files.filter(file="job.json").sort("table")
    assert found["table"].to_list() == ["accuracy_samples", "training_jobs"]
    assert (found["rows_accepted"] > 0).all()
    again = ingest_lab(lab)
    assert again.files.filter(file="job.json")["status"].to_list() == ["unchanged", "unchanged"]
    # Another content under the same name: what it filled before is gone from every table.
    put(lab / "exports" / "job.json", (FORMATS / "eventbridge_spot.jsonl").read_text())
    summary = ingest_lab(lab)
    assert summary.files.filter(file="job.json")["table"].to_list() == ["spot_evictions"]
    for table in ("accuracy_samples", "training_jobs"):
        assert lake.scan(lab / "lake", table).collect().height == 0
    assert ingest_lab(lab).files.filter(file="job.json")["status"].to_list() == ["unchanged"]


def explain(lab: Path) -> IngestSummary:
    from finops_lab.lab import explain_lab

    return explain_lab(lab, progress=False)


def everything(lab: Path) -> dict[str, bytes]:
    return {str(p.relative_to(lab)): p.read_bytes() for p in sorted(lab.rglob("*")) if p.is_file()}


def test_explain_tells_what_a_run_then_does_and_writes_nothing(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill/delivered=2026-10-01/a.csv": [cost_row("1"), cost_row("oops")]})
    ingest_lab(lab)
    put(lab / "exports" / "bill/delivered=2026-10-08/a.csv", [cost_row("3"), cost_row("2", month="2026-08")])
    put(lab / "exports" / "copy/of.csv", [cost_row("3"), cost_row("2", month="2026-08")])
    put(lab / "exports" / "new.csv", [cost_row("5", BillingCurrency="EUR")])
    before = everything(lab)
    told = explain(lab)
    assert everything(lab) == before
    done = ingest_lab(lab)
    for name in ("files", "replaced", "reasons", "notes"):
        assert getattr(told, name).equals(getattr(done, name)), name
    (row,) = told.replaced.rows(named=True)
    assert row["file"] == "bill/delivered=2026-10-01/a.csv"
    assert row["by"] == "bill/delivered=2026-10-08/a.csv"
    assert row["units"] == "CloudOne / acct-1 / 2026-09"
    assert (row["rows"], row["currency"], row["BilledCost"]) == (1, "USD", Decimal(1))


def test_explain_of_deliveries_that_replace_each_other_in_one_run(tmp_path: Path) -> None:
    lab = write_lab(
        tmp_path,
        {
            "bill/delivered=2026-10-01/a.csv": [cost_row("1"), cost_row("9", BillingAccountId="acct-2")],
            "bill/delivered=2026-10-08/a.csv": [cost_row("3")],
            "bill/delivered=2026-10-15/a.csv": [cost_row("4")],
        },
    )
    told = explain(lab)
    assert not (lab / "lake").exists()
    done = ingest_lab(lab)
    assert told.files.equals(done.files)
    assert told.replaced.equals(done.replaced)
    assert told.replaced["BilledCost"].to_list() == [Decimal(1), Decimal(3)]


def test_a_lab_is_opened_as_of_a_date(tmp_path: Path) -> None:
    lab = write_lab(
        tmp_path,
        {
            "bill/delivered=2026-10-01/a.csv": [cost_row("1")],
            "bill/delivered=2026-11-08/a.csv": [cost_row("3")],
        },
    )
    from finops_lab.lab import open_lab

    now, then = open_lab(lab, progress=False), open_lab(lab, progress=False, as_of="2026-11-01")
    assert now.costs().collect()["BilledCost"].to_list() == [Decimal(3)]
    assert then.costs().collect()["BilledCost"].to_list() == [Decimal(1)]
    assert then.table("costs", as_of="2026-12-01").collect()["BilledCost"].to_list() == [Decimal(3)]
    with pytest.raises(InputError, match="as_of must be written like"):
        open_lab(lab, progress=False, as_of="November")


def test_columns_that_differ_in_case_only_are_one_in_the_lake(tmp_path: Path) -> None:
    lab = write_lab(
        tmp_path, {"a.csv": [cost_row("1", x_Zone="north")], "b.csv": [cost_row("2", x_zone="south")]}
    )
    ingest_lab(lab)
    put(lab / "exports" / "c.csv", [cost_row("3", x_ZONE="east")])
    ingest_lab(lab)
    frame = costs(lab).sort("BilledCost")
    assert frame["x_Zone"].to_list() == ["north", "south", "east"]
    assert [name for name in frame.columns if name.lower() == "x_zone"] == ["x_Zone"]


def test_a_copy_counts_again_when_its_original_changes(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")], "b.csv": [cost_row("2")]})
    ingest_lab(lab)
    put(lab / "exports" / "b.csv", [cost_row("1")])
    assert statuses(ingest_lab(lab)) == {"a.csv": "unchanged", "b.csv": "duplicate"}
    assert statuses(ingest_lab(lab)) == {"a.csv": "unchanged", "b.csv": "duplicate"}
    put(lab / "exports" / "a.csv", [cost_row("4")])
    ingest_lab(lab)
    assert sorted(costs(lab)["BilledCost"]) == [Decimal(1), Decimal(4)]
    assert set(statuses(ingest_lab(lab)).values()) == {"unchanged"}


def test_a_grown_contract_has_the_files_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finops_lab import contracts

    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")]})
    ingest_lab(lab)
    (entry,) = lake.files(lab / "lake", "costs").values()
    assert (entry.contract, entry.lake_version) == (contracts.version("costs"), 0)
    monkeypatch.setattr(contracts, "version", lambda table: "another")
    assert statuses(ingest_lab(lab)) == {"a.csv": "changed"}
    assert costs(lab)["BilledCost"].to_list() == [Decimal(1)]


def test_amounts_beyond_what_money_holds_refuse_the_file_and_name_the_row(tmp_path: Path) -> None:
    huge = "99999999999999999999.99"
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1"), cost_row(huge), cost_row("2")]})
    with pytest.raises(
        InputError, match=r"a\.csv, row 2, column BilledCost: its amounts add up beyond 20 digits"
    ):
        ingest_lab(lab)


def test_a_folder_that_cannot_be_looked_at_is_no_empty_folder(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1")]})
    (lab / "exports" / "gone.csv").symlink_to(lab / "nowhere.csv")
    with pytest.raises(InputError, match=r"gone\.csv: is a link that leads nowhere"):
        ingest_lab(lab)
    (lab / "exports" / "gone.csv").unlink()
    other = tmp_path / "other"
    put(other / "b.csv", [cost_row("2")])
    (lab / "exports" / "linked").symlink_to(other)
    (other / "circle").symlink_to(other)
    assert statuses(ingest_lab(lab)) == {"a.csv": "ingested", "linked/b.csv": "ingested"}


def test_a_decimal_comma_is_no_thousands_separator(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"a.csv": [cost_row("1,234.50"), cost_row("0,082")]})
    (row,) = ingest_lab(lab).files.rows(named=True)
    assert (row["BilledCost_accepted"], row["rows_quarantined"]) == (Decimal("1234.50"), 1)


def test_ingest_tells_what_may_be_counted_twice_and_what_was_withdrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from finops_lab.ingestion.doubles import repeated
    from finops_lab.printing import print_doubts

    text = csv_text([cost_row("3"), cost_row("1")])
    lab = write_lab(tmp_path, {"a.csv": text, "b.csv": text.replace("\n", "\r\n")})
    open_lab(lab, progress=False)
    (lab / "exports" / "b.csv").unlink()
    opened = open_lab(lab, progress=False)
    print_doubts(repeated(opened.costs()), opened.withdrawn())
    said = capsys.readouterr().err
    assert "warning: 2 charges (4 USD billed) stand alike in a.csv and b.csv: counted twice?" in said
    assert "warning: b.csv is no longer delivered, and its rows still count" in said
