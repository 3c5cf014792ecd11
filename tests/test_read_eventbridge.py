"""Spot interruptions out of EventBridge: one row per event, however it was kept."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.platform import eventbridge
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "eventbridge_spot.jsonl"
EVENTS: list[dict[str, Any]] = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
LATER = "ts_lost: two minutes after the notice, as EC2 documents; the event does not tell it"


def read(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    path = tmp_path / "events.json"
    path.write_text(text)
    sample = registry.inspect(path)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["EventBridge spot events"]
    return eventbridge.read(path, ReadSettings()).collect().rows(named=True)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC)


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(eventbridge.read(EXAMPLE, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("spot_evictions").items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_golden_example_keeps_every_contract_rule() -> None:
    frame = eventbridge.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame.select(contracts.reasons("spot_evictions").alias("r"))["r"].null_count() == 4
    assert frame.select("kind", "ts_notice", "ts_lost", "zone", "instance_id", "source_row").rows() == [
        ("rebalance", at(5, 9, 50), at(5, 9, 50), "us-east-2a", "i-0aaaaaaaaaaaaaaa1", 1),
        ("interruption", at(5, 10), at(5, 10, 2), "us-east-2a", "i-0aaaaaaaaaaaaaaa1", 2),
        ("interruption", at(6, 11), at(6, 11, 2), "us-east-2b", "i-0aaaaaaaaaaaaaaa2", 5),
        ("interruption", at(6, 12), at(6, 12), None, "i-0aaaaaaaaaaaaaaa3", 6),
    ]
    assert set(frame["provider"]) == {"aws"}
    assert set(frame["region"]) == {"us-east-2"}
    assert frame[REASONS].null_count() == 4
    for unknown in ("gpu_count", "instance_type", "lost_work_s", "price_usd_per_hour", "ts_recovered"):
        assert frame[unknown].null_count() == 4
    assert frame[NOTES].to_list() == [
        ["ts_lost: a recommendation takes nothing yet, this is when it was given"],
        [LATER],
        [LATER],
        [
            "ts_lost: hibernation begins with the notice",
            "events of other types, left out: 1",
            "events delivered again (same id), left out: 1",
        ],
    ]


def test_trap_two_minute_notice_is_told_not_measured() -> None:
    frame = eventbridge.read(EXAMPLE, ReadSettings()).collect()
    told = frame.filter(pl.col(NOTES).list.contains(LATER))
    assert (told["ts_lost"] - told["ts_notice"]).dt.total_seconds().to_list() == [120, 120]


def test_trap_arn_has_the_zone_where_others_have_the_region(tmp_path: Path) -> None:
    usual = "arn:aws:ec2:eu-central-1:111122223333:instance/i-0b"
    rows = read(
        tmp_path,
        "\n".join(
            json.dumps({**EVENTS[1], "id": str(n), "resources": [arn], "detail": {}})
            for n, arn in enumerate(["arn:aws:ec2:eu-central-1c:instance/i-0b", usual, "i-0b", 5])
        ),
    )
    assert [(r["zone"], r["instance_id"]) for r in rows] == [
        ("eu-central-1c", "i-0b"),
        (None, "i-0b"),
        (None, None),
        (None, None),
    ]


def test_trap_events_delivered_twice_are_counted_once(tmp_path: Path) -> None:
    rows = read(tmp_path, json.dumps([EVENTS[1]] * 3))
    assert len(rows) == 1
    assert rows[0][NOTES] == [LATER, "events delivered again (same id), left out: 2"]


def test_events_without_id_are_the_same_only_when_all_of_them_is(tmp_path: Path) -> None:
    bare = {k: v for k, v in EVENTS[1].items() if k != "id"}
    rows = read(tmp_path, json.dumps([bare, bare, {**bare, "time": "2026-10-05T10:30:00Z"}]))
    assert [r["ts_notice"] for r in rows] == [at(5, 10), at(5, 10, 30)]


@pytest.mark.parametrize(
    "keep",
    [
        lambda events: json.dumps(events, indent=4),
        lambda events: "".join(json.dumps(e) for e in events),
        lambda events: "\n".join(json.dumps(e, indent=2) for e in events),
        lambda events: json.dumps({"events": [{"timestamp": 1, "message": json.dumps(e)} for e in events]}),
        lambda events: json.dumps(
            {"results": [[{"field": "@message", "value": json.dumps(e)}] for e in events]}, indent=1
        ),
        lambda events: json.dumps([{"@timestamp": "x", "@message": json.dumps(e)} for e in events]),
        lambda events: "\n".join(json.dumps({"Body": json.dumps(e), "MessageId": "m"}) for e in events),
        lambda events: json.dumps(
            {
                "Messages": [
                    {"Body": json.dumps({"Type": "Notification", "Message": json.dumps(e)})} for e in events
                ]
            }
        ),
    ],
    ids=["array", "firehose", "appended", "log events", "insights", "insights records", "queue", "topic"],
)
def test_events_are_found_in_what_holds_them(tmp_path: Path, keep: Any) -> None:
    rows = read(tmp_path, keep(EVENTS))
    wanted = eventbridge.read(EXAMPLE, ReadSettings()).collect().rows(named=True)
    assert [(r["ts_lost"], r["kind"], r["instance_id"]) for r in rows] == [
        (r["ts_lost"], r["kind"], r["instance_id"]) for r in wanted
    ]


def test_what_cannot_be_read_is_kept_with_a_reason(tmp_path: Path) -> None:
    lines = [json.dumps(EVENTS[1]), "not json", '{"a": 1}', json.dumps({**EVENTS[4], "time": "soon"})]
    rows = read(tmp_path, "\n".join(lines))
    assert [r[REASONS] for r in rows] == [
        None,
        ["line: is not JSON (Expecting value at character 1)"],
        ["line: is not an event of EventBridge"],
        ["ts_notice: 'soon' is not a date and time"],
    ]
    assert rows[3]["ts_lost"] is None


def test_an_event_without_time_has_a_reason(tmp_path: Path) -> None:
    (row,) = read(tmp_path, json.dumps({k: v for k, v in EVENTS[1].items() if k != "time"}))
    assert row[REASONS] == ["ts_notice: missing or not readable"]


def test_gzip_and_cut_gzip(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.gz", tmp_path / "cut.gz"
    whole.write_bytes(gzip.compress(EXAMPLE.read_bytes()))
    cut.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:-12])
    frame = eventbridge.read(whole, ReadSettings()).collect()
    assert frame.equals(eventbridge.read(EXAMPLE, ReadSettings()).collect())
    with pytest.raises(InputError, match=r"cut\.gz: cannot be read"):
        eventbridge.read(cut, ReadSettings()).collect()


@pytest.mark.parametrize("value", [[[], 3], {"detail-type": " "}, {"message": "{"}, {"events": [None, 1]}])
def test_odd_shapes_become_rows_with_reasons(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(value))
    frame = eventbridge.read(path, ReadSettings()).collect()
    assert frame.height > frame[REASONS].null_count() == 0
