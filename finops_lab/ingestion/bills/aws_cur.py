"""AWS Cost and Usage Reports: the legacy report (CSV, or Athena's names in Parquet) and CUR 2.0.

Sources: AWS Data Exports user guide, the data dictionaries of the legacy report and of CUR 2.0,
"Understanding split cost allocation data", "Understanding Savings Plans", "Understanding your
reservations"; the FinOps Foundation's converter for the mapping to FOCUS. Both reports mean the
same by the same column, so they are read by one set of formulas over Athena's column names.

What an analyst should know:

- ``BilledCost`` is the unblended cost, negations and discounts included as rows of their own
  (category Usage), so that it adds up to the invoice. ``EffectiveCost`` is amortised.
- The fee of a commitment becomes two rows with the number of one line item: the purchase
  (effective 0), and what of the commitment nobody used (billed 0, status Unused). A report of an
  open month may state as unused what is only not used yet.
- Rows that divide an EC2 instance among its containers (split cost allocation data) cost nothing
  here: the instance's row has the money. Their shares are ``x_split_line_item_split_cost`` and
  ``x_split_line_item_unused_cost``.
- Bedrock is one service, also where a model is sold as a Marketplace product. Tokens are counted
  only where the row says of how many tokens a unit is.
- ``identity/LineItemId`` is no key (AWS: unique within a report's partition, not across them);
  equal rows are legal and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion._scan import ROW, as_text, scan_table
from finops_lab.ingestion.bills._aws_bedrock import (
    BEDROCK,
    BLOCK,
    CACHE,
    DIRECTION,
    MODEL,
    is_bedrock,
    product_name,
    token_columns,
    tokens,
)
from finops_lab.ingestion.bills._aws_charges import (
    CATEGORIES,
    KIND,
    PART,
    SPLIT,
    charge,
    is_usage,
    kind,
    parts,
    split,
)
from finops_lab.ingestion.bills._aws_columns import Report, snake
from finops_lab.ingestion.bills._aws_maps import labels, product, tag_key
from finops_lab.ingestion.bills._aws_services import category_of
from finops_lab.ingestion.bills._bills import Finding, bill
from finops_lab.ingestion.bills._gpus import gpu_of
from finops_lab.ingestion.registry import RAW, ReadSettings, Sample
from finops_lab.money import MONEY

__all__ = ["READERS", "CurReader"]

_MARKERS = frozenset(
    {
        "bill_payer_account_id",
        "bill_billing_period_start_date",
        "line_item_line_item_type",
        "line_item_usage_account_id",
        "line_item_usage_start_date",
        "line_item_product_code",
        "line_item_currency_code",
        "line_item_unblended_cost",
    }
)
# Only CUR 2.0 has these; nested columns can be left out of an export, names of accounts too.
_NEW = frozenset(
    {
        "product",
        "resource_tags",
        "tags",
        "cost_category",
        "discount",
        "bill_payer_account_name",
        "line_item_usage_account_name",
    }
)
_MAPS = ("resource_tags", "tags")
_AMOUNTS = (
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "line_item_usage_amount",
    "pricing_public_on_demand_cost",
    "pricing_public_on_demand_rate",
    "reservation_effective_cost",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "split_line_item_split_cost",
    "split_line_item_unused_cost",
    "split_line_item_net_split_cost",
    "split_line_item_net_unused_cost",
)
_TIMES = (
    "bill_billing_period_start_date",
    "bill_billing_period_end_date",
    "line_item_usage_start_date",
    "line_item_usage_end_date",
)
_KEPT = (
    "identity_line_item_id",
    "bill_bill_type",
    "bill_billing_entity",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_usage_type",
    "line_item_operation",
    "line_item_net_unblended_cost",
    "line_item_tax_type",
    "line_item_iam_principal",
    "pricing_term",
    "product_product_family",
    "product_servicecode",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "split_line_item_parent_resource_id",
    "split_line_item_split_cost",
    "split_line_item_unused_cost",
    "split_line_item_net_split_cost",
    "split_line_item_net_unused_cost",
    "discount",
)
_NO_MACHINE = r"(?i)EBSOptimized|CPUCredits|DataTransfer|EKS-EC2|ECS-EC2"
_INSTANCE = r":((?:ml\.)?[a-z][a-z0-9-]*\.(?:[0-9]*x?large|metal(?:-[0-9a-z]+)?))"
_UNITS = {"hrs": "Hours", "hr": "Hours", "hour": "Hours", "hours": "Hours", "gb-mo": "GB-Months"}


@dataclass(frozen=True)
class CurReader:
    """One version of the report: `nested` where it is CUR 2.0."""

    FORMAT: str
    SOURCE: str
    nested: bool
    TABLE: str = "costs"

    def matches(self, sample: Sample) -> bool:
        """Tell whether a file is a report of this version: half of the telling columns are there."""
        names = {snake(name) for name in sample.columns}
        if sample.kind == "jsonl" or len(_MARKERS & names) < len(_MARKERS) // 2:
            return False
        slashes = any("/" in name for name in sample.columns)
        return (not slashes and bool(_NEW & names)) == self.nested

    def read(self, path: Path, settings: ReadSettings) -> pl.LazyFrame:
        """Read one report as rows of the `costs` contract.

        Parameters
        ----------
        path : pathlib.Path
            CSV (plain or gzip) or Parquet.
        settings : ReadSettings
            `tag_keys` become ``x_tag_<key>`` columns.

        Returns
        -------
        polars.LazyFrame
            The `costs` contract without ``x_SourceFile``, columns of the report with ``x_`` before
            Athena's name, ``x_CostCategories`` (JSON), and the reader's findings.

        Raises
        ------
        InputError
            When a column that every bill needs is missing.
        """
        raw = scan_table(path)
        schema = {name: dtype for name, dtype in raw.collect_schema().items() if name != ROW}
        report = Report(tuple(schema))
        if missing := list(report.missing()):
            raise InputError(
                f"the report has no column {missing[0]}"
                + (f" (nor {', '.join(missing[1:])})" if missing[1:] else ""),
                file=path,
                column=missing[0],
                hint="export the report with its standard columns",
            )
        # Maps are told as JSON, which a CSV holds anyway.
        nested = [name for name, dtype in schema.items() if _is_no_scalar(dtype)]
        raw = raw.with_columns(as_text(pl.col(name), schema[name]).alias(name) for name in nested)
        given = raw.drop(ROW).collect_schema()
        made = bill(
            _prepared(raw, report),
            _columns(report),
            amounts=report.present(_AMOUNTS),
            times=report.present(_TIMES),
            currency=report.text("line_item_currency_code").str.to_uppercase(),
            keep={
                **{report.spelled(name): f"x_{name}" for name in _KEPT if report.has(name)},
                "_aws_name": "x_product_product_name",
                "_aws_categories": "x_CostCategories",
                PART: PART,
            },
            tag_keys=settings.tag_keys,
            reasons=_reasons(report),
            notes=_notes(report),
        )
        return _finished(made, list(given))


def _is_no_scalar(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype == pl.Binary or str(dtype).startswith("Map")


def _prepared(raw: pl.LazyFrame, report: Report) -> pl.LazyFrame:
    """Read labels and the product, and give the fee of a commitment a second row."""
    # Of two tags that differ in case or signs only, each has a column.
    tags = {name: tag_key(name) for name in report.columns if snake(name).startswith("resource_tags_")}
    groups = {name: tag_key(name) for name in report.columns if snake(name).startswith("cost_category_")}
    maps, group_maps = report.present(_MAPS), report.present(["cost_category"])
    nothing = pl.lit(None, dtype=pl.String)
    name = pl.col("_aws_name")
    return (
        raw.with_columns(
            kind(report),
            split(report),
            (labels(tags, maps) if tags or maps else nothing).alias("_aws_tags"),
            (labels(groups, group_maps) if groups or group_maps else nothing).alias("_aws_categories"),
            product(report.names.get("product")).alias("_aws_product"),
            _instance(report).alias("_aws_instance"),
        )
        .with_columns(
            parts(),
            product_name(report).alias("_aws_name"),
            gpu_of(pl.col("_aws_instance")).alias("_aws_gpu"),
        )
        .with_columns(is_bedrock(report, name))
        .with_columns(token_columns(report, name))
        .explode(PART)
    )


def _columns(report: Report) -> Mapping[str, pl.Expr]:
    name = pl.col("_aws_name")
    attributes = pl.col("_aws_product").struct
    usage = is_usage() & (pl.col(PART) == "1")
    bedrock, block = pl.col(BEDROCK), pl.col(BLOCK)
    quantity = pl.when(usage).then(report.amount("line_item_usage_amount"))
    unit = pl.when(usage).then(report.text("pricing_unit", "product_pricing_unit"))
    blocks = pl.when(block > 1).then(pl.format("{} Tokens", block)).otherwise(pl.lit("Tokens"))
    counted = usage & pl.col(DIRECTION).is_not_null()
    plain = pl.coalesce(looked_up(unit.str.to_lowercase(), _UNITS, pl.String()), unit)
    gpu = pl.col("_aws_gpu").struct
    code = report.text("line_item_product_code")
    rate = report.amount("pricing_public_on_demand_rate")
    foreign = _foreign(report)
    return {
        **charge(report),
        "BillingCurrency": report.text("line_item_currency_code").str.to_uppercase(),
        "BillingAccountId": report.text("bill_payer_account_id"),
        "BillingAccountName": report.text("bill_payer_account_name"),
        "SubAccountId": report.text("line_item_usage_account_id"),
        "SubAccountName": report.text("line_item_usage_account_name"),
        "BillingPeriodStart": report.moment("bill_billing_period_start_date"),
        "BillingPeriodEnd": report.moment("bill_billing_period_end_date"),
        "ChargePeriodStart": report.moment("line_item_usage_start_date"),
        "ChargePeriodEnd": report.moment("line_item_usage_end_date"),
        "ChargeDescription": report.text("line_item_line_item_description"),
        "InvoiceId": report.text("bill_invoice_id"),
        "InvoiceIssuerName": report.text("bill_invoicing_entity", "line_item_legal_entity"),
        "ProviderName": pl.lit("AWS"),
        "PublisherName": report.text("line_item_legal_entity"),
        "ServiceName": pl.when(bedrock)
        .then(pl.lit("Amazon Bedrock"))
        .otherwise(pl.coalesce(name, code)),
        "ServiceCategory": pl.when(bedrock)
        .then(pl.lit("AI and Machine Learning"))
        .otherwise(category_of(code, report.text("product_product_family"))),
        "ServiceSubcategory": pl.when(bedrock).then(pl.lit("Generative AI")),
        "RegionId": pl.coalesce(
            report.text("product_region_code", "product_region"), attributes.field("region")
        ),
        "RegionName": pl.coalesce(report.text("product_location"), attributes.field("location")),
        "AvailabilityZone": report.text("line_item_availability_zone"),
        "ResourceId": report.text("line_item_resource_id"),
        "SkuId": report.text("product_sku"),
        "SkuPriceId": report.text("pricing_rate_code"),
        "SkuMeter": report.text("line_item_usage_type"),
        "CapacityReservationId": report.text("capacity_reservation_capacity_reservation_arn"),
        "PricingQuantity": quantity,
        "PricingUnit": pl.when(counted & block.is_not_null()).then(blocks).otherwise(plain),
        "PricingCurrency": report.text("pricing_currency").str.to_uppercase(),
        "ListUnitPrice": pl.when(usage & ~foreign).then(rate),
        "PricingCurrencyListUnitPrice": pl.when(usage & foreign).then(rate),
        "ConsumedQuantity": pl.when(counted)
        .then(tokens(report.amount("line_item_usage_amount"), block))
        .otherwise(pl.when(unit.is_not_null()).then(quantity)),
        "ConsumedUnit": pl.when(counted)
        .then(pl.when(quantity.is_not_null() & block.is_not_null()).then(pl.lit("Tokens")))
        .otherwise(plain),
        "Tags": pl.col("_aws_tags"),
        "x_ModelId": pl.col(MODEL),
        "x_TokenDirection": pl.col(DIRECTION),
        "x_TokenCacheAction": pl.col(CACHE),
        "x_InstanceType": pl.col("_aws_instance"),
        "x_GpuModel": gpu.field("x_GpuModel"),
        "x_GpuCount": gpu.field("x_GpuCount"),
    }  # fmt: skip


def _instance(report: Report) -> pl.Expr:
    """Return the machine's type; SageMaker writes what it is used for behind (``-Hosting``)."""
    named = report.text("product_instance_type").str.replace(r"^(ml\..+)-[A-Z][A-Za-z]+$", "${1}")
    used = report.text("line_item_usage_type").str.extract(_INSTANCE)
    machine = ~report.text("line_item_usage_type").str.contains(_NO_MACHINE).fill_null(False)
    return pl.when(machine).then(pl.coalesce(named, used))


