"""The FOCUS reader: every spelling seen in real exports, and nothing read that was not meant."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from helpers import (
    BINDER,
    DATA,
    FOCUS_SAMPLE,
    binder_focus,
    cost_row,
    csv_rows,
    csv_text,
    decimal_sum,
    focus_row,
    put,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.contracts.costs import CHARGE_CATEGORIES
from finops_lab.errors import InputError
from finops_lab.ingestion.bills import focus
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, detect, inspect

TEAM = ReadSettings(tag_keys=("team",))
SPEC = sorted((DATA / "billing").glob("focus_spec_*/*.csv"))


def read(path: Path, tags: ReadSettings = TEAM) -> pl.DataFrame:
    """Detect and read a file as ingestion does."""
    reader = detect(path)[0]
    assert (reader.FORMAT[:5], reader.TABLE) == ("FOCUS", "costs")
    return reader.read(path, tags).collect()


def one(path: Path, column: str, **overrides: str | None) -> Any:
    return read(put(path / "b.csv", [focus_row(**overrides)]))[column].to_list()[0]


def column(path: Path, name: str, values: pl.Series, settings: ReadSettings = TEAM) -> pl.DataFrame:
    """Read a Parquet bill of which one column is given in its own dtype."""
    rows = pl.DataFrame([focus_row()] * values.len()).with_columns(values.alias(name))
    return read(put(path / "b.parquet", rows), settings)


# --- shape -----------------------------------------------------------------------------------------


def test_a_read_bill_has_the_contract_s_columns_and_dtypes(tmp_path: Path) -> None:
    frame = read(put(tmp_path / "b.csv", [focus_row(Id="7")]))
    wanted = {name: dtype for name, dtype in contracts.dtypes("costs").items() if name != "x_SourceFile"}
    assert dict(list(frame.schema.items())[: len(wanted)]) == wanted
    assert frame.columns[len(wanted) :] == ["x_Id", "x_tag_team", RAW, REASONS, NOTES]
    assert frame.row(0, named=True)["x_BillingMonth"] == "2026-09"
    assert frame["x_SourceRow"].to_list() == [1]
    assert frame[REASONS].to_list() == [None]


def test_a_header_without_rows_is_an_empty_bill(tmp_path: Path) -> None:
    frame = read(put(tmp_path / "b.csv", csv_text([focus_row()]).splitlines()[0]))
    assert frame.height == 0


def test_rows_are_numbered_as_delivered(tmp_path: Path) -> None:
    rows = [cost_row(str(n), ServiceName="two\nlines" if n % 7 == 0 else "one") for n in range(1, 3001)]
    frame = read(put(tmp_path / "b.csv", rows))
    assert frame.select((pl.col("BilledCost") == pl.col("x_SourceRow")).all()).item()
    assert frame["x_SourceRow"].n_unique() == 3000


# --- containers ------------------------------------------------------------------------------------

ROWS = [
    cost_row("1.25", ServiceName='a, "b"; c', x_Note="Ünïcödé 日本"),
    cost_row("-0.0000005", ServiceName="d\te"),
]
PLAIN = csv_text(ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", PLAIN.encode()),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("bom-quoted.csv", b"\xef\xbb\xbf" + csv_text(ROWS, quote_all=True).encode()),
        ("crlf.csv", PLAIN.replace("\n", "\r\n").encode()),
        ("no-last-newline.csv", PLAIN.rstrip("\n").encode()),
        ("semicolon.csv", csv_text(ROWS, ";").encode()),
        ("tab.csv", csv_text(ROWS, "\t").encode()),
        ("pipe.csv", csv_text(ROWS, "|").encode()),
        ("zipped.csv.gz", gzip.compress(PLAIN.encode())),
        ("zipped-bom-semicolon.csv.gz", gzip.compress(b"\xef\xbb\xbf" + csv_text(ROWS, ";").encode())),
        (
            "two-members.csv.gz",
            gzip.compress(PLAIN[: len(PLAIN) // 2].encode())
            + gzip.compress(PLAIN[len(PLAIN) // 2 :].encode()),
        ),
        ("zipped-without-saying.csv", gzip.compress(PLAIN.encode())),
        ("lies.parquet", PLAIN.encode()),
        ("lies.json", PLAIN.encode()),
        ("lies.csv.gz", PLAIN.encode()),
        ("no-extension", PLAIN.encode()),
    ],
)
def test_every_container_reads_the_same(tmp_path: Path, name: str, content: bytes) -> None:
    frame = read(put(tmp_path / name, content))
    assert frame["BilledCost"].to_list() == [Decimal("1.25"), Decimal("-0.0000005")]
    assert frame["ServiceName"].to_list() == ['a, "b"; c', "d\te"]
    assert frame["x_Note"].to_list() == ["Ünïcödé 日本", None]
    assert frame[REASONS].to_list() == [None, None]


def test_parquet_under_a_csv_name(tmp_path: Path) -> None:
    path = put(tmp_path / "b.parquet", pl.DataFrame(ROWS)).rename(tmp_path / "b.csv")
    assert read(path)["BilledCost"].to_list() == [Decimal("1.25"), Decimal("-0.0000005")]


@pytest.mark.parametrize(
    "content",
    [
        b"a,b,c\n1,2,3\n",
        b'{"a": 1}\n',
        b"[]",
        b"\x89PNG\r\n\x1a\n0000",
        b"\x00" * 64,
        PLAIN.encode("utf-16"),
        b"BilledCost\n1\n",
    ],
)
def test_no_reader_knows_it(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "bill.csv", content)
    with pytest.raises(InputError, match=r"bill\.csv: no reader knows this .*Hint") as caught:
        detect(path)
    assert caught.value.exit_code == 2


# --- missing columns -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "BilledCost", "EffectiveCost", "BillingCurrency", "BillingAccountId", "BillingPeriodStart",
        "ChargePeriodStart", "ChargeCategory", "ProviderName",
    ],
)  # fmt: skip
def test_a_missing_mandatory_column_is_named_with_the_file(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "bill.csv", [{k: v for k, v in focus_row().items() if k != name}])
    with pytest.raises(
        InputError, match=rf"bill\.csv, column {name}: the bill has no column {name}"
    ) as caught:
        read(path)
    assert caught.value.column == name


def test_several_missing_columns_are_listed(tmp_path: Path) -> None:
    row = focus_row()
    del row["BilledCost"], row["EffectiveCost"]
    with pytest.raises(InputError, match=r"no column BilledCost \(nor EffectiveCost\)"):
        read(put(tmp_path / "bill.csv", [row]))


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    needed = {
        "BilledCost", "EffectiveCost", "BillingCurrency", "BillingAccountId", "BillingPeriodStart",
        "ChargePeriodStart", "ChargeCategory", "ProviderName",
    }  # fmt: skip
    frame = read(put(tmp_path / "b.csv", [{k: v for k, v in focus_row().items() if k in needed}]))
    row = frame.row(0, named=True)
    assert row[REASONS] is None
    assert [row[n] for n in ("ListCost", "Tags", "ChargeClass", "x_tag_team", "ChargePeriodEnd")] == [
        None
    ] * 5


# --- nulls, text, categories -----------------------------------------------------------------------


@pytest.mark.parametrize("null", ["NULL", "null", "Null", "(null)", "", None])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_null_spellings(tmp_path: Path, null: str | None, kind: str) -> None:
    row = focus_row(
        ServiceName=null, ListCost=null, ChargeClass=null, ChargePeriodEnd=null, x_Own=null, Tags=null
    )
    row["RegionId"] = "eu"
    content = [row] if kind == "csv" else pl.DataFrame([row, focus_row(RegionId="us")])
    frame = read(put(tmp_path / f"b.{kind}", content)).head(1)
    for name in ("ServiceName", "ListCost", "ChargeClass", "ChargePeriodEnd", "Tags", "x_Own", "x_tag_team"):
        assert frame[name].to_list() == [None], name
    assert frame["RegionId"].to_list() == ["eu"]
    assert frame[REASONS].to_list()[0] is None


@pytest.mark.parametrize("null", ["NULL", "(null)", ""])
def test_null_spellings_in_parquet_s_categories(tmp_path: Path, null: str) -> None:
    frame = column(tmp_path, "ChargeClass", pl.Series([null, "correction"]))
    assert frame["ChargeClass"].to_list() == [None, "Correction"]


@pytest.mark.parametrize("blank", [" ", "N/A", "nan", "-", "None"])
def test_a_blank_amount_is_missing_and_a_wrong_one_is_unread(tmp_path: Path, blank: str) -> None:
    frame = read(put(tmp_path / "b.csv", [focus_row(ListCost=blank), focus_row(ListCost="12,5")]))
    assert frame["ListCost"].to_list() == [None, None]
    assert frame[REASONS].to_list() == [None, ["ListCost: '12,5' is not a number"]]


@pytest.mark.parametrize(
    ("spelled", "category"),
    [
        ("usage", "Usage"),
        ("TAX", "Tax"),
        (" Credit ", "Credit"),
        ("pUrchase", "Purchase"),
        ("Refund", "Refund"),
    ],
)
def test_categories_in_other_cases(tmp_path: Path, spelled: str, category: str) -> None:
    assert one(tmp_path, "ChargeCategory", ChargeCategory=spelled) == category


def test_frequency_and_class_in_other_cases(tmp_path: Path) -> None:
    row = read(
        put(tmp_path / "b.csv", [focus_row(ChargeFrequency="Usage-based", ChargeClass="CORRECTION")])
    ).row(0, named=True)
    assert (row["ChargeFrequency"], row["ChargeClass"]) == ("Usage-Based", "Correction")


def test_numeric_looking_ids_stay_text(tmp_path: Path) -> None:
    assert (
        one(tmp_path, "BillingAccountId", BillingAccountId="001234567890123456789") == "001234567890123456789"
    )


# --- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-09-03T10:00:00Z", datetime(2026, 9, 3, 10, tzinfo=UTC)),
        ("2026-09-03 10:00:00", datetime(2026, 9, 3, 10, tzinfo=UTC)),
        ("2026-09-03T10:00Z", datetime(2026, 9, 3, 10, tzinfo=UTC)),
        ("2026-09-03T10:00:00.1234567Z", datetime(2026, 9, 3, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-09-03T10:00:00+02:00", datetime(2026, 9, 3, 8, tzinfo=UTC)),
        ("2026-09-03 00:30:00-05:00", datetime(2026, 9, 3, 5, 30, tzinfo=UTC)),
        ("2026-09-03", datetime(2026, 9, 3, tzinfo=UTC)),
        (" 2026-09-03 ", datetime(2026, 9, 3, tzinfo=UTC)),
        ("9/3/2026", datetime(2026, 9, 3, tzinfo=UTC)),
        ("9/3/26", datetime(2026, 9, 3, tzinfo=UTC)),
        ("09/03/2026 10:05", datetime(2026, 9, 3, 10, 5, tzinfo=UTC)),
        ("09/03/2026 10:05:06", datetime(2026, 9, 3, 10, 5, 6, tzinfo=UTC)),
    ],
)
def test_moment_spellings(tmp_path: Path, text: str, moment: datetime) -> None:
    assert one(tmp_path, "ChargePeriodStart", ChargePeriodStart=text, ChargePeriodEnd=None) == moment


@pytest.mark.parametrize(
    "text", ["30/9/2026", "2026-13-01", "2026-02-30", "soon", "9999-12-31T23:59:59-05:00", "1/1", "2026-09"]
)
def test_what_is_no_moment_is_named(tmp_path: Path, text: str) -> None:
    frame = read(put(tmp_path / "b.csv", [focus_row(ChargePeriodEnd=text)]))
    assert frame["ChargePeriodEnd"].to_list() == [None]
    assert frame[REASONS].to_list() == [[f"ChargePeriodEnd: '{text}' is not a date"]]


def test_the_billing_month_is_utc_s(tmp_path: Path) -> None:
    assert one(tmp_path, "x_BillingMonth", BillingPeriodStart="2026-10-01T01:00:00+02:00") == "2026-09"


@pytest.mark.parametrize(
    ("values", "moment"),
    [
        (pl.Series([datetime(2026, 9, 3, 1)], dtype=pl.Datetime("ns")), datetime(2026, 9, 3, 1, tzinfo=UTC)),
        (pl.Series([datetime(2026, 9, 3, 1)], dtype=pl.Datetime("ms")), datetime(2026, 9, 3, 1, tzinfo=UTC)),
        (
            pl.Series([datetime(2026, 9, 3, 1)]).dt.replace_time_zone("Europe/Berlin"),
            datetime(2026, 9, 2, 23, tzinfo=UTC),
        ),
        (pl.Series([date(2026, 9, 3)]), datetime(2026, 9, 3, tzinfo=UTC)),
        (pl.Series(["2026-09-03 01:00:00"]), datetime(2026, 9, 3, 1, tzinfo=UTC)),
    ],
)
def test_parquet_moments(tmp_path: Path, values: pl.Series, moment: datetime) -> None:
    frame = column(tmp_path, "ChargePeriodStart", values)
    assert frame["ChargePeriodStart"].to_list() == [moment]
    assert frame.schema["ChargePeriodStart"] == pl.Datetime("us", "UTC")


# --- money -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1.81E-8", "0.0000000181"), ("1,234.50", "1234.50"), ("0.00 ", "0"), ("$5", "5"), ("(5.00)", "-5")],
)
def test_money_spellings(tmp_path: Path, text: str, amount: str) -> None:
    assert one(tmp_path, "BilledCost", BilledCost=text) == Decimal(amount)


def test_money_symbols_follow_the_row_s_currency(tmp_path: Path) -> None:
    frame = read(put(tmp_path / "b.csv", [focus_row(BilledCost="$5", BillingCurrency="EUR")]))
    assert frame[REASONS].to_list() == [["BilledCost: '$5' is not a number"]]


@pytest.mark.parametrize(
    ("values", "amounts"),
    [
        (pl.Series(["1.5", "2E-3", None]), ["1.5", "0.002", None]),
        (pl.Series([0.1, 1e-7, float("nan")]), ["0.1", "0.0000001", None]),
        (pl.Series([0.1, 16777217.0], dtype=pl.Float32), ["0.1", "16777216"]),
        (pl.Series([1, -2, None], dtype=pl.Int32), ["1", "-2", None]),
        (pl.Series(["1.5", "-2"], dtype=pl.Decimal(12, 4)), ["1.5", "-2"]),
        (pl.Series([None, None], dtype=pl.Null), [None, None]),
    ],
)
def test_parquet_money(tmp_path: Path, values: pl.Series, amounts: list[str | None]) -> None:
    frame = column(tmp_path, "ListCost", values)
    assert frame["ListCost"].to_list() == [None if a is None else Decimal(a) for a in amounts]
    assert frame[REASONS].null_count() == values.len()


def test_digits_beyond_18_are_rounded_and_noted_in_every_container(tmp_path: Path) -> None:
    note = ["BilledCost: more than 18 decimals, rounded to 18"]
    text = "0.0000000000000000015"
    assert read(put(tmp_path / "b.csv", [focus_row(BilledCost=text)]))[NOTES].to_list() == [note]
    frame = column(tmp_path, "BilledCost", pl.Series([Decimal(text), Decimal(1)], dtype=pl.Decimal(38, 20)))
    assert frame["BilledCost"].to_list() == [Decimal("0.000000000000000002"), Decimal(1)]
    assert frame[NOTES].to_list() == [note, None]


def test_a_decimal_too_big_for_money_costs_its_row_not_the_file(tmp_path: Path) -> None:
    big = Decimal("123456789012345678901234")
    frame = column(tmp_path, "BilledCost", pl.Series([big, Decimal(1)], dtype=pl.Decimal(38, 0)))
    assert frame["BilledCost"].to_list() == [None, Decimal(1)]
    assert frame[REASONS].to_list() == [[f"BilledCost: '{big}' is not a number"], None]


def test_infinite_money_is_refused(tmp_path: Path) -> None:
    frame = column(tmp_path, "BilledCost", pl.Series([float("inf")]))
    assert frame[REASONS].to_list() == [["BilledCost: 'inf' is not a number"]]


# --- providers, further columns --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ProviderName", "ServiceProviderName", "HostProviderName"])
def test_the_provider_s_three_names(tmp_path: Path, name: str) -> None:
    row = focus_row()
    row[name] = row.pop("ProviderName")
    frame = read(put(tmp_path / "b.csv", [row]))
    assert frame["ProviderName"].to_list() == ["CloudOne"]


def test_focus_1_3_has_all_three(tmp_path: Path) -> None:
    rows = [
        focus_row(ServiceProviderName="Models Inc", HostProviderName="CloudTwo"),
        focus_row(ProviderName=None, ServiceProviderName="Models Inc", HostProviderName="CloudTwo"),
    ]
    frame = read(put(tmp_path / "b.csv", rows))
    assert frame["ProviderName"].to_list() == ["CloudOne", "Models Inc"]
    assert frame["ServiceProviderName"].to_list() == ["Models Inc"] * 2
    assert frame["HostProviderName"].to_list() == ["CloudTwo"] * 2


def test_unknown_columns_are_kept_with_x_in_front(tmp_path: Path) -> None:
    row = focus_row(x_Own="a", ConsumerId="b", **{"Cost Center/Team": "c", "비용": "d", "부서": "e"})
    frame = read(put(tmp_path / "b.csv", [row])).row(0, named=True)
    assert (frame["x_Own"], frame["x_ConsumerId"]) == ("a", "b")
    assert (frame["x_Cost_Center_Team"], frame["x_비용"], frame["x_부서"]) == ("c", "d", "e")


def test_columns_that_would_share_a_name_are_all_kept(tmp_path: Path) -> None:
    row = focus_row(Id="1", x_Id="2", x_id="3", **{"A B": "4", "A/B": "5"})
    frame = read(put(tmp_path / "b.csv", [row]))
    kept = [n for n in frame.columns if n.startswith("x_") and n not in contracts.dtypes("costs")]
    assert sorted(frame.select(kept).row(0)[:5], key=str) == ["1", "2", "3", "4", "5"]
    assert frame["x_Id"].to_list() == ["2"]
    assert len({n.lower() for n in frame.columns}) == frame.width


def test_a_contract_s_column_wins_over_one_in_another_case(tmp_path: Path) -> None:
    row = {"billedcost": "99", **focus_row(BilledCost="7")}
    frame = read(put(tmp_path / "b.csv", [row]))
    assert frame["BilledCost"].to_list() == [Decimal(7)]


def test_our_own_columns_in_an_export_are_written_anew(tmp_path: Path) -> None:
    row = focus_row(x_SourceRow="77", x_SourceFile="other.csv", x_BillingMonth="1999-01", x_tag_team="stale")
    frame = read(put(tmp_path / "b.csv", [{**row, "Tags": '{"team": "search"}'}])).row(0, named=True)
    assert (frame["x_SourceRow"], frame["x_BillingMonth"], frame["x_tag_team"]) == (1, "2026-09", "search")
    assert frame["x_tag_team_2"] == "stale"


# --- tags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "team"),
    [
        ('{"team": "search"}', "search"),
        ('{"Team": " search "}', "search"),
        ('{" team": "search"}', "search"),
        ('{"team": "a", "team": "b"}', "b"),
        ('{"Team": "a", " team": "b"}', "b"),
        ('{"team": "a", "TEAM": ""}', "a"),
        ('"team": "search", "env": "dev"', "search"),
        ('{"team": 7}', "7"),
        ('{"team": true}', "true"),
        ('{"team": null}', None),
        ('{"team": ""}', None),
        ('{"team": "検索"}', "検索"),
        ('{"team": "\\u691c\\u7d22"}', "検索"),
        ('{"team": "a\\ud800"}', "a?"),
        ("{}", None),
        ("NULL", None),
        ("", None),
        (" ", None),
    ],
)
def test_tag_spellings(tmp_path: Path, tags: str, team: str | None) -> None:
    frame = read(put(tmp_path / "b.csv", [focus_row(Tags=tags)]))
    assert frame["x_tag_team"].to_list() == [team]
    assert frame[NOTES].to_list() == [None]


@pytest.mark.parametrize(
    "tags", ["not json", '{"team": ', "[1]", '{"a":' * 5000, '{"a": ' + "1" * 5000 + "}"]
)
def test_tags_that_are_no_object_are_noted_and_cost_nothing(tmp_path: Path, tags: str) -> None:
    rows = [focus_row(Tags=tags), focus_row(Tags='{"team": "search"}')]
    frame = read(put(tmp_path / "b.csv", rows))
    assert frame["x_tag_team"].to_list() == [None, "search"]
    assert frame[NOTES].to_list() == [["Tags: not JSON, left unread"], None]
    assert frame["Tags"].to_list() == [tags, '{"team": "search"}']
    assert frame[REASONS].to_list() == [None, None]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([{"Team": "search", "env": None}, {"Team": None, "env": "dev"}]),
        pl.Series([[{"key": "Team", "value": "search"}], [{"key": "env", "value": "dev"}]]),
        pl.Series(['{"Team": "search"}', '{"env": "dev"}']),
    ],
)
def test_parquet_tags(tmp_path: Path, values: pl.Series) -> None:
    frame = column(tmp_path, "Tags", values)
    assert frame["x_tag_team"].to_list() == ["search", None]
    assert [json.loads(text) for text in frame["Tags"]] == [{"Team": "search"}, {"env": "dev"}]


def test_parquet_maps_lists_and_structs_become_json(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    duckdb.sql(
        f"""COPY (SELECT 1.5::DECIMAL(18,6) AS BilledCost, 1.5::DOUBLE AS EffectiveCost, 'USD' AS BillingCurrency,
        123456789012 AS BillingAccountId, TIMESTAMPTZ '2026-09-01 00:00:00+00' AS BillingPeriodStart,
        TIMESTAMP '2026-09-03 00:00:00' AS ChargePeriodStart, 'Usage' AS ChargeCategory, 'AWS' AS ProviderName,
        MAP {{'Team': 'search', 'none': NULL}} AS Tags, MAP {{'InstanceType': 'p5'}} AS SkuPriceDetails,
        MAP {{'a': 'b'}} AS x_Discounts, [1, 2, 3] AS x_List, {{'a': 1}} AS x_Struct, true AS x_Flag,
        DATE '2026-01-01' AS x_Day) TO '{path}' (FORMAT parquet)"""
    )
    row = read(path).row(0, named=True)
    assert (row["BilledCost"], row["BillingAccountId"], row["x_tag_team"]) == (
        Decimal("1.5"),
        "123456789012",
        "search",
    )
    assert json.loads(row["SkuPriceDetails"]) == {"InstanceType": "p5"}
    assert json.loads(row["x_Discounts"]) == {"a": "b"}
    assert (row["x_List"], row["x_Struct"], row["x_Flag"], row["x_Day"]) == (
        "[1, 2, 3]",
        '{"a": 1}',
        "true",
        "2026-01-01",
    )


def test_categorical_and_binary_text(tmp_path: Path) -> None:
    rows = pl.DataFrame([focus_row()] * 2).with_columns(
        pl.col("ChargeCategory", "ProviderName", "BillingCurrency").cast(pl.Categorical),
        pl.col("ServiceName").cast(pl.Binary),
    )
    row = read(put(tmp_path / "b.parquet", rows)).row(1, named=True)
    assert (row["ChargeCategory"], row["ProviderName"], row["ServiceName"]) == (
        "Usage",
        "CloudOne",
        "Model API",
    )


# --- faults of CSV ---------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.binary(max_size=200), st.integers(0, len(PLAIN.encode())))
def test_garbage_in_a_bill_is_read_or_refused_in_the_house_s_words(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, place: int
) -> None:
    from finops_lab.ingestion.registry import unreadable

    whole = PLAIN.encode()
    path = put(tmp_path_factory.mktemp("fuzz") / "b.csv", whole[:place] + garbage + whole[place:])
    try:
        frame = read(path)
    except InputError as error:
        assert "b.csv" in str(error)
    except pl.exceptions.PolarsError as error:
        assert "b.csv" in str(unreadable(path, error))
    else:
        for amount, reason in frame.select("BilledCost", REASONS).iter_rows():
            assert amount is None or isinstance(amount, Decimal)
            assert reason is None or reason


# --- real files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPEC or [None], ids=lambda p: p.stem[-40:] if p else "absent")
def test_the_specification_s_own_examples(path: Path | None) -> None:
    if path is None:
        pytest.skip("no FOCUS specification examples beside this checkout")
    rows = csv_rows(path)
    providers = ("ProviderName", "ServiceProviderName", "HostProviderName")
    needed = [n for n in contracts.required("costs") if not n.startswith("x_") and n != "ProviderName"]
    if any(name not in rows[0] for name in needed) or not any(name in rows[0] for name in providers):
        with pytest.raises(InputError, match="the bill has no column"):
            read(path)
        return
    frame = read(path)
    assert frame.height == len(rows)
    assert frame[REASONS].null_count() == len(rows)
    for name in ("BilledCost", "EffectiveCost"):
        assert frame[name].null_count() == 0
        assert frame[name].sum() == decimal_sum(row[name].strip(" $").replace(",", "") for row in rows)
    for name in set(rows[0]) - {"ServiceProviderName", "HostProviderName", "ProviderName"}:
        assert name in frame.columns or f"x_{name}" in frame.columns


@pytest.fixture(scope="module")
def sample() -> pl.DataFrame:
    if not FOCUS_SAMPLE.is_file():
        pytest.skip("no real FOCUS sample beside this checkout")
    return read(FOCUS_SAMPLE)


def test_the_real_focus_sample_adds_up(sample: pl.DataFrame) -> None:
    rows = csv_rows(FOCUS_SAMPLE)
    assert sample.height == len(rows) == 1000
    assert sample[REASONS].null_count() == 1000
    assert sample["BilledCost"].sum() == Decimal("20.52022672899")
    for name in ("BilledCost", "EffectiveCost", "ListCost"):
        for category in CHARGE_CATEGORIES:
            mine = sample.filter(pl.col("ChargeCategory") == category)[name].sum()
            theirs = decimal_sum(
                r[name] for r in rows if r["ChargeCategory"] == category and r[name] != "NULL"
            )
            assert mine == theirs, (name, category)
    for name in ("ContractedCost", "ListUnitPrice", "ConsumedQuantity", "PricingQuantity"):
        nulls = sum(row[name] in ("NULL", "") for row in rows)
        assert sample[name].null_count() == nulls, name


def test_the_real_focus_sample_s_quirks(sample: pl.DataFrame) -> None:
    rows = csv_rows(FOCUS_SAMPLE)
    assert {row["ChargeFrequency"] for row in rows} >= {"Usage-Based", "Usage-based"}
    assert set(sample["ChargeFrequency"].drop_nulls()) <= {"One-Time", "Recurring", "Usage-Based"}
    assert sample["Tags"].null_count() == 289
    assert "x_Id" in sample.columns
    assert sample.filter(pl.col("x_BillingMonth") == "2024-10").height >= 1
    # No figure of the file has more than 18 decimals: nothing had to be rounded.
    assert sample[NOTES].null_count() == 1000


def test_the_real_sample_reads_the_same_from_gzip_and_parquet(sample: pl.DataFrame, tmp_path: Path) -> None:
    columns = [n for n in contracts.dtypes("costs") if n != "x_SourceFile"]
    zipped = read(put(tmp_path / "s.csv.gz", FOCUS_SAMPLE.read_text(encoding="utf-8")))
    assert zipped.select(columns).equals(sample.select(columns))
    parquet = read(put(tmp_path / "s.parquet", pl.DataFrame(csv_rows(FOCUS_SAMPLE))))
    assert parquet.select(columns).equals(sample.select(columns))


def test_the_real_bill_of_mybinder(tmp_path: Path) -> None:
    if not BINDER.is_file():
        pytest.skip("no real bill of mybinder.org beside this checkout")
    rows = binder_focus()
    frame = read(put(tmp_path / "binder.csv", rows))
    assert frame.height == len(rows) > 1000
    projects = [r["cost_usd"] for r in csv_rows(BINDER) if r["dimension"] == "project"]
    assert frame["BilledCost"].sum() == decimal_sum(projects)
    assert frame[REASONS].null_count() == len(rows)


def test_other_real_bills_are_not_taken_for_focus() -> None:
    others = [
        DATA / "billing" / "raw_aws_cur" / "sample-anonymous-aws-export-dataset.csv",
        DATA / "billing" / "raw_azure" / "sample-anonymous-ea-export-dataset.csv",
        DATA / "billing" / "ms_toolkit" / "Services.csv",
    ]
    if not all(path.is_file() for path in others):
        pytest.skip("no real raw exports beside this checkout")
    for path in others:
        assert not [r.FORMAT for r in focus.READERS if r.matches(inspect(path))]


def test_the_module_is_a_reader() -> None:
    assert [(r.FORMAT, r.TABLE) for r in focus.READERS][2] == ("FOCUS 1.2", "costs")
