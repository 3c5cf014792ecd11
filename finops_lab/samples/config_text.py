"""The sample's `finops.toml`: rules, budgets and objectives an analyst would write for it."""

from __future__ import annotations

from datetime import timedelta

from finops_lab.samples.charges import decimal
from finops_lab.samples.company import API_PRICES, DIRECTIONS, FEATURES, PLATFORM, PRICE_CUT, REGIONS, TEAMS
from finops_lab.samples.plants import Plants
from finops_lab.samples.traffic import API_SAMPLING

__all__ = ["BUDGETS", "render"]

# Monthly budgets of 2025 and of the halves of 2026, USD; None is the total.
BUDGETS: dict[str | None, tuple[int, int, int]] = {
    None: (280_000, 345_000, 430_000),
    "search": (72_000, 78_000, 96_000),
    "assistants": (66_000, 90_000, 130_000),
    "support": (35_000, 38_000, 46_000),
    "growth": (17_500, 18_500, 22_000),
    "research": (46_000, 55_000, 72_000),
    "platform": (10_500, 12_500, 15_000),
}
# Budgets of a model and a feature: what for, first and last month, USD a month, and the approval,
# where there is one. The later approval takes the place of the earlier one in its months.
_OTHER_BUDGETS: tuple[tuple[str, str, str, str, int, tuple[str, str, str] | None], ...] = (
    ("model", "quill-large", "2026-01", "2026-12", 55_000, ("2025-12-12", "finance", "plan of the year")),
    (
        "model",
        "quill-large",
        "2026-07",
        "2026-12",
        70_000,
        ("2026-06-24", "finance", "more calls since March"),
    ),
    ("feature", "chat-assistant", "2026-07", "2026-12", 80_000, None),
)
# Availability target and the latency in ms that 95 % of calls must keep; None where the feature
# sends work to batch variants, which answer within the hour.
_SLOS = {
    "search-answers": ("0.985", "7500"),
    "semantic-index": ("0.98", None),
    "chat-assistant": ("0.99", "9000"),
    "doc-summaries": ("0.98", None),
    "ticket-triage": ("0.985", "2500"),
    "reply-drafts": ("0.985", "9000"),
    "product-copy": ("0.98", None),
    "code-helper": ("0.985", "3500"),
}


# The range that each KPI should be in: at least, at most; and of a feature, where it names one.
_KPIS: tuple[tuple[str, str | None, str | None, str | None, str], ...] = (
    ("M1", None, None, "0.01", "USD a successful call"),
    ("M2", None, "0.60", "0.85", "GPU utilization"),
    ("M4", None, None, "6000", "ms that 95 % of calls keep, batch aside"),
    ("M5", None, None, "0.015", "share of finished calls that failed"),
    ("M7", None, "0.95", None, "share of spend with an owner"),
    ("M8", None, None, "60000", "USD a month for retraining"),
    ("M11", None, "0.70", None, "needed against provided capacity"),
    ("M12", None, "0.50", None, "margin"),
)
# Month, work, and USD or hours: realised savings, avoided spend, hours of work, tools.
_PRACTICE = (
    ("2026-08", "chat to int8", "3900", None, "46", None),
    ("2026-09", "chat to int8", "4100", None, "4", None),
    ("2026-09", "idle pools off at night", "2350", "800", "30", None),
    ("2026-10", "idle pools off at night", "2600", None, "6", None),
    ("2026-10", "review of GPU orders", None, "18000", "22", None),
    ("2026-10", "label and report", None, None, "40", "450"),
)
# The units of the price book, in the order of the directions of `API_PRICES`.
_UNITS = ("input_mtok", "cache_read_mtok", "output_mtok")


def render(plants: Plants) -> str:
    """Return the text of `finops.toml`."""
    head = _HEAD.format(rate=f"{1 / API_SAMPLING}")
    parts = [head, _dimensions(), _budgets(), _COMMITMENTS, _slos(), _kpis(), _practice(), _prices(plants)]
    return "\n".join(parts)


_HEAD = """\
# The lab of a synthetic company. Every name, price and amount in it is made up.

[lab]
name = "Synthetic sample lab"
currency = "USD"
note = "Synthetic data: a made-up company with planted truths, see README.md and truth.json."

[telemetry.attributes]
# Costs and requests speak of the same three regions.
region = ["finops.region"]
environment = ["env"]
# The gateway keeps the vendor's tier of a call in the tag `variant`; prices go by it.
service_tier = ["variant"]

[[telemetry.sampling]]
# The gateway logs one call in 5,000. OTLP spans carry their own sampling probability.
path = "requests/litellm/**"
rate = {rate}
"""


