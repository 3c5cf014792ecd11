"""Is anything counted twice: sources that say the same, with a coverage plan and without."""

from __future__ import annotations

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check, total
from finops_lab.doctor._words import amount, listed, place, share, shown, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_FAR = 20.0
_PLAN = "say in a [[coverage]] of finops.toml which files are authoritative and which overlap"


def _formats(tables: Tables, table: str) -> dict[str, str]:
    """Return the format of every file of a table, without its version: FOCUS 1.0 and 1.2 are one."""
    return {
        entry.path: "FOCUS" if entry.format.startswith("FOCUS") else entry.format
        for name, entry in tables.log
        if name == table
    }


def _format(file: str, formats: dict[str, str]) -> pl.Expr:
    return pl.col(file).replace_strict(formats, default=None, return_dtype=pl.String).alias("format")


@check(
    "covered overlap",
    table="costs",
    severity="info",
    meaning="Rows that a coverage plan leaves out, since another source says the same.",
    fix="nothing: the plan leaves these rows out of every table",
)
def _covered_overlap(tables: Tables) -> Look:
    if tables.overlap is None or tables.overlap.is_empty():
        return []
    found = yield tables.overlap.lazy()
    return [
        Told(
            place(row["table"], row["source_file"]),
            f"{plural(row['rows'], 'row')} are left out by the plan {row['plan']!r}"
            + (
                f" ({amount(row['EffectiveCost'], row['BillingCurrency'])}"
                f"{', modelled and not billed' if row['estimate'] else ''})"
                if row["EffectiveCost"] is not None
                else ""
            ),
            row["rows"],
            row["BillingCurrency"],
            row["EffectiveCost"],
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "bill in two formats",
    table="costs",
    severity="warning",
    meaning="A provider's month comes from exports of two kinds: the same charges, or parts of one bill?",
    fix=_PLAN,
)
def _bill_in_two_formats(tables: Tables) -> Look:
    formats = _formats(tables, "costs")
    if len(set(formats.values())) < 2:
        return []
    by = ["ProviderName", "x_BillingMonth", "BillingCurrency"]
    found = yield (
        tables.costs.with_columns(_format("x_SourceFile", formats))
        .filter(pl.col("format").is_not_null())
        .group_by(*by, "format")
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("BilledCost").sum().alias("billed"),
            pl.col("EffectiveCost").sum().alias("effective"),
        )
        .filter(pl.len().over(by) > 1)
        .sort(*by, "format")
    )
    told = []
    for (provider, currency), rows in found.group_by("ProviderName", "BillingCurrency", maintain_order=True):
        kinds = rows.group_by("format", maintain_order=True).agg(
            pl.col("rows").sum(), pl.col("billed").sum(), pl.col("effective").sum()
        )
        said = [
            f"{row['format']}: {plural(row['rows'], 'row')}, {amount(row['billed'], str(currency))} billed"
            for row in kinds.iter_rows(named=True)
        ]
        months = sorted(rows["x_BillingMonth"].unique())
        told.append(
            Told(
                place(provider, span(months[0], months[-1])),
                f"{plural(len(months), 'month')} come from {len(said)} kinds of export ({listed(said)}): the "
                "same charges twice?",
                int(kinds["rows"].sum()),
                str(currency),
                min(kinds["billed"]),
            )
        )
    return told


