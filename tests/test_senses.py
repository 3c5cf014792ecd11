"""Directions of quality metrics: names as tools write them, and mixtures that must be refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab.errors import InputError
from finops_lab.tradeoffs.senses import one_sense, sense_of

HIGHER = (
    "accuracy|Top-1 accuracy|top1|top-5|acc@1|acc,none|acc_norm,none|exact_match,strict-match|ExactMatch|ROUGE1|"
    "rouge-L|RougeLsum|mAP|mAP@0.5|mAP50-95|mIoU|F1|f1 score|F1-macro|BLEU|spearman's rho|pass@1|recall@10|AUC|"
    "mean average precision|R2|MMLU accuracy (5-shot)|success_rate|log likelihood"
)
LOWER = (
    "perplexity|word_perplexity,none|WikiText PPL|loss|val_loss|accuracy_loss|top1 error|WER|word_error_rate|cer|"
    "error_rate|MSE|rmse|Mean Squared Error|negative log likelihood|bits-per-byte|accuracy drop|ECE"
)
UNKNOWN = (
    "|vibes|DROP|1 - WER|1-error|100 - WER|100% - WER|one minus wer|-loss|\N{MINUS SIGN}loss|neg_log_loss|"
    "inverse perplexity|accuracy ratio|error reduction|latency of accuracy jobs|score"
)


@pytest.mark.parametrize("name", HIGHER.split("|"))
def test_names_that_are_better_when_higher(name: str) -> None:
    assert sense_of(name) is True


@pytest.mark.parametrize("name", LOWER.split("|"))
def test_names_that_are_better_when_lower(name: str) -> None:
    assert sense_of(name) is False


@pytest.mark.parametrize("name", UNKNOWN.split("|"))
def test_names_that_tell_nothing(name: str) -> None:
    assert sense_of(name) is None


def points(*rows: tuple[str | None, float | None, bool | None]) -> pl.DataFrame:
    schema = {"quality_metric": pl.String, "quality": pl.Float64, "higher_is_better": pl.Boolean}
    keys = [pl.lit("m").alias("model"), pl.format("v{}", pl.int_range(pl.len())).alias("variant")]
    return pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(keys)


@pytest.mark.parametrize(
    ("frame", "want"),
    [
        (points(("accuracy", 0.9, True), ("accuracy", 0.8, None)), ("accuracy", True)),
        (points(("Top1", 0.9, None), (" top1", 0.8, None)), ("Top1", True)),
        (points(("perplexity", 9.0, None)), ("perplexity", False)),
        (points(("vibes", 9.0, False), ("vibes", 8.0, None)), ("vibes", False)),
        (points((None, 0.9, True)), ("quality", True)),
        # What has no value cannot be compared, so it cannot be compared wrongly.
        (points(("accuracy", 0.9, True), ("perplexity", None, False)), ("accuracy", True)),
        (points(("accuracy", 0.9, True), ("perplexity", math.nan, False)), ("accuracy", True)),
        (points(("accuracy", 0.9, None)).select("quality_metric", "quality"), ("accuracy", True)),
    ],
)
def test_one_metric_has_one_direction(frame: pl.DataFrame, want: tuple[str, bool]) -> None:
    assert one_sense(frame) == want


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            points(("accuracy", 0.9, True), ("perplexity", 9.0, False)),
            r"different metrics .* accuracy in row 1 \(m/v0\); perplexity in row 2 \(m/v1\)",
        ),
        (points(("accuracy", 0.9, True), (None, 0.8, True)), r"no name in row 2"),
        (points(("accuracy", 0.9, True), ("top1", 0.8, True)), "different metrics"),
        (
            points(*[("vibes", 0.9, True)] * 5, ("vibes", 0.8, False)),
            r"true in .* and 2 more; false in row 6",
        ),
        (points(("Perplexity", 9.0, True)), r"'Perplexity' is better when lower, .* true in row 1 \(m/v0\)"),
        (
            points(("accuracy", 0.9, None), ("accuracy", 0.9, False)),
            r"better when higher, .* in row 2 \(m/v1\)",
        ),
        (points(("vibes", 9.0, None)), "nothing tells which way 'vibes' is better"),
        (points((None, 9.0, None)), "nothing tells which way 'quality' is better"),
        (points(("accuracy", None, True)), "no row has a quality"),
        (points(("accuracy", 0.9, True)).drop("quality"), "no column 'quality'"),
    ],
)
def test_what_cannot_be_compared_is_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        one_sense(frame)


def test_measured_outcomes_have_their_own_columns() -> None:
    outcomes = pl.DataFrame({"metric": ["accuracy"], "item": [1], "value": [1.0], "higher_is_better": [True]})
    assert one_sense(outcomes, metric="metric", value="value") == ("accuracy", True)


def test_published_perplexities_among_accuracies_are_refused(shared_data: Path) -> None:
    file = shared_data / "tradeoff" / "neural_compressor" / "int8_vs_fp32_accuracy_throughput.csv"
    if not file.exists():
        pytest.skip("the Neural Compressor table is not beside this checkout")
    pairs = pl.read_csv(file)
    kind: Any = pl.when("lower_better").then(pl.lit("perplexity")).otherwise(pl.lit("accuracy"))
    mixed = pairs.select(kind.alias("quality_metric"), pl.col("acc_int8").alias("quality"))
    with pytest.raises(InputError, match="perplexity in row 122, row 159, row 160 and 2 more"):
        one_sense(mixed)
    assert one_sense(mixed.filter(~pairs["lower_better"])) == ("accuracy", True)
    assert one_sense(mixed.filter(pairs["lower_better"])) == ("perplexity", False)