# Use of p5.48xlarge: what is held of it (`finops_lab.samples.commitments`), and what is on offer.
_COMMITMENTS = """\
# Machines that a savings plan can pay for: the one that is held, and what is on offer.
[[commitments]]
name = "p5 one year, no upfront"
kind = "savings_plan"
status = "held"
id = "cd-synthetic-2026-07"
where = { SkuId = "EC2-p5.48xlarge" }
discount = "0.2051"
level = "34"
from = 2026-07-01
to = 2027-06-30

[[commitments]]
name = "p5 savings plan, one year"
kind = "savings_plan"
where = { SkuId = "EC2-p5.48xlarge" }
term_months = 12
discount = "0.28"
step = "1"

[[commitments]]
name = "p5 savings plan, three years"
kind = "savings_plan"
where = { SkuId = "EC2-p5.48xlarge" }
term_months = 36
discount = "0.45"
step = "1"

# A promotional credit of 12,000 a month.
[[credits]]
name = "promotional credit"
where = { ChargeDescription = "~^Promotional credit" }
to = "2026-06"
"""


def _table(values: dict[str, str]) -> str:
    return "{ " + ", ".join(f'"{key}" = "{value}"' for key, value in values.items()) + " }"


def _rule(dimension: str, name: str, *lines: str) -> str:
    return "\n".join([f"[[dimensions.{dimension}]]", f'name = "{name}"', *lines, ""])


def _dimensions() -> str:
    features = "|".join(FEATURES)
    teams = "|".join([*TEAMS, PLATFORM.name])
    team_of = {feature.name: feature.team for feature in FEATURES.values()}
    product_of = {feature.name: feature.product for feature in FEATURES.values()}
    unit_of = {team.name: team.business_unit for team in (*TEAMS.values(), PLATFORM)}
    regions = {region: name for cloud in REGIONS.values() for name, region in cloud.items()}
    feature_name = f"extract = {{ column = \"ResourceName\", pattern = '^({features})-' }}"
    feature_account = f"extract = {{ column = \"SubAccountName\", pattern = '^({features})$' }}"
    team_account = f"extract = {{ column = \"SubAccountName\", pattern = '^({teams})-' }}"
    own_models = (
        "extract = { column = \"ResourceName\", pattern = '(larch-7b|larch-70b|alder-13b|alder-34b)' }"
    )
    api_models = "extract = { column = \"SkuId\", pattern = '^(quill-large|quill-small)-' }"
    training = 'where = { SubAccountName = "research-training" }'
    rules = [
        "# The first rule that gives a value wins. The shared gateway, data transfer, support, tax and\n"
        "# credits have no team: they stay visible as unallocated.\n",
        _rule("team", "team tag", 'tag = ["team"]'),
        _rule("team", "team of the account", team_account),
        _rule("team", "team of the vendor project", feature_account, f"map = {_table(team_of)}"),
        _rule("product", "product tag", 'tag = ["product"]'),
        _rule("product", "product of the vendor project", feature_account, f"map = {_table(product_of)}"),
        _rule("product", "product of the resource name", feature_name, f"map = {_table(product_of)}"),
        _rule("model", "model tag", 'tag = ["model"]'),
        _rule("model", "model of the vendor's SKU", api_models),
        _rule("model", "model in the resource name", own_models),
        _rule("variant", "variant tag", 'tag = ["variant"]'),
        _rule(
            "variant",
            "variant of the vendor's SKU",
            "extract = { column = \"SkuId\", pattern = '^quill-(?:large|small)-(standard|batch|mini)-' }",
        ),
        _rule(
            "variant",
            "variant in the resource name",
            "extract = { column = \"ResourceName\", pattern = '-(bf16|int8|int4)$' }",
        ),
        _rule("feature", "feature tag", 'tag = ["feature", "project"]'),
        _rule("feature", "feature of the vendor project", feature_account),
        _rule("feature", "feature of the resource name", feature_name),
        _rule("customer", "customer tag", 'tag = ["customer"]'),
        _rule("environment", "environment tag", 'tag = ["env", "environment"]'),
        _rule("environment", "training is research", training, 'value = "research"'),
        _rule(
            "environment",
            "environment of the account",
            "extract = { column = \"SubAccountName\", pattern = '-(prod|staging|dev)$' }",
        ),
        _rule(
            "environment",
            "the gateway is prod",
            'where = { SubAccountName = "shared-gateway" }',
            'value = "prod"',
        ),
        _rule("region", "region", 'column = "RegionId"', f"map = {_table(regions)}"),
        _rule("business_unit", "business unit of the team tag", 'tag = ["team"]', f"map = {_table(unit_of)}"),
        _rule("business_unit", "business unit of the account", team_account, f"map = {_table(unit_of)}"),
        _rule(
            "business_unit",
            "business unit of the vendor project",
            feature_account,
            f"map = {_table({name: unit_of[team] for name, team in team_of.items()})}",
        ),
    ]
    return "\n".join(rules)