@check(
    "modelled costs beside bills",
    table="costs",
    severity="warning",
    meaning="OpenCost's modelled costs count beside the bills of the machines they are modelled on.",
    fix="say estimate = true in a [[coverage]] of finops.toml for the files of OpenCost: use them to split "
    "bills, not to add to them",
)
def _modelled_costs_beside_bills(tables: Tables) -> Look:
    formats = _formats(tables, "costs")
    modelled = [path for path, name in formats.items() if name == "OpenCost allocation"]
    if not modelled or len(modelled) == len(formats):
        return []
    estimate = pl.col("x_SourceFile").is_in(modelled)
    found = yield (
        tables.costs.group_by("x_BillingMonth", "BillingCurrency")
        .agg(
            estimate.sum().cast(pl.Int64).alias("rows"),
            pl.when(estimate).then(pl.col("EffectiveCost")).sum().alias("money"),
            (~estimate).sum().cast(pl.Int64).alias("bills"),
        )
        .filter((pl.col("rows") > 0) & (pl.col("bills") > 0))
        .sort("x_BillingMonth", "BillingCurrency")
    )
    return [
        Told(
            row["x_BillingMonth"],
            f"{plural(row['rows'], 'modelled row')} ({amount(row['money'], row['BillingCurrency'])}) count "
            "beside bills",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "model billed by two providers",
    table="costs",
    severity="info",
    meaning="One model is in the bills of a cloud and of its vendor in one month: two purchases, or one twice?",
    fix=_PLAN,
)
def _model_billed_by_two_providers(tables: Tables) -> Look:
    by = ["x_ModelId", "x_BillingMonth", "BillingCurrency"]
    found = yield (
        tables.costs.filter(pl.col("x_ModelId").is_not_null() & (pl.col("ChargeCategory") == "Usage"))
        .with_columns(pl.col("x_ModelId").str.to_lowercase())
        .group_by(*by, "ProviderName")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("EffectiveCost").sum().alias("money"))
        .filter(pl.len().over(by) > 1)
        .sort(*by, "ProviderName")
    )
    told = []
    for (model, currency), rows in found.group_by("x_ModelId", "BillingCurrency", maintain_order=True):
        kinds = rows.group_by("ProviderName", maintain_order=True).agg(
            pl.col("rows").sum(), pl.col("money").sum()
        )
        said = [f"{name} {amount(money, str(currency))}" for name, _, money in kinds.rows()]
        told.append(
            Told(
                place(model, span(rows["x_BillingMonth"].min(), rows["x_BillingMonth"].max())),
                f"{shown(model)} is billed by {listed(said)}",
                int(kinds["rows"].sum()),
                str(currency),
                min(kinds["money"]),
            )
        )
    return told


@check(
    "calls in two sources",
    table="inference_requests",
    severity="warning",
    meaning="A provider's calls to a model come from two kinds of log in one month: counted twice?",
    fix=_PLAN + ' (table = "inference_requests")',
)
def _calls_in_two_sources(tables: Tables) -> Look:
    formats = _formats(tables, "inference_requests")
    if len(set(formats.values())) < 2:
        return []
    by = ["provider", "model", "month"]
    weight = pl.col("sample_weight") * pl.col("n_requests")
    found = yield (
        tables.requests.with_columns(
            _format("source_file", formats), pl.col("ts_start").dt.strftime("%Y-%m").alias("month")
        )
        .filter(pl.col("format").is_not_null())
        .group_by(*by, "format")
        .agg(pl.len().cast(pl.Int64).alias("rows"), weight.sum().alias("calls"))
        .filter(pl.len().over(by) > 1)
        .sort(*by, "format", nulls_last=True)
    )
    told = []
    for (provider, model), rows in found.group_by("provider", "model", maintain_order=True):
        kinds = rows.group_by("format", maintain_order=True).agg(pl.col("rows").sum(), pl.col("calls").sum())
        said = [f"{name} {calls:,.0f} calls" for name, _, calls in kinds.rows()]
        told.append(
            Told(
                place(provider, model, span(rows["month"].min(), rows["month"].max())),
                f"calls to {shown(model)} stand in {listed(said)}",
                min(kinds["rows"].to_list()),
            )
        )
    return told