def _foreign(report: Report) -> pl.Expr:
    """Tell which rows are priced in another currency than they are billed in."""
    priced = report.text("pricing_currency").str.to_uppercase()
    return (priced != report.text("line_item_currency_code").str.to_uppercase()).fill_null(False)


def _reasons(report: Report) -> list[Finding]:
    missing = pl.col("EffectiveCost").is_null() & pl.col("BilledCost").is_not_null()
    said = "EffectiveCost: the report does not say what this {} line costs amortised"
    words = pl.format(said, report.text("line_item_line_item_type").fill_null(""))
    return [(missing, words)]


def _notes(report: Report) -> list[Finding]:
    first = pl.col(PART) == "1"
    type_ = pl.col(KIND)
    known = type_.is_in(list(CATEGORIES)) | type_.str.ends_with("discount")
    unread = pl.col(DIRECTION).is_not_null() & pl.col(BLOCK).is_null()
    cost = report.amount("line_item_unblended_cost")
    column = report.spelled("line_item_unblended_cost")
    return [
        (
            first & ~known,
            pl.format(
                "{}: '{}' is not a known type, read as an adjustment",
                pl.lit(report.spelled("line_item_line_item_type")),
                report.text("line_item_line_item_type"),
            ),
        ),
        (
            unread & is_usage(),
            pl.lit("ConsumedQuantity: the row does not say of how many tokens a unit is, left unknown"),
        ),
        (
            pl.col(SPLIT) & (cost != 0),
            pl.format("{}: not added, the row divides the cost of its parent's row", pl.lit(column)),
        ),
        (
            first & _foreign(report) & report.amount("pricing_public_on_demand_cost").is_not_null(),
            pl.lit("ListCost: list prices are in another currency than the bill, left unknown"),
        ),
    ]


