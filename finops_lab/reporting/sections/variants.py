"""Trade-offs: cost, accuracy and latency of model variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab import tradeoffs
from finops_lab.calendar import add_months, month_name
from finops_lab.charts import pareto
from finops_lab.money import exact_sum
from finops_lab.reporting.section import Section, money
from finops_lab.tables import money_table

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_MONTHS = 3
_QUALITY = "accuracy"
_NEEDED = {
    "inference_requests": "requests (OTLP/JSON or LiteLLM spend logs)",
    "accuracy_samples": "model evaluations (`accuracy_samples`)",
}


def build(review: Review) -> Section:
    """Build the section."""
    tables = {name: review.lab.table(name) for name in _NEEDED}
    missing = [name for name, t in tables.items() if t.select(pl.len()).collect().item() == 0]
    if missing:
        return Section(
            "tradeoffs",
            "**No comparison of model variants**: the lab has no "
            + " and no ".join(_NEEDED[name] for name in missing)
            + ". Put such exports into `exports/` to compare cost with accuracy and latency.",
            values={"missing": missing},
        )
    first = add_months(review.month, 1 - _MONTHS)
    metrics = (
        tables["accuracy_samples"].select(pl.col("metric").unique().sort()).collect()["metric"].to_list()
    )
    quality = _QUALITY if _QUALITY in metrics else metrics[0]
    found = tradeoffs.variants(
        review.past.lazy(),
        *tables.values(),
        first=first,
        last=review.month,
        metric=review.metric,
        quality=quality,
    )
    span = f"{month_name(first)} to {review.month_name}"
    uncalled = found.filter(pl.col("requests").is_null())
    found = found.filter(pl.col("requests").is_not_null())
    if found.height == 0:
        return Section(
            "tradeoffs",
            f"**No comparison of model variants**: no requests from {span}.",
            values={"missing": ["requests"]},
        )
    return Section(
        "tradeoffs",
        _finding(found),
        (*_chart(review, found, span, quality), _table(review, found, uncalled, span, quality)),
        {"variants": found.to_dicts()},
    )


def _finding(found: pl.DataFrame) -> str:
    known = found.filter(pl.col("on_front").is_not_null())
    front = known.filter(pl.col("on_front"))
    text = (
        f"**{front.height} of {known.height} model variants are on the front**: "
        "no other is at once cheaper, more accurate and faster"
    )
    chosen = tradeoffs.decisions(found, max_quality_loss=0.01)
    chosen = chosen.filter(pl.col("variant").is_not_null() & (pl.col("saving_share") > 0))
    if chosen.height:
        top = chosen.sort("saving_share", "model", descending=[True, False]).row(0, named=True)
        text += (
            f"; the largest saving within one accuracy point is **{top['model']} {top['variant']}**, "
            f"{top['saving_share']:.0%} cheaper per inference than the model's most accurate variant, "
            f"for {top['quality_loss'] * 100:.1f} points of accuracy{_slower(top)}"
        )
    unknown = found.height - known.height
    return text + (f"; {unknown} lack a figure and are not compared." if unknown else ".")


def _slower(top: dict[str, Any]) -> str:
    """Say what the cheaper variant does to latency."""
    now, then = top["slo_ms"], top["reference_slo_ms"]
    return f", with a P95 latency of {now:,.0f} ms against {then:,.0f} ms" if now and then else ""


def _chart(review: Review, found: pl.DataFrame, span: str, quality: str) -> tuple[object, ...]:
    frame = found.filter(pl.col("on_front").is_not_null()).select(
        pl.concat_str("model", "variant", separator=" ", ignore_nulls=True).alias("label"),
        pl.col("model").alias("group"),
        x="per_1000_inferences",
        y="quality",
        size="p95_ms",
        on_front="on_front",
    )
    if frame.height == 0:
        return ()
    return (
        pareto(
            frame,
            title="Cost, accuracy and latency of model variants",
            subtitle=span,
            x_title=f"Cost per 1,000 inferences ({review.currency}, {review.metric_name})",
            y_title=f"{quality.capitalize()} (share)",
            unit=review.currency,
        ),
    )


def _table(review: Review, found: pl.DataFrame, uncalled: pl.DataFrame, span: str, quality: str) -> object:
    shown = found.select(
        "model", "variant", "amount", "requests", "per_1000_inferences", "quality", "p95_ms", "error_rate",
        pl.when("on_front").then(pl.lit("yes")).when(pl.col("on_front").is_not_null()).then(pl.lit("no")).alias("on_front"),
        "note",
    )  # fmt: skip
    shown = shown if shown["note"].drop_nulls().len() else shown.drop("note")
    notes = ["Point values without a statistical test: a small difference in accuracy may be chance."]
    if uncalled.height:
        amount = money(exact_sum(uncalled["amount"].drop_nulls().to_list()), review.currency)
        notes.append(f"Not shown: {amount} on models without calls of a variant, such as training.")
    return money_table(
        shown.head(100),
        title=f"Model variants, {span}",
        id="variants",
        currency=review.currency,
        money_columns={"amount": review.decimals},
        number_columns={"requests": 0, "per_1000_inferences": 4, "p95_ms": 0},
        percent_columns={"quality": 1, "error_rate": 2},
        labels={
            "amount": review.metric_name.capitalize(),
            "per_1000_inferences": f"{review.currency} per 1,000 inferences",
            "quality": quality.capitalize(),
            "p95_ms": "P95 latency, ms",
            "on_front": "On the front",
        },
        note=" ".join(notes),
    )