@check(
    "gateway cost beside a bill",
    table="inference_requests",
    severity="info",
    meaning="A gateway reports what calls cost, and a bill of the same months has the same calls.",
    fix="the bill is authoritative: use the gateway's costs as weights to split it, never add them, and ask "
    "whether the gateway knows the agreed prices",
)
def _gateway_cost_beside_a_bill(tables: Tables) -> Look:
    month = pl.col("ts_start").dt.strftime("%Y-%m").alias("month")
    calls = (
        tables.requests.filter(pl.col("cost_reported_usd") > 0)
        .with_columns(pl.col("provider").str.to_lowercase().str.replace_all(r"[^a-z0-9]", "").alias("who"))
        .group_by("who", month)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            # An estimate by weights, shown rounded: no amount is booked from it.
            (pl.col("cost_reported_usd").cast(pl.Float64) * pl.col("sample_weight")).sum().alias("said"),
        )
    )
    bills = (
        tables.costs.filter((pl.col("ChargeCategory") == "Usage") & pl.col("ChargeClass").is_null())
        .with_columns(
            pl.col("ProviderName").str.to_lowercase().str.replace_all(r"[^a-z0-9]", "").alias("vendor")
        )
        .group_by(
            "vendor",
            "ProviderName",
            "BillingCurrency",
            pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("month"),
        )
        .agg(pl.col("EffectiveCost").sum().alias("billed"))
    )
    # `example_models` calls what `Example Models API` bills.
    found = yield (
        calls.join(bills, on="month")
        .filter(
            (pl.col("who").str.len_chars() > 2)
            & (
                pl.col("vendor").str.starts_with(pl.col("who"))
                | pl.col("who").str.starts_with(pl.col("vendor"))
            )
        )
        .sort("ProviderName", "BillingCurrency", "month")
    )
    told = []
    for (provider, currency), rows in found.group_by("ProviderName", "BillingCurrency", maintain_order=True):
        said, billed = float(rows["said"].sum()), total(rows["billed"])
        ratio = said / float(billed) if billed > 0 else 1.0
        unit = not 1 / _FAR < ratio < _FAR
        told.append(
            Told(
                place(provider, span(rows["month"][0], rows["month"][-1])),
                f"the gateway reports about USD {said:,.2f} (weighted) for calls that the bill has at "
                f"{amount(billed, str(currency))}: {share(said, billed)} of it"
                + (", which no discount explains: cents for dollars, or a sampling rate?" if unit else ""),
                int(rows["rows"].sum()),
                str(currency),
                billed,
                severity="warning" if unit else None,
                fix="check the unit of both, and [[telemetry.sampling]] in finops.toml" if unit else None,
            )
        )
    return told


@check(
    "billed model without calls",
    table="costs",
    severity="info",
    meaning="A model was billed in a month whose request logs have no call to it.",
    fix="unit costs of this model are undefined, not 0: bring in its request log, or leave it out of unit costs",
)
def _billed_model_without_calls(tables: Tables) -> Look:
    known = tables.costs.collect_schema()
    names = [pl.col(n) for n in ("x_ModelId", "x_tag_model") if n in known]
    month = pl.col("ChargePeriodStart").dt.strftime("%Y-%m").alias("month")
    models = (
        tables.costs.filter(pl.col("ChargeCategory") == "Usage")
        .with_columns(pl.coalesce(names).str.to_lowercase().alias("model"), month)
        .filter(pl.col("model").is_not_null())
        .group_by("model", "month", "BillingCurrency")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("EffectiveCost").sum().alias("money"))
    )
    calls = tables.requests.select(
        pl.col("ts_start").dt.strftime("%Y-%m").alias("month"),
        pl.concat_list(pl.col("model"), pl.col("response_model")).alias("model"),
    )
    seen = calls.explode("model").with_columns(pl.col("model").str.to_lowercase()).unique()
    found = yield (
        models.join(seen.select("month").unique(), on="month", how="semi")
        .join(seen, on=["model", "month"], how="anti")
        .filter(pl.col("money") > 0)
        .sort("model", "BillingCurrency", "month")
    )
    return [
        Told(
            place(model, span(rows["month"][0], rows["month"][-1])),
            f"{shown(model)} was billed {amount(total(rows['money']), str(currency))} in "
            f"{plural(rows.height, 'month')} with request logs and has no call in them",
            int(rows["rows"].sum()),
            str(currency),
            total(rows["money"]),
        )
        for (model, currency), rows in found.group_by("model", "BillingCurrency", maintain_order=True)
    ]


CHECKS = (
    _covered_overlap,
    _bill_in_two_formats,
    _modelled_costs_beside_bills,
    _model_billed_by_two_providers,
    _calls_in_two_sources,
    _gateway_cost_beside_a_bill,
    _billed_model_without_calls,
)
