"""Kubernetes Jobs become training jobs; Events become changes of size and spot interruptions."""

from __future__ import annotations

import copy
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
from finops_lab.ingestion.platform.kubernetes import READERS
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

FORMATS = Path(__file__).parent / "formats"
JOBS_FILE, EVENTS_FILE = FORMATS / "kubernetes_jobs.json", FORMATS / "kubernetes_events.json"
JOBS, SCALING, SPOT = READERS
FILE_OF = {"training_jobs": JOBS_FILE, "scale_events": EVENTS_FILE, "spot_evictions": EVENTS_FILE}
ONE_JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "n"},
    "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}}},
    "status": {"startTime": "2026-10-01T00:00:00Z"},
}


def rows(reader: Any, tmp_path: Path, *values: Any, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "objects.json"
    path.write_text("\n".join(json.dumps(v) for v in values))
    found: list[dict[str, Any]] = reader.read(path, ReadSettings(**settings)).collect().rows(named=True)
    return found


def job(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    value = copy.deepcopy(ONE_JOB)
    for path, inner in changes.items():
        part, _, name = path.partition("__")
        value[part] = {**value[part], name: inner} if name else inner
    (row,) = rows(JOBS, tmp_path, value)
    return row


def event(kind: str, name: str, reason: str, message: str, at: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"namespace": "ns", "uid": f"{kind}{name}{reason}{message}{at}"},
        "involvedObject": {"kind": kind, "name": name, "namespace": "ns"},
        "reason": reason,
        "message": message,
        "firstTimestamp": f"2026-10-05T{at}Z",
        "lastTimestamp": f"2026-10-05T{at}Z",
        "count": 1,
        **more,
    }


def hpa(size: int, at: str, name: str = "chat", **more: Any) -> dict[str, Any]:
    return event(
        "HorizontalPodAutoscaler", name, "SuccessfulRescale", f"New size: {size}; reason: cpu", at, **more
    )


def scaled(name: str, replica_set: str, after: int, before: int | None, at: str) -> dict[str, Any]:
    way = f"Scaled up replica set {replica_set} to {after}"
    return event(
        "Deployment", name, "ScalingReplicaSet", way if before is None else f"{way} from {before}", at
    )


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 10, 5, hour, minute, second, tzinfo=UTC)


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_frame_has_the_contract_in_order_and_in_its_dtypes(reader: Any) -> None:
    schema = dict(reader.read(FILE_OF[reader.TABLE], ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes(reader.TABLE).items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_the_examples_keep_every_contract_rule(reader: Any) -> None:
    frame = (
        reader.read(FILE_OF[reader.TABLE], ReadSettings())
        .with_columns(pl.lit("f").alias("source_file"))
        .collect()
    )
    assert frame.select(contracts.reasons(reader.TABLE).alias("r"))["r"].null_count() == frame.height > 0
    assert frame[REASONS].null_count() == frame.height


def test_jobs_and_events_are_told_apart() -> None:
    def known(path: Path) -> list[tuple[str, str]]:
        sample = registry.inspect(path)
        return [(r.FORMAT, r.TABLE) for r in registry.readers() if r.matches(sample)]

    assert known(JOBS_FILE) == [("Kubernetes Jobs", "training_jobs")]
    assert known(EVENTS_FILE) == [("Kubernetes Events", t) for t in ("scale_events", "spot_evictions")]


def test_golden_jobs() -> None:
    frame = JOBS.read(JOBS_FILE, ReadSettings()).collect()
    columns = ("job_id", "attempt", "kind", "team", "state", "gpu_count", "purchase", "wall_s")
    assert frame.select(columns).rows() == [
        ("training/retrain-ranker", 1, "retrain", "search", "completed", 8.0, "spot", 7200.0),
        ("training/finetune-chat", 3, "finetune", "chat", "completed", 8.0, None, 3600.0),
        ("training/train-broken", 2, "train", "chat", "failed", 1.0, None, 1800.0),
        ("training/train-late", 1, "train", "chat", "timeout", 1.0, None, 3600.0),
        ("training/train-slice", 1, "train", None, "running", None, None, None),
        ("training/prepare-data", 1, "train", None, "completed", 0.0, None, 600.0),
        ("training/train-deleted", 1, "train", None, "cancelled", 1.0, None, 1200.0),
    ]
    # GPU-hours: 16 + 8 + 0.5 + 1 + 0 + 1/3
    assert (frame["gpu_count"] * frame["wall_s"]).sum() / 3600 == pytest.approx(25 + 5 / 6)
    assert (frame["gpu_model"][0], frame["instance_type"][0]) == ("NVIDIA-A100-SXM4-40GB", "p4d.24xlarge")
    assert frame["ts_submit"][0] == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert frame["ts_start"][0] == datetime(2026, 10, 1, 8, 0, 10, tzinfo=UTC)
    assert [n for n in frame[NOTES].to_list() if n] == [
        ["wall_s: spans all attempts, a Job keeps no times of its failed pods"],
        ["wall_s: spans all attempts, a Job keeps no times of its failed pods"],
        ["gpu_count: asks for nvidia.com/mig-1g.10gb, which are no whole GPUs"],
        ["Jobs that had not started, left out: 1"],
    ]


@pytest.mark.parametrize(
    ("spec", "gpus"),
    [({}, 2), ({"parallelism": 4}, 8), ({"parallelism": 4, "completions": 3}, 6), ({"parallelism": 0}, 0)],
)
def test_trap_gpus_are_of_all_pods_at_a_time(tmp_path: Path, spec: dict[str, int], gpus: float) -> None:
    assert job(tmp_path, spec={**ONE_JOB["spec"], **spec})["gpu_count"] == gpus


def test_gpus_of_containers_add_up_and_those_that_prepare_do_not(tmp_path: Path) -> None:
    def asks(number: int) -> dict[str, Any]:
        return {"resources": {"limits": {"nvidia.com/gpu": number}}}

    pod = {"containers": [asks(1), asks(2)], "initContainers": [asks(2), asks(1)]}
    assert job(tmp_path, spec={"template": {"spec": pod}})["gpu_count"] == 3.0
    assert job(tmp_path, spec={"template": {"spec": {**pod, "containers": [asks(1)]}}})["gpu_count"] == 2.0


def test_no_pod_template_leaves_gpus_unknown(tmp_path: Path) -> None:
    assert job(tmp_path, spec={})["gpu_count"] is None


def test_trap_limits_and_requests_are_the_same_gpus(tmp_path: Path) -> None:
    both = {"limits": {"nvidia.com/gpu": "4"}, "requests": {"nvidia.com/gpu": "4"}}
    assert (
        job(tmp_path, spec={"template": {"spec": {"containers": [{"resources": both}]}}})["gpu_count"] == 4.0
    )


def test_node_affinity_with_one_value_tells_the_machine(tmp_path: Path) -> None:
    rules = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g5.xlarge"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot", "on-demand"]},
    ]
    terms = {"nodeSelectorTerms": [{"matchExpressions": rules}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    pod = {**ONE_JOB["spec"]["template"]["spec"], "affinity": affinity}
    row = job(tmp_path, spec={"template": {"spec": pod}})
    assert [row[n] for n in ("instance_type", "gpu_model", "purchase")] == ["g5.xlarge", "NVIDIA A10G", None]


def test_context_comes_from_named_labels_first(tmp_path: Path) -> None:
    value = copy.deepcopy(ONE_JOB)
    value["metadata"]["labels"] = {"team": "search", "cost-centre": "ads", "model-version": "7"}
    value["spec"]["template"]["metadata"] = {"annotations": {"family": "ranker"}}
    (row,) = rows(JOBS, tmp_path, value, attributes={"team": ("cost-centre",), "model": ("family",)})
    assert [row[n] for n in ("team", "model", "model_version")] == ["ads", "ranker", "7"]


def test_a_raw_list_does_not_repeat_the_kind(tmp_path: Path) -> None:
    bare = {k: v for k, v in ONE_JOB.items() if k not in ("kind", "apiVersion")}
    listed = {"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": [bare, bare]}
    assert [r["gpu_count"] for r in rows(JOBS, tmp_path, listed)] == [2.0, 2.0]
    assert JOBS.matches(registry.inspect(tmp_path / "objects.json"))
    # Longer than what detection looks at: only the beginning says what is listed.
    (tmp_path / "long.json").write_text(json.dumps({**listed, "items": [bare] * 6000}))
    assert JOBS.matches(registry.inspect(tmp_path / "long.json"))
    assert not SCALING.matches(registry.inspect(tmp_path / "long.json"))


def test_objects_of_other_kinds_are_told(tmp_path: Path) -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}
    (row,) = rows(JOBS, tmp_path, {"kind": "List", "items": [ONE_JOB, pod, pod]})
    assert row[NOTES] == ["objects of kind Pod, left out: 2"]
    (tmp_path / "pods.json").write_text(json.dumps({"kind": "List", "items": [pod]}))
    assert not JOBS.matches(registry.inspect(tmp_path / "pods.json"))


def test_values_that_cannot_be_read_are_reasons(tmp_path: Path) -> None:
    row = job(tmp_path, spec__parallelism="many", status__startTime="soon")
    assert row[REASONS] == [
        "ts_start: 'soon' is not a date and time",
        "gpu_count: 'many' is not a whole number",
    ]


@pytest.mark.parametrize("part", ["metadata", "spec", "status"])
@pytest.mark.parametrize("value", [{}, {"labels": 5}, {"template": [1]}, {"conditions": [None]}])
def test_odd_jobs_never_fail(tmp_path: Path, part: str, value: Any) -> None:
    found = rows(JOBS, tmp_path, {**ONE_JOB, part: value})
    assert len(found) == (part != "status")


def test_golden_scale_events() -> None:
    frame = SCALING.read(EVENTS_FILE, ReadSettings()).collect()
    columns = ("ts_decision", "pool_id", "scaler", "from_units", "to_units", "unit", "source_row")
    assert frame.select(columns).rows() == [
        (at(10), "chat", "hpa", 4.0, 8.0, "replica", 1),
        (at(10, 5), "embed-hpa", "hpa", None, 2.0, "replica", 3),
        (at(11, 5), "embed-hpa", "hpa", None, 2.0, "replica", 3),
        (at(10, 10), "rank", "inferred", 1.0, 3.0, "replica", 4),
        (at(10, 30), "batch", "keda", 0.0, 1.0, "replica", 7),
        (at(10, 0, 21), "gpu-pool", "cluster_autoscaler", 1.0, 3.0, "node", 10),
        (at(10, 40), "gpu-spot", "karpenter", None, None, "node", 12),
        (at(10, 50), "gpu-spot", "karpenter", None, None, "node", 14),
    ]
    assert frame["ts_ready"].to_list() == [None] * 6 + [at(10, 43, 30), None]
    assert frame["reason"].to_list()[-2:] == [
        "one node more: Launched",
        "one node less: Disrupting NodeClaim: Underutilized",
    ]
    assert frame["namespace"].to_list()[:6] == ["serving"] * 5 + ["kube-system"]
    assert [n for n in frame[NOTES].to_list() if n] == [
        ["the Deployment's own event of the same change is merged in"],
        ["the event stands for 3 alike, 2 of their times are known"],
        ["the Deployment's own event of the same change is merged in"],
        [
            "events that repeat a change of the cluster autoscaler, left out: 2",
            "events that tell no change of size, left out: 1",
            "steps of rollouts, no changes of size, left out: 2",
        ],
    ]


def test_trap_one_change_is_told_by_the_autoscaler_and_by_the_deployment(tmp_path: Path) -> None:
    found = rows(SCALING, tmp_path, hpa(8, "10:00:00"), scaled("chat", "chat-1", 8, 4, "10:00:01"))
    assert [(r["scaler"], r["from_units"], r["to_units"]) for r in found] == [("hpa", 4.0, 8.0)]


def test_the_deployment_of_an_autoscaler_of_another_name_is_found_if_only_one_fits(tmp_path: Path) -> None:
    only = [hpa(8, "10:00:00", "h"), scaled("chat", "chat-1", 8, 4, "10:00:01")]
    assert [r["pool_id"] for r in rows(SCALING, tmp_path, *only)] == ["chat"]
    two = [*only, scaled("rank", "rank-1", 8, 7, "10:00:02")]
    assert [r["pool_id"] for r in rows(SCALING, tmp_path, *two)] == ["h", "chat", "rank"]
    late = [hpa(8, "10:00:00", "h"), scaled("chat", "chat-1", 8, 4, "10:02:00")]
    assert [r["pool_id"] for r in rows(SCALING, tmp_path, *late)] == ["h", "chat"]


def test_trap_rollouts_change_no_size(tmp_path: Path) -> None:
    steps = [scaled("web", "web-new", 1, 0, "10:00:00"), scaled("web", "web-old", 2, 3, "10:00:05")]
    other = scaled("rank", "rank-1", 2, 1, "10:00:05")
    (row,) = rows(SCALING, tmp_path, *steps, other)
    assert row["pool_id"] == "rank"
    assert row[NOTES] == ["steps of rollouts, no changes of size, left out: 2"]


def test_old_messages_have_no_size_before(tmp_path: Path) -> None:
    old = event("HorizontalPodAutoscaler", "a", "SuccessfulRescale", "New size: 5", "10:00:00")
    found = rows(SCALING, tmp_path, old, scaled("web", "web-1", 3, None, "11:00:00"))
    assert [(r["from_units"], r["to_units"]) for r in found] == [(None, 5.0), (None, 3.0)]


def test_keda_scales_by_an_autoscaler_of_its_own(tmp_path: Path) -> None:
    (row,) = rows(SCALING, tmp_path, hpa(3, "10:00:00", "keda-hpa-worker"))
    assert (row["scaler"], row["pool_id"]) == ("keda", "worker")


def test_pods_that_triggered_a_scale_up_tell_of_it_once(tmp_path: Path) -> None:
    found = [
        event(
            "Pod",
            f"p{n}",
            "TriggeredScaleUp",
            "pod triggered scale-up: [{a/b 1->3 (max: 8)} {c 0->1 (max: 1)}]",
            t,
        )
        for n, t in enumerate(["10:00:00", "10:00:01", "12:00:00"])
    ]
    changes = rows(SCALING, tmp_path, *found)
    assert [(r["pool_id"], r["from_units"], r["to_units"], r["ts_decision"].hour) for r in changes] == [
        ("a/b", 1.0, 3.0, 10),
        ("c", 0.0, 1.0, 10),
        ("a/b", 1.0, 3.0, 12),
        ("c", 0.0, 1.0, 12),
    ]


def test_trap_events_asked_for_again_are_counted_once(tmp_path: Path) -> None:
    first = hpa(2, "10:00:00")
    later = {**first, "lastTimestamp": "2026-10-05T10:30:00Z", "count": 2}
    found = rows(
        SCALING, tmp_path, {"kind": "List", "items": [first]}, {"kind": "List", "items": [first, later]}
    )
    assert [r["ts_decision"] for r in found] == [at(10), at(10, 30)]
    assert [r[NOTES] for r in found] == [None, None]


def test_events_of_the_new_api_group(tmp_path: Path) -> None:
    new = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"namespace": "ns", "uid": "u"},
        "regarding": {"kind": "HorizontalPodAutoscaler", "name": "chat", "namespace": "ns"},
        "reason": "SuccessfulRescale",
        "note": "New size: 4; reason: cpu",
        "eventTime": "2026-10-05T10:00:00.250000Z",
        "series": {"count": 4, "lastObservedTime": "2026-10-05T11:00:00Z"},
        "deprecatedFirstTimestamp": None,
    }
    found = rows(SCALING, tmp_path, new)
    assert [r["ts_decision"] for r in found] == [at(10).replace(microsecond=250000), at(11)]
    assert found[1][NOTES] == ["the event stands for 4 alike, 2 of their times are known"]


