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
from finops_lab.unit_economics.latency import BATCH

if TYPE_CHECKING:
    from finops_lab.reporting.monthly import Review

_MONTHS = 3
_QUALITY = "accuracy"
_LOSS = 0.01
_NEEDED = {
    "inference_requests": "requests (OTLP/JSON or LiteLLM spend logs)",
    "accuracy_samples": "model evaluations (`accuracy_samples`)",
}


def build(review: Review, *, detail: bool = False) -> Section:
    """Build the section; in detail with the choice per model and what to retire as tables."""
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
    old = tradeoffs.retire(found)
    return Section(
        "tradeoffs",
        _finding(review, found, quality, old),
        (
            *_chart(review, found, span, quality),
            _table(review, found, uncalled, span, quality, old),
            *((_choices(review, found, quality), *_retired(review, old)) if detail else ()),
        ),
        {
            "variants": found.to_dicts(),
            "retire": old.listed.to_dicts(),
            "retire_unsure": old.unsure.to_dicts(),
        },
    )


def _finding(review: Review, found: pl.DataFrame, quality: str, old: tradeoffs.Retirement) -> str:
    known = found.filter(pl.col("on_front").is_not_null())
    front = known.filter(pl.col("on_front"))
    text = (
        f"**{front.height} of {known.height} model variants are on the front**: "
        "no other is at once cheaper, more accurate and faster"
    )
    chosen = tradeoffs.decisions(_live(found), max_quality_loss=_LOSS)
    chosen = chosen.filter(pl.col("variant").is_not_null() & (pl.col("saving_share") > 0))
    if chosen.height:
        top = chosen.sort("saving_share", "model", descending=[True, False]).row(0, named=True)
        within, best, lost = f"{_LOSS:g} of {quality}", "best", f"{top['quality_loss']:.4g} of it"
        if quality == _QUALITY:
            within, best = "one accuracy point", "most accurate"
            lost = f"{top['quality_loss'] * 100:.1f} points of accuracy"
        text += (
            f"; the largest saving of live calls within {within} is **{top['model']} {top['variant']}**, "
            f"{top['saving_share']:.0%} cheaper per inference than the model's {best} variant, "
            f"for {lost}{_slower(top)}"
        )
    unknown = found.height - known.height
    text += f"; {unknown} lack a figure and are not compared." if unknown else "."
    if old.listed.height:
        saved = money(exact_sum(old.listed["saved_amount"].drop_nulls().to_list()), review.currency)
        names = ", ".join(_name(*pair) for pair in old.listed.select("model", "variant").head(3).iter_rows())
        text += f" **{old.listed.height} live too long** ({names}): moving their calls would save {saved} a month."
    return text


def _live(found: pl.DataFrame) -> pl.DataFrame:
    """Return what answers at once: who waits for an answer cannot take one that comes in hours."""
    return found.filter(~pl.col("variant").is_in(BATCH).fill_null(False))


def _name(model: str | None, variant: str | None) -> str:
    return " ".join(part for part in (model, variant) if part) or "unknown"


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
            subtitle=f"{span}; filled: on the front, hollow: beaten, dashed: the most {quality} for the money",
            x_title=f"Cost per 1,000 inferences ({review.currency}, {review.metric_name})",
            y_title=f"{quality.capitalize()} (share)",
            unit=review.currency,
        ),
    )


def _table(
    review: Review,
    found: pl.DataFrame,
    uncalled: pl.DataFrame,
    span: str,
    quality: str,
    old: tradeoffs.Retirement,
) -> object:
    worst = ["worst_p95_ms"] if found["worst_p95_ms"].count() else []
    shown = found.select(
        "model", "variant", "amount", "requests", "per_1000_inferences", "quality", "p95_ms", *worst, "error_rate",
        pl.when("on_front").then(pl.lit("yes")).when(pl.col("on_front").is_not_null()).then(pl.lit("no")).alias("on_front"),
        "note",
    )  # fmt: skip
    shown = shown if shown["note"].drop_nulls().len() else shown.drop("note")
    notes = ["Point values without a statistical test: a small difference in accuracy may be chance."]
    if uncalled.height:
        amount = money(exact_sum(uncalled["amount"].drop_nulls().to_list()), review.currency)
        notes.append(f"Not shown: {amount} on models without calls of a variant, such as training.")
    for row in old.unsure.filter(pl.col("dominated_by").is_not_null()).head(3).iter_rows(named=True):
        name, other = _name(row["model"], row["variant"]), row["dominated_by"]
        notes.append(f"{name} is beaten by {other}, but not listed to retire: {row['why']}.")
    return money_table(
        shown.head(100),
        title=f"Model variants, {span}",
        id="variants",
        currency=review.currency,
        money_columns={"amount": review.decimals},
        number_columns={"requests": 0, "per_1000_inferences": 4, "p95_ms": 0, **dict.fromkeys(worst, 0)},
        percent_columns={"quality": 1, "error_rate": 2},
        labels={
            "amount": review.metric_name.capitalize(),
            "per_1000_inferences": f"{review.currency} per 1,000 inferences",
            "quality": quality.capitalize(),
            "p95_ms": "P95 latency, ms",
            **dict.fromkeys(worst, "P95 of the worst hour, ms"),
            "on_front": "On the front",
        },
        note=" ".join(notes),
    )


def _choices(review: Review, found: pl.DataFrame, quality: str) -> object:
    told = tradeoffs.decisions(_live(found), max_quality_loss=_LOSS)
    noted = ["note"] if told["note"].drop_nulls().len() else []
    return money_table(
        told.select(
            *("model", "variant", "per_1000_inferences", "saving_share", "quality_loss", "slo_ms"),
            *("reference", "reference_slo_ms", *noted),
        ).head(100),
        title="Which variant to run for live calls, by model",
        subtitle=f"The cheapest within {_LOSS:g} of the best {quality}; P95 of the worst hour where it is known",
        id="choices",
        currency=review.currency,
        money_columns={},
        number_columns={"per_1000_inferences": 4, "quality_loss": 4, "slo_ms": 0, "reference_slo_ms": 0},
        percent_columns={"saving_share": 0},
        labels={
            "variant": "Run",
            "per_1000_inferences": f"{review.currency} per 1,000 inferences",
            "saving_share": "Saves",
            "quality_loss": f"{quality.capitalize()} lost",
            "slo_ms": "P95, ms",
            "reference": f"Best {quality}",
            "reference_slo_ms": "Its P95, ms",
        },
        unknown="no variant within the limit, or a figure is missing",
        note="Point values without a statistical test: a loss within the limit may be chance."
        + (" Batches answer in hours and are left out." if _live(found).height < found.height else ""),
    )


def _retired(review: Review, old: tradeoffs.Retirement) -> tuple[object, ...]:
    if old.listed.is_empty():
        return ()
    return (
        money_table(
            old.listed.select(
                *("model", "variant", "dominated_by", "last_amount", "saved_amount", "p_dominated", "why")
            ).head(100),
            title="Variants to retire",
            subtitle=f"Money of {review.month_name}; another variant is no dearer, no worse and no slower",
            id="retire",
            currency=review.currency,
            money_columns=dict.fromkeys(("last_amount", "saved_amount"), review.decimals),
            percent_columns={"p_dominated": 0},
            labels={
                "dominated_by": "Beaten by",
                "last_amount": "Last month",
                "saved_amount": "Saved a month",
                "p_dominated": "Chance that it is beaten",
            },
        ),
    )
