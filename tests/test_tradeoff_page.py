"""The decision as a page, at the command line and in JupyterLab: all three say what Python says."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import open_page
from typer.testing import CliRunner

from finops_lab.charts.decided import decision_lines, decision_planes, decision_sliders, payback_lines
from finops_lab.cli import app
from finops_lab.errors import InputError
from finops_lab.reporting.tradeoff_page import tradeoff_page
from finops_lab.tradeoffs.decide import decide
from finops_lab.widgets import DecisionSliders

POINTS = pl.DataFrame(
    {
        "model": ["larch"] * 4,
        "variant": ["fp32", "int8", "int4", "fp16"],
        "per_1000_inferences": [1.0, 0.48, 0.42, 0.9],
        "BillingCurrency": "USD",
        "quality_metric": "accuracy",
        "quality": [0.846, 0.844, 0.83, 0.846],
        "quality_n": 5000,
        "p95_ms": [120.0, 60.0, 70.0, 90.0],
        "memory_mib": [900.0, 300.0, 200.0, 450.0],
    }
)
RUNNER = CliRunner()


def test_the_page_is_the_same_each_time_and_decides_in_the_browser(tmp_path: Path) -> None:
    decision = decide(
        POINTS, max_p95_ms=100, max_quality_loss=0.005, monthly_inferences=3e7, migration_amount=12_000
    )
    text = tradeoff_page(decision, [decide(POINTS)], monthly_inferences=3e7, source="a <b>file</b>")
    assert text == tradeoff_page(decision, [decide(POINTS)], monthly_inferences=3e7, source="a <b>file</b>")
    assert "Source: a &lt;b&gt;file&lt;/b&gt;." in text
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    with open_page(path) as visit:
        page = visit.page
        page.wait_for_function("document.documentElement.dataset.charts === 'live'", timeout=20_000)

        def told() -> str:
            texts = page.locator("figure").first.locator("svg text").all_text_contents()
            return next(text for text in texts if text.startswith(("Run ", "No variant")))

        assert told() == "Run int8: $14,400 a month, 47% less than fp16"
        slider = page.locator("input[name=max_quality_loss]")
        slider.fill("0.02")
        page.wait_for_timeout(200)
        assert told() == "Run int4: $12,600 a month, 53% less than fp16"
        page.locator("input[name=max_p95_ms]").fill("50")
        page.wait_for_timeout(200)
        assert told() == "No variant is within these limits."
        assert visit.outside == [] and visit.errors == []
    assert visit.outside == []


def test_charts_of_a_decision_say_what_was_decided() -> None:
    decision = decide(POINTS, max_p95_ms=100, max_quality_loss=0.005, migration_amount=520)
    planes = decision_planes(decision).to_dict()
    assert planes["title"]["subtitle"].startswith("Chosen: int8")
    assert "3 within 100 ms" in planes["description"]
    assert "4 variants on 4 axes" in decision_lines(decision).to_dict()["description"]
    told = payback_lines(decision, monthly_inferences=1e6).to_dict()["description"]
    assert told == "Moving from fp16 to int8 costs $520 once and pays from 1.2M inferences on."
    with pytest.raises(InputError, match="no break-even"):
        payback_lines(decide(POINTS))
    unknown = decide(POINTS.with_columns(quality=pl.lit(None, dtype=pl.Float64)))
    with pytest.raises(InputError, match="no model has a reference"):
        decision_sliders([unknown])


def test_a_metric_that_its_name_turns_is_drawn_its_own_way() -> None:
    worse = POINTS.with_columns(quality_metric=pl.lit("perplexity"), quality=pl.col("quality") + 5)
    decision = decide(worse)
    assert decision.chosen is not None and decision.chosen["variant"] == "int4"
    # int4 is cheapest and has the lowest perplexity; only int8 is quicker.
    assert "2 on the Pareto front" in decision_planes(decision).to_dict()["description"]
    assert "Perplexity: int4 is best" in decision_lines(decision).to_dict()["description"]


def test_twins_are_drawn_apart() -> None:
    twins = POINTS.head(2).with_columns(variant=pl.lit("a"), precision=pl.Series(["fp32", "int8"]))
    assert "a int8 is best" in decision_lines(decide(twins)).to_dict()["description"]


def places(text: str) -> dict[str, float]:
    """Return the place of each variant that the sliders choose from; below zero: never chosen."""
    rows = [json.loads(row) for row in re.findall(r'\{[^{}]*"order"[^{}]*\}', text) if '"against"' in row]
    return {row["variant"]: row["order"] for row in rows}


def test_the_page_keeps_to_limits_that_have_no_slider() -> None:
    limits: dict[str, Any] = {"baseline": "fp32", "max_memory_mib": 500}
    spec = decision_sliders([decide(POINTS, **limits)], max_monthly=13_000, monthly_inferences=3e7).to_dict()
    text = json.dumps(spec)
    # The reference is drawn, but takes too much memory to be run.
    assert places(text) == {"fp32": -1, "int4": 1, "int8": 2, "fp16": 3}
    assert "datum.monthly <= 13000" in text


def test_the_command_gives_the_page_what_has_no_slider(tmp_path: Path) -> None:
    file, page = tmp_path / "v.csv", tmp_path / "page.html"
    POINTS.with_columns(quality=pl.Series([0.9, 0.9, 0.1, 0.9])).write_csv(file)
    asked = ["--objective", "cost_per_success", "--max-memory-mib", "400", "--html", str(page)]
    done = RUNNER.invoke(app, ["tradeoff", str(file), *asked])
    assert done.exit_code == 0 and "Run larch int8" in done.output
    # By cost alone int4 would be first; fp32 and fp16 take too much memory.
    assert places(page.read_text(encoding="utf-8")) == {"fp32": -1, "fp16": -1, "int8": 1, "int4": 2}


def test_chances_of_the_front_are_drawn_as_opacity() -> None:
    chances = POINTS.select("model", "variant", p_on_front=pl.Series([0.3, 1.0, 0.9, 0.6]))
    text = json.dumps(decision_planes(decide(POINTS), chances=chances).to_dict())
    assert '"solid": 0.6' in text and '"solid": 0.3' in text


def test_the_command_says_and_writes_what_decide_says(tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    POINTS.write_csv(file)
    asked = [
        "--max-p95-ms",
        "100",
        "--max-quality-loss",
        "0.005",
        "--monthly-inferences",
        "3e7",
        "--migration",
        "12000",
    ]
    outs = ["--json", str(tmp_path / "d.json"), "--html", str(tmp_path / "d.html")]
    done = RUNNER.invoke(app, ["tradeoff", str(file), *asked, *outs])
    assert done.exit_code == 0, done.output
    decision = decide(
        POINTS,
        max_p95_ms=100,
        max_quality_loss=0.005,
        monthly_inferences=3e7,
        migration_amount=Decimal(12000),
    )
    assert done.output.count(decision.explain()) == 1
    assert all(done.output.count(note) == 1 for note in decision.notes)
    assert "Which variant at which P95" in done.output
    kept = json.loads((tmp_path / "d.json").read_text())
    assert kept["chosen"]["variant"] == "int8" and kept["break_even"]["inferences"] == 28_571_429
    assert "Which variant to run" in (tmp_path / "d.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.html", "d.json", "v.csv"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "lark"], "did you mean 'larch'"),
        (["--migration", "much"], "--migration must be an amount such as 4000"),
        (["--migration", "-1"], "--migration must be an amount from 0 up"),
        (["--lab", "x", "--month", "2026-10"], "--month and --months are for labs"),
        (["--months", "2"], "--month and --months are for labs"),
    ],
)
def test_bad_parameters_are_told(tmp_path: Path, arguments: list[str], says: str) -> None:
    file = tmp_path / "v.csv"
    POINTS.write_csv(file)
    done = RUNNER.invoke(app, ["tradeoff", str(file), *arguments])
    assert isinstance(done.exception, InputError) and says in str(done.exception)


def test_a_lab_of_ones_own_needs_its_month(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["tradeoff", "--lab", str(tmp_path)])
    assert "a lab needs --month" in str(done.exception)


def test_several_models_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "v.parquet"
    pl.concat([POINTS, POINTS.with_columns(model=pl.lit("alder"))]).write_parquet(file)
    done = RUNNER.invoke(app, ["tradeoff", str(file)])
    assert "several models: alder, larch. Hint: choose one with --model" in str(done.exception)
    assert "Run alder int4" in RUNNER.invoke(app, ["tradeoff", str(file), "--model", "alder"]).output


def test_sliders_of_jupyterlab_decide_as_decide() -> None:
    sliders = DecisionSliders(POINTS, max_quality_loss=0.005, monthly_inferences=3e7, migration_amount=12_000)
    assert sliders.decision is not None and sliders.decision.chosen is not None
    assert sliders.decision.chosen["variant"] == "int8" and "Run larch int8" in sliders.parts["said"].value
    sliders.controls["max_quality_loss"].value = 0.02
    assert sliders.decision.chosen["variant"] == "int4"
    sliders.controls["max_p95_ms"].value = 10.0
    assert sliders.decision.chosen is None
    sliders.controls["reset"].click()
    assert sliders.decision.chosen["variant"] == "int8"
    assert sliders.controls["max_p95_ms"].value == 200.0 and "int4" in sliders.parts["table"].value
    with pytest.raises(InputError, match="no variants to decide between"):
        DecisionSliders(POINTS.clear())


def test_sliders_say_why_nothing_can_be_decided() -> None:
    two = [POINTS.with_columns(workload=pl.lit(name)) for name in ("short", "long")]
    sliders = DecisionSliders(pl.concat(two))
    assert sliders.decision is None and 'role="alert"' in sliders.parts["said"].value