def test_watched_events_and_those_of_exporters(tmp_path: Path) -> None:
    bare = {k: v for k, v in hpa(3, "10:00:00").items() if k not in ("kind", "apiVersion")}
    assert [
        r["to_units"] for r in rows(SCALING, tmp_path, {"type": "ADDED", "object": hpa(5, "11:00:00")}, bare)
    ] == [
        5.0,
        3.0,
    ]
    assert SCALING.matches(registry.inspect(tmp_path / "objects.json"))


def test_an_event_without_time_is_kept_with_a_reason(tmp_path: Path) -> None:
    (row,) = rows(SCALING, tmp_path, {**hpa(3, "10:00:00"), "firstTimestamp": None, "lastTimestamp": None})
    assert row[REASONS] == ["ts: the event has no time"]


def test_golden_spot_evictions() -> None:
    frame = SPOT.read(EVENTS_FILE, ReadSettings()).collect()
    columns = ("ts_notice", "ts_lost", "kind", "instance_id", "zone", "gpu_count", "source_row")
    assert frame.select(columns).rows() == [
        (at(12), at(12, 2), "interruption", "ip-10-0-0-1.example", None, None, 16),
        (at(11, 55), at(11, 55), "rebalance", "gpu-spot-new01", None, None, 18),
        (at(13), at(13, 2), "interruption", "i-0aaaaaaaaaaaaaaa9", "us-east-2a", 4.0, 19),
    ]
    assert set(frame["provider"]) == {"aws"}
    assert frame[NOTES].to_list()[2] == [
        "ts_lost: two minutes after the notice, as EC2 documents; the event does not tell it",
        "events of pods on interrupted nodes, left out: 1",
        "events of the NodeClaim of an interrupted node, left out: 1",
    ]


