"""Published sets: real files against known figures, and every trap planted by hand.

Files of MLPerf and ML.ENERGY are not shipped: their fixtures are made from documentation, with the
fields of the published files and invented figures.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.errors import InputError
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.points import POINTS
from finops_lab.tradeoffs.published import FINDINGS, PAIRS, Published, read_published, readers
from finops_lab.tradeoffs.published.answered import Answered
from finops_lab.tradeoffs.published.results import NAMES
from finops_lab.tradeoffs.published.texts import html_tables, number, pipe_tables
from finops_lab.tradeoffs.senses import one_sense, sense_of

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
# The readers of this file; others may stand beside them.
OWN = (
    "autoround", "frugalgpt", "llamacpp", "ml_energy", "mlperf", "modelopt", "neural_compressor", "onnx_zoo",
    "timm", "torchvision",
)  # fmt: skip


@pytest.fixture(scope="module")
def sets(shared_data: Path) -> Path:
    folder = shared_data / "tradeoff"
    if not folder.is_dir():
        pytest.skip("no published sets beside this checkout (shared/data/tradeoff)")
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def found(read: Published, finding: str) -> list[tuple[int | None, int]]:
    """Return first row and number of rows of each finding of a kind."""
    return read.findings.filter(finding=finding).select("row", "rows").rows()


# ---------------------------------------------------------------- every set


@pytest.mark.parametrize(
    ("folder", "kind", "points", "pairs"),
    [
        ("neural_compressor", "neural_compressor", 334, 167),
        ("llamacpp", "llamacpp", 46, 0),
        ("torchvision", "torchvision", 256, 28),
        ("frugalgpt", "frugalgpt", 89, 0),
        ("modelopt", "modelopt", 90, 68),
        ("autoround", "autoround", 3170, 2414),
        ("onnx_models", "onnx_zoo", 0, 32),
    ],
)
def test_a_folder_is_recognised_and_read(sets: Path, folder: str, kind: str, points: int, pairs: int) -> None:
    read = read_published(sets / folder)
    assert read.source["kind"] == kind
    assert read.source["licence"] and read.source["files"]
    assert (read.points.height, read.pairs.height) == (points, pairs)
    assert list(read.points.schema.items())[: len(POINTS)] == list(POINTS.items())
    assert read.pairs.schema == PAIRS
    assert read.findings.schema == FINDINGS
    # A direction is never against the metric's name, and never missing beside a quality.
    told = read.points.filter(pl.col("quality").is_not_null()).select("quality_metric", "higher_is_better")
    for metric, up in told.unique().rows():
        assert up is not None
        assert sense_of(metric) in (up, None), metric


def test_the_same_file_gives_the_same_set(sets: Path) -> None:
    first, second = (read_published(sets / "frugalgpt") for _ in range(2))
    assert first.points.equals(second.points)
    assert first.findings.equals(second.findings)


def test_an_unknown_layout_names_the_known_ones(tmp_path: Path) -> None:
    file = write(tmp_path, "table.csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match="no published set") as error:
        read_published(file)
    assert all(kind in str(error.value) for kind in readers())
    with pytest.raises(InputError, match=r"known: .*llamacpp"):
        read_published(file, "lamacpp")
    with pytest.raises(InputError, match="no such file"):
        read_published(tmp_path / "absent")


def test_a_kind_given_wrongly_names_the_column_that_lacks(tmp_path: Path) -> None:
    file = write(tmp_path, "table.csv", "quant,size_gib\nQ8_0,1\n")
    with pytest.raises(InputError, match=r"table\.csv, column bits_per_weight: no such column.*quant, size"):
        read_published(file, "llamacpp")


def test_the_page_names_every_set_and_every_finding() -> None:
    page = (ROOT / "docs" / "published-benchmarks.md").read_text(encoding="utf-8")
    sets_told, traps = page.partition("## The sets")[2].split("## Traps", 1)
    assert set(re.findall(r"^\| `(\w+)` \|", sets_told, re.M)) >= set(OWN)
    told = {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", traps, re.M) for name in re.findall(r"`(\w+)`", cell)
    }
    assert told == NAMES


# ---------------------------------------------------------------- texts


def test_numbers_have_thousands_grouped_by_three() -> None:
    here = {"file": Path("a.md"), "row": 7, "column": "c"}
    assert number("1,013.01", **here) == 1013.01
    assert number("\N{MINUS SIGN}0.3%", **here) == -0.3
    assert [number(blank, **here) for blank in ("", " - ", "NA", "null")] == [None] * 4
    for wrong in ("1,01", "1.013,01", "12,34,567", "fast", "1.2.3", ".", "%"):
        with pytest.raises(InputError, match=r"a\.md, row 7, column c"):
            number(wrong, **here)


def test_html_cells_span_rows_and_columns_and_tags_stay_open(tmp_path: Path) -> None:
    text = (
        "## Speeds\n<table><tr><th rowspan=2>Model<th colspan=2>Accuracy</tr><tr><th>a<th>b</tr>\n"
        "<tr><td rowspan=2>m</td><td>1</td> <! note --><td>2<br>3</td></tr>\n</tr><td>4</td><td>5</td></tr></table>"
    )
    (table,) = html_tables(write(tmp_path, "a.md", text))
    assert (table.heading, table.headers) == ("Speeds", 2)
    assert table.columns == ("Model", "Accuracy a", "Accuracy b")
    assert list(table.body) == [(3, ("m", "1", "2 3")), (4, ("m", "4", "5"))]


def test_pipe_tables_lose_bold_type_links_and_fenced_headings(tmp_path: Path) -> None:
    text = (
        "# Top\n```\n# not a heading\n```\n| | |\n|:--|--:|\n| **Model** | **a** |\n"
        "|[m](https://x.test) | -1 |\n| n |\n\n| x |\n|---|\n"
    )
    first, second = pipe_tables(write(tmp_path, "a.md", text))
    assert (first.heading, first.columns) == ("Top", ("Model", "a"))
    assert list(first.body) == [(8, ("m", "-1")), (9, ("n", ""))]
    assert list(second.body) == []


# ---------------------------------------------------------------- Neural Compressor


def worthwhile(pairs: pl.DataFrame, loss: pl.Expr) -> int:
    return pairs.filter(pl.col("cost_cut") >= 0.3, loss < 0.005).height


@pytest.mark.parametrize("name", ["validated_model_list.md", "int8_vs_fp32_accuracy_throughput.csv"])
def test_104_of_167_pairs_are_worthwhile_in_their_own_direction(sets: Path, name: str) -> None:
    read = read_published(sets / "neural_compressor" / name)
    pairs, loss = read.pairs, pl.col("relative_loss")
    assert pairs.height == 167
    assert pairs.filter(~pl.col("higher_is_better"))["metric"].to_list() == ["perplexity"] * 5
    assert worthwhile(pairs, loss) == 104
    # Read as accuracies, the perplexity rows look like gains.
    assert worthwhile(pairs, pl.when("higher_is_better").then(loss).otherwise(-loss)) == 106
    # Eight rows of the Keras section are the TensorFlow section's, to the last digit.
    once = pairs.filter(pl.col("note").is_null())
    assert (once.height, worthwhile(once, loss)) == (159, 96)
    assert [rows for _, rows in found(read, "copied")] == [8]
    assert [rows for _, rows in found(read, "perplexity")] == [5]
    with pytest.raises(InputError, match="different metrics"):
        one_sense(read.points)


def test_the_table_and_its_csv_agree(sets: Path) -> None:
    read = read_published(sets / "neural_compressor")
    assert read.source["files"] == "int8_vs_fp32_accuracy_throughput.csv, validated_model_list.md"
    assert found(read, "disagrees") == []
    assert found(read, "ratio_missing") == [(4, 39)]
    own = pl.read_csv(sets / "neural_compressor" / "int8_vs_fp32_accuracy_throughput.csv")
    assert read.pairs["cost_cut"].to_list() == pytest.approx(own["cost_cut"].to_list())
    assert (read.pairs["relative_loss"] * 100).to_list() == pytest.approx(own["rel_loss"].to_list(), abs=1e-9)
    twice = read.points.filter(model="ResNet50 (2)")
    assert twice["quality"].to_list() == [78.12, 78.07]
    assert found(read, "same_name") == [(37, 1)]


NC_HEAD = "section,model,example,acc_int8,acc_fp32,tput_int8,tput_fp32,lower_better,acc_ratio_pct\n"


def test_pairs_by_hand(tmp_path: Path) -> None:
    text = NC_HEAD + 's,net,pb,74,75,"2,000",1000,false,-1.33\ns,GPT2 WikiText,pb,33,30,15,10,false,\n'
    read = read_published(write(tmp_path, "a.csv", text))
    accuracy, perplexity = read.pairs.rows(named=True)
    assert (accuracy["cost_cut"], accuracy["relative_loss"]) == (0.5, pytest.approx(1 / 75))
    assert perplexity["relative_loss"] == pytest.approx(0.1)
    assert (perplexity["metric"], perplexity["higher_is_better"]) == ("perplexity", False)
    assert read.points.filter(model="net")["per_1000_inferences"].to_list() == [1.0, 0.5]
    assert read.points["cost_basis"].unique().to_list() == ["relative"]
    # The file marks the perplexity as an accuracy: the data set is believed, and the conflict said.
    assert found(read, "disagrees") == [(2, 1)]
    assert found(read, "commas") == [(1, 1)]
    assert found(read, "ratio_missing") == [(2, 1)]


def test_a_csv_that_is_not_its_table_is_said(sets: Path, tmp_path: Path) -> None:
    for file in (sets / "neural_compressor").iterdir():
        text = file.read_text(encoding="utf-8").replace(",74.11,", ",75.11,")
        write(tmp_path, file.name, text)
    assert found(read_published(tmp_path), "disagrees") == [(1, 1)]


def test_a_faulty_figure_is_found_by_file_row_and_column(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", NC_HEAD + 's,a,pb,74,75,2,1,false,\ns,b,pb,74,75,"1,2",1,false,\n')
    with pytest.raises(InputError, match=r"a\.csv, row 2, column tput_int8: '1,2' is no number.*1,013\.01"):
        read_published(file)


# ---------------------------------------------------------------- timm


def test_34_of_1556_models_are_on_timms_front(sets: Path) -> None:
    read = read_published(sets / "timm" / "benchmark-infer-amp-nchw-pt291-cu130-5090.csv")
    top1 = read.points.filter(quality_metric="top1")
    assert top1.height == 1556
    assert one_sense(top1) == ("top1", True)
    assert pareto(top1, minimise=["per_1000_inferences"], maximise=["quality"]).sum() == 34
    assert (
        pareto(top1, minimise=["per_1000_inferences", "params_millions"], maximise=["quality"]).sum() == 151
    )
    assert set(top1.select("precision", "hardware", "serving").unique().rows()) == {
        ("amp", "RTX 5090", "PyTorch 2.9.1, CUDA 13.0, nchw, eager")
    }
    # Two models with more than a thousand million parameters are written with a comma.
    assert found(read, "commas") == [(3, 5)]
    assert top1["params_millions"].max() == 1282.6
    assert found(read, "no_speed") == []


def test_a_run_that_failed_is_dropped_and_counted(sets: Path) -> None:
    read = read_published(sets / "timm" / "benchmark-infer-amp-nchw-pt210-cu121-rtx3090.csv")
    assert [rows for _, rows in found(read, "failed_run")] == [2]
    assert read.points["throughput_per_s"].null_count() == 0


def timm(folder: Path, results: str, speeds: str, name: str = "") -> Path:
    write(folder, "results-imagenet.csv", "model,img_size,top1,top5,param_count\n" + results)
    head = "model,infer_img_size,infer_samples_per_sec,infer_batch_size,param_count\n"
    return write(folder, name or "benchmark-infer-fp32-nchw-pt113-cpu-i7_12700h-dynamo.csv", head + speeds)


def test_speed_is_of_the_architecture_at_the_same_image_size(tmp_path: Path) -> None:
    results = 'a.x,224,70,90,"1,000.50"\na.y,224,71,91,1000.5\na.x,288,72,92,1000.5\nb.x,224,60,80,5\na.y,224,0,0,1\n'
    read = read_published(timm(tmp_path, results, "a,224,500,8,1000.5\na,320,100,8,1000.5\na,224,900,8,1\n"))
    rows = read.points.filter(quality_metric="top1").select(
        "model", "variant", "quality", "per_1000_inferences"
    )
    assert rows.rows() == [("a.x", "224px", 70.0, 2.0), ("a.y", "224px", 71.0, 2.0)]
    assert read.points["params_millions"].to_list() == [1000.5] * 4
    assert read.points.item(0, "serving") == "PyTorch 1.13, CPU, nchw, torch.compile"
    assert read.points.item(0, "hardware") == "Core i7-12700H"
    # a.y stands twice in the results, a at 224 twice in the speeds.
    assert found(read, "duplicate") == [(5, 1), (3, 1)]
    assert found(read, "no_speed") == [(3, 2)]
    assert found(read, "no_accuracy") == [(2, 1)]
    assert found(read, "shared_speed") == [(1, 1)]
    assert found(read, "commas") == [(1, 1)]


def test_timm_needs_accuracies_and_a_telling_name(tmp_path: Path) -> None:
    file = timm(tmp_path, "a.x,224,70,90,1\n", "a,224,500,8,1\n", "speeds.csv")
    with pytest.raises(InputError, match="does not say precision"):
        read_published(file)
    (tmp_path / "results-imagenet.csv").unlink()
    with pytest.raises(InputError, match=r"results-imagenet\.csv is not beside it"):
        read_published(file)


def test_accuracies_alone_are_points_without_cost(sets: Path) -> None:
    read = read_published(sets / "timm" / "results-imagenetv2-matched-frequency.csv")
    assert read.points.height == 2 * 1556
    assert read.points["per_1000_inferences"].null_count() == read.points.height
    assert "top1 imagenetv2-matched-frequency" in read.points["quality_metric"].to_list()


# ---------------------------------------------------------------- llama.cpp, torchvision, ONNX zoo


def test_a_copied_row_of_llamacpp_is_noted(sets: Path, tmp_path: Path) -> None:
    read = read_published(sets / "llamacpp")
    assert found(read, "copied") == [(17, 1)]
    noted = read.points.filter(pl.col("note").is_not_null())
    assert set(noted.select("variant", "note").rows()) == {
        ("Q4_K_S", "speeds are those of IQ4_NL: a copied row")
    }
    eight = read.points.filter(variant="Q8_0", workload="tg128").row(0, named=True)
    assert eight["per_1m_tokens"] == pytest.approx(1e6 / 50.93)
    assert eight["per_1000_inferences"] == pytest.approx(128_000 / 50.93)
    assert eight["size_mib"] == 7.95 * 1024
    # A row said twice is one row.
    (file,) = (sets / "llamacpp").iterdir()
    text = file.read_text(encoding="utf-8")
    again = read_published(write(tmp_path, file.name, text + text.splitlines()[1] + "\n"))
    assert again.points.equals(read.points)
    assert found(again, "duplicate") == [(24, 1)]


def test_8_of_14_int8_weights_of_torchvision_lose_under_half_a_point(sets: Path) -> None:
    pairs = read_published(sets / "torchvision").pairs.filter(metric="top1")
    points = pairs["baseline_quality"] - pairs["variant_quality"]
    assert (pairs.height, (points < 0.5).sum()) == (14, 8)
    assert points.median() == pytest.approx(0.337)


def test_8_of_16_statements_of_a_drop_ratio_are_worthwhile(sets: Path) -> None:
    read = read_published(sets / "onnx_models")
    first = read.pairs.unique("example", keep="first", maintain_order=True)
    file = next((sets / "onnx_models").iterdir())
    said = dict(line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    drops = first.filter(
        pl.col("example").is_in([page for page, text in said.items() if "drop ratio is" in text])
    )
    assert (drops.height, worthwhile(drops, pl.col("relative_loss"))) == (16, 8)
    assert (first.height, worthwhile(first, pl.col("relative_loss"))) == (22, 9)
    slower = first.filter(pl.col("cost_cut") < 0)
    assert slower["model"].to_list() == ["bidirectional_attention_flow"]
    # A decline of 0.0058 mAP is no relative loss; a rising error is a loss.
    assert found(read, "absolute") == [(19, 2)]
    assert first.filter(pl.col("relative_loss").is_null())["model"].to_list() == ["mask-rcnn", "yolov3"]
    assert first.filter(model="shufflenet").select("metric", "higher_is_better").row(0) == (
        "top1 error",
        False,
    )


# ---------------------------------------------------------------- FrugalGPT


def test_frugalgpt_merges_budgets_and_mends_units(sets: Path) -> None:
    read = read_published(sets / "frugalgpt")
    run = read.points.filter(workload="HEADLINES (run)")
    # Total dollars stand beside dollars per query; seventeen accuracies are one placeholder.
    single = run.filter(model="gpt-4o-mini").row(0, named=True)
    assert single["per_1000_inferences"] == pytest.approx(0.16567335 / 5)
    assert single["BillingCurrency"] == "USD"
    assert (0.1 not in run["quality"].to_list()) and (run.height == 8)
    assert [rows for _, rows in found(read, "placeholder")] == [17, 17]
    assert [rows for _, rows in found(read, "total")] == [5, 5]
    cascades = run.filter(model="FrugalGPT")["variant"].to_list()
    assert cascades == ["budget 3.5e-05", "budget 0.000223", "budget 0.00041 to 0.0036"]
    # The two series agree on what a model costs.
    summary = read.points.filter(workload="HEADLINES (summary)", model="gpt-4o-mini")
    assert summary["per_1000_inferences"].item() == pytest.approx(single["per_1000_inferences"])
    assert found(read, "above_budget") == [(1, 3)]


def test_frugalgpt_reads_with_and_without_row_numbers(tmp_path: Path) -> None:
    head = "Test_acc,Test_cost,Test_size,Train_acc,Train_cost,Train_size,Budget,Method,Provider,Marker\n"
    rows = [
        "0.9,0.001,100,0.9,0.001,100,10,m,p,1",
        "0.8,0.0005,100,0.8,0.0004,100,0.0004,FrugalGPT,FrugalGPT,1",
    ]
    plain = read_published(write(tmp_path, "summary_TASK_e1.csv", head + "\n".join(rows)))
    numbered = "," + head + "\n".join(f"{i},{row}" for i, row in enumerate(rows))
    assert read_published(write(tmp_path, "summary_TASK_e2.csv", numbered)).points.equals(plain.points)
    assert plain.points["per_1000_inferences"].to_list() == [1.0, 0.5]
    with pytest.raises(InputError, match="tells no task"):
        read_published(write(tmp_path, "other.csv", head + rows[0]))


# ---------------------------------------------------------------- answers of every query


def test_answers_are_averaged_by_model(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "model": ["weak", "strong"] * 2,
            "variant": pl.Series([None] * 4, dtype=pl.String),
            "quality": [0.0, 1.0, 1.0, 1.0],
            "quality_metric": ["accuracy"] * 4,
            "input_tokens": [30, 30, 60, 60],
            "output_tokens": [0, 10, 10, 0],
            "amount": [Decimal(text) for text in ("0.0001", "0.002", "0.0003", "0.004")],
        }
    )
    reader = Answered("kind", "files", lambda path: True, lambda path: rows)
    read = reader.read(tmp_path / "exam.csv")
    figures = read.points.select(
        "model", "workload", "quality", "quality_n", "per_1000_inferences", "per_1m_tokens"
    )
    assert figures.rows() == [("weak", "exam", 0.5, 2, 0.2, 4.0), ("strong", "exam", 1.0, 2, 3.0, 60.0)]
    assert found(read, "assumed") == [(None, 0)]


@pytest.mark.skipif("routellm" not in readers(), reason="no reader of RouteLLM")
def test_routellm_models_answer_as_published(sets: Path) -> None:
    strong, weak = read_published(sets / "routellm" / "mmlu").points.sort("model").rows(named=True)
    assert (strong["quality_n"], round(strong["quality"], 3), round(weak["quality"], 3)) == (
        14042,
        0.806,
        0.681,
    )
    strong, weak = (
        read_published(sets / "routellm" / "gsm8k_responses.csv").points.sort("model").rows(named=True)
    )
    # Dollars for a right answer, at the assumed prices and four characters to a token.
    assert strong["per_1000_inferences"] / strong["quality"] / 1000 == pytest.approx(0.004347, abs=1e-6)
    assert weak["per_1000_inferences"] / weak["quality"] / 1000 == pytest.approx(0.000126, abs=1e-6)


# ---------------------------------------------------------------- ModelOpt, AutoRound


def test_modelopt_is_compared_per_gpu(sets: Path) -> None:
    read = read_published(sets / "modelopt")
    big = read.pairs.filter(model="Llama3.1-70B", variant="FP8", section="1.1 Performance, batch 1")
    # BF16 runs on two GPUs: 43.46 tokens per second on one are 1.90 times as many per GPU.
    assert 1 / (1 - big["cost_cut"].item()) == pytest.approx(43.46 / (45.81 / 2))
    assert (big["metric"].item(), big["relative_loss"].item()) == ("MMLU", 0.0038)
    assert found(read, "per_gpu") == [(26, 9)]
    assert found(read, "disagrees") == []
    commas = read.points.filter(model="Llama3.1-8B", variant="BF16", workload="batch 64")
    assert commas["per_1m_tokens"].item() == pytest.approx(1e6 / 1679.74)
    assert [rows for _, rows in found(read, "commas")] == [2, 3]
    # Speed and MMLU of the same machine stand on the page for Windows.
    phi = read.pairs.filter(model="Phi3.5-mini-Instruct", section="1.1 Performance Comparison")
    assert phi["cost_cut"].item() == pytest.approx(1 - 1 / 2.51)
    assert phi["relative_loss"].item() == pytest.approx((68.9 - 65.7) / 68.9)
    perplexity = read.pairs.filter(
        metric="perplexity", variant="Pure INT4 RTN-MO", model="Llama 3.2 1B Instruct"
    )
    assert perplexity["relative_loss"].item() == pytest.approx((16.9 - 12.631) / 12.631)
    assert found(read, "blank") == [(64, 4)]


def test_a_speed_up_that_does_not_follow_is_said(sets: Path, tmp_path: Path) -> None:
    text = (sets / "modelopt" / "benchmark.md").read_text(encoding="utf-8").replace("1.90x", "0.95x")
    assert found(read_published(write(tmp_path, "benchmark.md", text)), "disagrees") == [(26, 1)]
    with pytest.raises(InputError, match="no table that is known"):
        read_published(write(tmp_path, "other.md", "# Model Optimizer\n"))


def test_autoround_tells_averages_that_are_none(sets: Path) -> None:
    read = read_published(sets / "autoround")
    paper = read.findings.filter(finding="average", file="paper_acc.md")
    assert paper["row"].to_list() == [1088, 1839]
    for line, cells in (
        row for table in html_tables(sets / "autoround" / "paper_acc.md") for row in table.body
    ):
        if line in (1088, 1839):
            scores = [float(cell) for cell in cells[2:13]]
            assert abs(sum(scores) / 11 - float(cells[13])) > 0.02
    # The fourth table's title says 3 bits, its column 4.5.
    assert read.findings.filter(finding="heading")["file"].to_list() == ["auto_scheme_acc.md"]
    base = read.pairs.filter(model="Qwen3-8B", variant="FP8_BLOCK RTN", metric="gsm8k").row(0, named=True)
    assert base["relative_loss"] == pytest.approx((0.8726 - 0.8704) / 0.8726)
    assert read.pairs.filter(metric="wikitext2 ppl")["higher_is_better"].any() is False
    # Shares of the unquantised score stand behind some scores.
    assert read.points.filter(model="Qwen3-32B", variant="Ours 6-bit")["quality"].to_list() == [0.7303]


# ---------------------------------------------------------------- MLPerf (from documentation)


def result(**more: Any) -> Row:
    row: Row = {"ID": "9.9-0001", "Submitter": "S", "Category": "closed", "Suite": "datacenter"}
    row |= {"System": "box", "Platform": "box_trt", "UsedModel": "llm-99", "Model": "llm-99"}
    row |= {"Scenario": "Offline", "Accuracy": "ROUGE1: 44.5  ROUGE2: 22.0  TOKENS_PER_SAMPLE: 250.0"}
    row |= {
        "Nodes": 1,
        "Processor": "CPU",
        "Accelerator": "GPU",
        "a#": 8,
        "p#": 2,
        "errors": 0,
        "inferred": 0,
    }
    row |= {"has_power": False, "weight_data_types": "fp8", "Performance_Result": 5000.0}
    return row | {"Performance_Units": "Tokens/s"} | more


IMAGES: Row = {"UsedModel": "mobilenet-8bit", "Model": "resnet", "Suite": "edge", "Category": "open"}
IMAGES |= {"Accuracy": "acc: 71.250", "Performance_Units": "Samples/s", "Accelerator": "", "a#": ""}
IMAGES |= {"Performance_Result": 200.0, "weight_data_types": "uint8"}


def summary(folder: Path, *rows: Row) -> Published:
    return read_published(write(folder, "summary_results.json", json.dumps(rows)))


def test_mlperf_tokens_become_inferences(tmp_path: Path) -> None:
    read = summary(tmp_path, result())
    assert read.source["kind"] == "mlperf"
    assert read.points["quality_metric"].to_list() == ["ROUGE1", "ROUGE2"]
    first = read.points.row(0, named=True)
    assert (first["model"], first["variant"], first["hardware"]) == ("llm-99", "fp8", "8 x GPU")
    assert (first["workload"], first["serving"]) == ("datacenter Offline", "S, box_trt, closed")
    assert (first["throughput_per_s"], first["per_1000_inferences"], first["per_1m_tokens"]) == (
        20.0,
        50.0,
        200.0,
    )
    assert (first["quality"], first["higher_is_better"]) == (44.5, True)
    assert read_published(tmp_path).points.equals(read.points)


def test_mlperf_traps(tmp_path: Path) -> None:
    rows = [
        result(),
        result(UsedModel="llm-99.9", Model="llm-99.9"),  # 2: the same run at another bar
        result(**IMAGES),
        result(**IMAGES, Platform="9f3c", ID="9.9-0002"),  # 4: submitted twice
        result(**{**IMAGES, "UsedModel": "b", "weight_data_types": "UNSET"}),
        result(**{**IMAGES, "UsedModel": "c", "Accuracy": "see the log"}),
        result(**{**IMAGES, "UsedModel": "d", "Accuracy": "CLIP_SCORE: 31.8  FID_SCORE: 23.6"}),
        result(Scenario="Interactive", Performance_Units="Queries/s"),  # 8: tokens, said to be queries
        result(**{**IMAGES, "UsedModel": "e", "inferred": 1, "errors": 2, "Accuracy": "QUALIA: 0.5"}),
        result(**{**IMAGES, "UsedModel": "f", "Accuracy": "mAP: 1,234.5"}),
    ]
    read = summary(tmp_path, *rows)
    assert found(read, "duplicate") == [(4, 1)]
    assert found(read, "copied") == [(2, 1)]
    assert found(read, "unset") == [(5, 1)]
    assert found(read, "free_text") == [(6, 1)]
    assert found(read, "unit") == [(8, 1)]
    assert found(read, "inferred") == found(read, "errors") == found(read, "direction") == [(9, 1)]
    by = {row["variant"]: row for row in read.points.filter(model="resnet").rows(named=True)}
    assert by["mobilenet-8bit"]["serving"] == "S, box_trt, open"
    assert by["mobilenet-8bit"]["hardware"] == "2 x CPU"
    assert by["mobilenet-8bit"]["per_1000_inferences"] == 5.0
    assert (by["b"]["precision"], by["b"]["note"]) == (None, "precision unset")
    assert (by["c"]["quality"], by["c"]["note"]) == (None, "accuracy is said to be 'see the log'")
    assert by["e"]["higher_is_better"] is None
    assert by["e"]["note"] == "inferred from another scenario; 2 errors of the submission checker"
    assert by["f"]["quality"] == 1234.5
    clip = read.points.filter(variant="d").select("quality_metric", "higher_is_better").rows()
    assert clip == [("CLIP_SCORE", True), ("FID_SCORE", False)]
    queries = read.points.filter(workload="datacenter Interactive")
    assert queries["throughput_per_s"].null_count() == queries["per_1000_inferences"].null_count() == 2
    assert queries["note"].to_list() == ["5000 Queries/s is doubtful"] * 2
    assert read.points.filter(model="llm-99.9")["note"].to_list() == ["the run of llm-99"] * 2


def test_mlperf_latencies_keep_their_percentile(tmp_path: Path) -> None:
    latency = {**IMAGES, "Performance_Units": "Latency (ms)"}
    read = summary(
        tmp_path,
        result(**{**latency, "Scenario": "SingleStream", "Performance_Result": 1.6}),
        result(**{**latency, "Scenario": "MultiStream", "Performance_Result": "19.3"}),
    )
    assert read.points.select("p90_ms", "p95_ms", "p99_ms").rows() == [(1.6, None, None), (None, None, 19.3)]
    assert read.points["per_1000_inferences"].null_count() == 2


def test_mlperf_power_becomes_joules(tmp_path: Path) -> None:
    def power(value: float, unit: str, **more: Any) -> Row:
        measured = {"has_power": True, "Power_Result": value, "Power_Units": unit}
        return result(**{**IMAGES, **measured, **more})

    stream = {"Performance_Units": "Latency (ms)"}
    read = summary(
        tmp_path,
        power(400.0, "Watts"),  # 400 J/s over 200 samples/s
        power(80.0, "millijoules", Scenario="SingleStream", **stream),
        power(80.0, "millijoules", Scenario="MultiStream", **stream),
        power(1.0, "horses", Scenario="Server"),
    )
    assert read.points["energy_j"].to_list() == [2.0, 0.08, 0.01, None]
    assert found(read, "power") == [(4, 1)]


def test_mlperf_errors_name_row_and_field(tmp_path: Path) -> None:
    lacking = {k: v for k, v in result().items() if k != "Accuracy"}
    with pytest.raises(InputError, match=r"summary_results\.json, row 2, column Accuracy: the row lacks it"):
        summary(tmp_path, result(), lacking)
    with pytest.raises(InputError, match=r"row 1, column Performance_Result: 'fast' is no number"):
        summary(tmp_path, result(Performance_Result="fast"))
    file = write(tmp_path, "cut.json", json.dumps([result()])[:-20])
    with pytest.raises(InputError, match=r"is no JSON.*cut short"):
        read_published(file, "mlperf")


# ---------------------------------------------------------------- ML.ENERGY (from documentation)


def setting(**more: Any) -> Row:
    row: Row = {"model_id": "org/llm", "weight_precision": "fp8", "gpu_model": "H100", "num_gpus": 2}
    row |= {"tensor_parallel": 2, "max_num_seqs": 16, "avg_batch_size": 15.9, "avg_power_watts": 1000.0}
    row |= {"energy_per_request_joules": 500.0, "energy_per_token_joules": 0.5, "avg_output_len": 1000.0}
    row |= {
        "output_throughput_tokens_per_sec": 2000.0,
        "median_itl_ms": 8.0,
        "p95_itl_ms": 9.0,
        "p99_itl_ms": 11.0,
    }
    return row | more


def task(folder: Path, *rows: Row, **more: Any) -> Published:
    text = json.dumps({"task": "chat", "task_display_name": "Chat", "configurations": rows} | more)
    return read_published(write(folder, "chat.json", text))


def test_ml_energy_counts_gpu_seconds(tmp_path: Path) -> None:
    read = task(tmp_path, setting(), setting(num_gpus=4, tensor_parallel=4))
    assert read.source["kind"] == "ml_energy"
    two, four = read.points.rows(named=True)
    assert (two["model"], two["variant"], two["hardware"], two["workload"]) == (
        "org/llm",
        "fp8",
        "2 x H100",
        "chat",
    )
    assert two["serving"] == "tensor_parallel 2, max_num_seqs 16"
    assert (two["throughput_per_s"], two["per_1000_inferences"], two["per_1m_tokens"]) == (
        2.0,
        1000.0,
        1000.0,
    )
    assert (four["throughput_per_s"], four["per_1000_inferences"]) == (2.0, 2000.0)
    assert (two["energy_j"], two["power_w"]) == (500.0, 1000.0)
    assert (two["p50_ms"], two["p95_ms"], two["p99_ms"]) == (8.0, 9.0, 11.0)
    assert found(read, "inter_token") == [(1, 2)]
    assert found(read, "no_quality") == [(None, 0)]


def test_ml_energy_traps(tmp_path: Path) -> None:
    read = task(
        tmp_path,
        setting(),
        setting(),  # 2: said twice
        setting(weight_precision=None),
        setting(max_num_seqs=64),  # 4: 16 requests where 64 may run
        setting(avg_power_watts=900.0),  # 5: as the first, other figures
        {k: v for k, v in setting(max_num_seqs=8, avg_batch_size=8).items() if k != "avg_output_len"},
    )
    assert read.points.height == 5
    assert found(read, "duplicate") == [(2, 1)]
    assert found(read, "unset") == [(3, 1)]
    assert found(read, "not_full") == [(4, 1)]
    assert found(read, "same_name") == [(5, 1)]
    assert read.points["note"].to_list() == [None, None, "16 requests ran where 64 may", None, None]
    # Without the length of answers, energy per request over energy per token tells it.
    assert read.points["throughput_per_s"].to_list() == [2.0] * 5


def test_ml_energy_takes_precisions_of_the_index_and_images_and_models(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    write(tmp_path, "index.json", json.dumps({"models": {"org/llm": {"weight_precision": "bfloat16"}}}))
    old = {k: v for k, v in setting().items() if k != "weight_precision"}
    assert task(tmp_path / "tasks", old).points["precision"].to_list() == ["bfloat16"]
    image = {
        "model_id": "org/img",
        "gpu_model": "B200",
        "num_gpus": 1,
        "batch_size": 4,
        "batch_latency_s": 8.0,
    }
    image |= {
        "throughput_images_per_sec": 0.5,
        "energy_per_image_joules": 1500.0,
        "weight_precision": "bfloat16",
    }
    point = task(tmp_path, image).points.row(0, named=True)
    assert (point["per_1000_inferences"], point["energy_j"], point["batch_latency_ms"]) == (
        2000.0,
        1500.0,
        8000.0,
    )
    assert point["p95_ms"] is None
    parts = {"tensor_parallel": 2, "expert_parallel": 1, "data_parallel": 1, "notes": ""}
    one = {k: v for k, v in setting().items() if k not in ("model_id", "weight_precision", "tensor_parallel")}
    model = task(tmp_path, one | {"parallelization": parts}, model_id="org/llm", weight_precision="fp8")
    assert model.points.select("model", "precision", "serving").row(0) == (
        "org/llm",
        "fp8",
        "tensor_parallel 2, expert_parallel 1, data_parallel 1, max_num_seqs 16",
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"gpu_model": None}, "row 1, column gpu_model: the configuration lacks it"),
        ({"p95_itl_ms": "9"}, "row 1, column p95_itl_ms: '9' is no figure"),
        ({"energy_per_request_joules": -1}, "row 1, column energy_per_request_joules: -1 is no figure"),
    ],
)
def test_ml_energy_errors_name_row_and_field(tmp_path: Path, wrong: Row, said: str) -> None:
    with pytest.raises(InputError, match=rf"chat\.json, {said}"):
        task(tmp_path, setting(**wrong))


# ---------------------------------------------------------------- faults that nobody planted

WHOLE = {
    "neural_compressor.csv": NC_HEAD + "s,a,pb,74,75,2,1,false,\ns,WikiText,pb,30,31,2,1,true,\n",
    "neural_compressor.md": "# Validated Models\n### S\n<table><tr><th rowspan=2>Model<th rowspan=2>Example"
    "<th colspan=3>Accuracy<th colspan=3>Speed</tr><tr><th>INT8<th>FP32<th>Accuracy Ratio<th>INT8<th>FP32"
    "<th>Performance Ratio</tr>\n<tr><td>m<td>pb<td>74%<td>75%<td>-1%<td>2,000.5<td>1000<td>2x</tr></table>\n",
    "llamacpp.csv": "quant,bits_per_weight,size_gib,pp512_tps,pp512_sd,tg128_tps,tg128_sd\nQ8,8.5,7.9,9,1,5,1\n",
    "torchvision.csv": "weights,variant,quantized,acc1,acc5,gflops,file_mb\nA_Weights,IMAGENET1K_V1,False,70,90,1,5\n"
    "A_QuantizedWeights,IMAGENET1K_FBGEMM_V1,True,69,89,1,2\n",
    "frugalgpt.csv": "Test_acc,Test_cost,Test_size,Train_acc,Train_cost,Budget,Method,Provider\n"
    "0.9,1,10,0.9,0.1,1,m,p\n",
    "onnx_zoo.tsv": "validated/vision/net/README.md\t> int8 net's Top-1 accuracy drop ratio is 0.3% and performance "
    "improvement is 1.5x.\n",
    "modelopt.md": "# Model Optimizer\n| Model | ONNX FP16 | ONNX INT4 |\n|---|---|---|\n| m | 68.4 | 66.1 |\n",
    "autoround.md": "# AutoRound\n| Scheme | a | Avg. |\n|---|---|---|\n| BF16 | 0.5 | 0.5 |\n| W4 | 0.4 | 0.4 |\n",
    "mlperf.json": json.dumps([result(), result(**IMAGES)]),
    "ml_energy.json": json.dumps({"task": "chat", "configurations": [setting(), setting(num_gpus=4)]}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_smallest_files_are_read(name: str, tmp_path: Path) -> None:
    named = "summary_TASK_e1.csv" if name.startswith("frugalgpt") else name
    read = read_published(write(tmp_path, named, WHOLE[name]))
    assert read.source["kind"] == name.partition(".")[0]
    assert read.points.height + read.pairs.height > 0


@settings(max_examples=100)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_words(data: st.DataObject, tmp_path_factory: Any) -> None:
    name = data.draw(st.sampled_from(sorted(WHOLE)))
    text = WHOLE[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    put = data.draw(
        st.sampled_from(["", "-", ",", "1e999", "x", "null", "\n", '"', "<td>", "|", "0", "\x00", "{}"])
    )
    named = "summary_TASK_e1.csv" if name.startswith("frugalgpt") else name
    file = write(tmp_path_factory.mktemp("damaged"), named, text[:start] + put + text[end:])
    for kind in (None, name.partition(".")[0]):
        try:
            read = read_published(file, kind)
        except InputError as error:
            assert str(error)
        else:
            assert list(read.points.schema.items())[: len(POINTS)] == list(POINTS.items())
            assert read.points.filter(pl.col("per_1000_inferences") <= 0).is_empty()


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400])
def test_figures_beyond_any_measurement_are_refused(tmp_path: Path, number: str) -> None:
    text = re.sub(r'("num_gpus": )\d+', rf"\g<1>{number}", WHOLE["ml_energy.json"], count=1)
    assert text != WHOLE["ml_energy.json"]
    with pytest.raises(InputError, match="column num_gpus"):
        read_published(write(tmp_path, "ml_energy.json", text), "ml_energy")