def _finished(made: pl.LazyFrame, given: list[str]) -> pl.LazyFrame:
    """Drop rows of commitments that were used up, our columns, and their trace in `RAW`."""
    schema = made.collect_schema()
    raw = schema[RAW]
    assert isinstance(raw, pl.Struct)
    fields = [field for field in raw.fields if field.name in given]
    amounts = [f"x_{name}" for name in _AMOUNTS if f"x_{name}" in schema]
    used_up = (pl.col(PART) == "2") & (pl.col("EffectiveCost") == 0)
    return (
        made.filter(~used_up.fill_null(False))
        .with_columns(
            pl.col(RAW).map_batches(
                lambda rows: rows.struct.unnest().select(given).to_struct(rows.name),
                return_dtype=pl.Struct(fields),
                is_elementwise=True,
            ),
            *[pl.col(name).cast(MONEY, strict=False) for name in amounts],
        )
        .drop(PART)
    )


_SOURCE = "AWS data dictionary of the {}, split cost allocation, FinOps Foundation's converter"
READERS = (
    CurReader(
        "AWS CUR (legacy)",
        f"{_SOURCE.format('legacy report')}; a real report of 1,281 rows",
        nested=False,
    ),
    CurReader("AWS CUR 2.0", f"{_SOURCE.format('CUR 2.0 table')}; from documentation", nested=True),
)