def test_trap_karpenter_tells_one_interruption_of_claim_node_and_pods(tmp_path: Path) -> None:
    told = [
        event(k, n, "SpotInterrupted", "", "10:00:00")
        for k, n in (("NodeClaim", "c"), ("Pod", "p"), ("Node", "n"))
    ]
    more = [event(k, f"{k}2", "SpotInterrupted", "", "10:00:00") for k in ("NodeClaim", "Node")]
    apart = event("NodeClaim", "late", "SpotInterrupted", "", "10:05:00")
    found = rows(SPOT, tmp_path, *told, *more, apart)
    assert [r["instance_id"] for r in found] == ["n", "Node2", "late"]


def test_azure_gives_at_least_thirty_seconds(tmp_path: Path) -> None:
    (row,) = rows(SPOT, tmp_path, event("Node", "n", "PreemptScheduled", "", "10:00:00"))
    assert (row["provider"], row["ts_lost"]) == ("azure", at(10, 0, 30))


def test_broken_records_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(
        "\n".join([json.dumps(hpa(3, "10:00:00")), "{broken", "[5]", '{"kind": "Event", "metadata": {}}'])
    )
    scaling, spot = (r.read(path, ReadSettings()).collect()[REASONS].to_list() for r in (SCALING, SPOT))
    assert [bool(r) for r in scaling] == [False, True, True, True]
    assert spot == []


def test_gzip_and_cut_files(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.json.gz", tmp_path / "cut.json"
    whole.write_bytes(gzip.compress(EVENTS_FILE.read_bytes()))
    wanted = SCALING.read(EVENTS_FILE, ReadSettings()).collect()
    assert SCALING.read(whole, ReadSettings()).collect().equals(wanted)
    cut.write_text(EVENTS_FILE.read_text()[:-500])
    with pytest.raises(InputError, match=r"cut\.json: is not JSON"):
        SCALING.read(cut, ReadSettings()).collect()


@pytest.mark.parametrize(
    "key", ["involvedObject", "metadata", "message", "firstTimestamp", "count", "series"]
)
@pytest.mark.parametrize("value", [None, 5, "x", [], {"count": []}, {"name": {}}, 10**30])
def test_odd_events_never_fail(tmp_path: Path, key: str, value: Any) -> None:
    good = hpa(7, "12:00:00", "good")
    for reader in (SCALING, SPOT):
        found = rows(reader, tmp_path, {**hpa(3, "10:00:00"), key: value}, good)
        assert reader is SPOT or "good" in [r["pool_id"] for r in found]