def _budgets() -> str:
    lines = ["# Planned effective cost a month."]
    periods = (("2025-01", "2025-12"), ("2026-01", "2026-06"), ("2026-07", "2026-12"))
    for team, amounts in BUDGETS.items():
        for (first, last), amount in zip(periods, amounts, strict=True):
            owner = [] if team is None else [f'team = "{team}"']
            lines += [
                "[[budgets]]",
                *owner,
                f'from = "{first}"',
                f'to = "{last}"',
                f'amount = "{amount}"',
                "",
            ]
    lines.append("# Of a model, changed in June, and of a feature: they overlap with those of teams.")
    for dimension, key, first, last, amount, approval in _OTHER_BUDGETS:
        lines += ["[[budgets]]", f'{dimension} = "{key}"', f'from = "{first}"', f'to = "{last}"']
        lines.append(f'amount = "{amount}"')
        if approval is not None:
            day, who, why = approval
            lines += [f"approved = {day}", f'approved_by = "{who}"', f'reason = "{why}"']
        lines.append("")
    return "\n".join(lines)


def _slos() -> str:
    lines = ["# Services are features, as in the requests."]
    for service, (availability, threshold) in _SLOS.items():
        lines += [
            "[[slos]]",
            f'service = "{service}"',
            'objective = "availability"',
            f"target = {availability}",
            "window_days = 28",
            "",
        ]
        if threshold is None:
            continue
        lines += [
            "[[slos]]",
            f'service = "{service}"',
            'objective = "latency"',
            "target = 0.95",
            f"threshold_ms = {threshold}",
            "window_days = 28",
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _kpis() -> str:
    lines = ["# What the company asks of its KPIs, month by month."]
    for kpi, feature, least, most, unit in _KPIS:
        lines += [f"[[kpis]]  # {unit}", f'kpi = "{kpi}"']
        lines += [] if feature is None else ['dimension = "feature"', f'key = "{feature}"']
        lines += [] if least is None else [f'at_least = "{least}"']
        lines += [] if most is None else [f'at_most = "{most}"']
        lines.append("")
    return "\n".join(lines)


def _practice() -> str:
    lines = ["# What the FinOps practice says that it saved, and what it took: made up, as everything here."]
    for month, what, realised, avoided, hours, tools in _PRACTICE:
        lines += ["[[practice]]", f'month = "{month}"', f'what = "{what}"']
        amounts = (
            ("realised_savings", realised),
            ("avoided_spend", avoided),
            ("hours", hours),
            ("tools", tools),
        )
        lines += [f'{name} = "{amount}"' for name, amount in amounts if amount is not None]
        lines += ['rate_per_hour = "95"'] if hours is not None else []
        lines.append("")
    return "\n".join(lines)


def _prices(plants: Plants) -> str:
    """Return the vendor's price list; what it bills is 5 % lower, as agreed."""
    since, *cut, (listed, _) = PRICE_CUT
    lines = ["# The list prices of the model vendor, USD a million tokens, by tier."]
    for (model, variant), prices in API_PRICES.items():
        for unit, direction, (price, _) in zip(_UNITS, DIRECTIONS, prices, strict=True):
            eras = [(price, "")]
            if plants.on and [model, variant, direction] == cut:
                eras = [(price, f"to = {since - timedelta(days=1)}"), (listed, f"from = {since}")]
            for amount, dated in eras:
                lines += [
                    "[[prices]]",
                    'provider = "example_models"',
                    f'model = "{model}"',
                    f'unit = "{unit}"',
                ]
                lines += [f'rate_usd = "{decimal(amount, 4)}"', f'context = "{variant}"', dated, ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"
