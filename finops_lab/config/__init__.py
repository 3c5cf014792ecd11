"""`finops.toml` as frozen models: what a lab is called, who owns what, what was planned.

An error names the file, the key and the line. Amounts are written as strings (``"1200.50"``) so
that they stay exact.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from finops_lab.config._base import Currency, Model, check_columns
from finops_lab.config._reading import read
from finops_lab.config.activities import Activity
from finops_lab.config.ai_spend import AdoptionRule, AiSpendRule
from finops_lab.config.alerts import AlertRule, Anomalies, Quiet, Sink
from finops_lab.config.allocation import Measure, Override, Shared, Split, TokenWeights, loop
from finops_lab.config.budgets import Budget
from finops_lab.config.commitments import Commitment, Credit
from finops_lab.config.dimensions import (
    Account,
    Dimensions,
    Extract,
    Rule,
    check_accounts,
    holds,
    normalise_tag_key,
)
from finops_lab.config.events import Event
from finops_lab.config.feature_plan import FeaturePlan, feature_plan
from finops_lab.config.ingestion import Columns, Coverage, Sampling, Source, Telemetry
from finops_lab.config.planning import KpiTarget, Pool, Price, Rate, Slo
from finops_lab.config.practice import Practice
from finops_lab.errors import ConfigError

__all__ = [
    "Account",
    "Activity",
    "AdoptionRule",
    "AiSpendRule",
    "AlertRule",
    "Anomalies",
    "Budget",
    "Columns",
    "Commitment",
    "Config",
    "Coverage",
    "Credit",
    "Dimensions",
    "Event",
    "Extract",
    "FeaturePlan",
    "KpiTarget",
    "LabInfo",
    "Measure",
    "Override",
    "Pool",
    "Practice",
    "Price",
    "Quiet",
    "Rate",
    "Rule",
    "Sampling",
    "Shared",
    "Sink",
    "Slo",
    "Source",
    "Split",
    "Telemetry",
    "TokenWeights",
    "check_columns",
    "feature_plan",
    "holds",
    "load",
    "normalise_tag_key",
]

CONFIG_FILE = "finops.toml"
# Decisions in disputes may stand in a file of their own, kept by other people than the rules.
OVERRIDES_FILE = "overrides.toml"


class LabInfo(Model):
    """`[lab]`: the name shown on reports, the currency of totals, a note for readers."""

    name: str
    currency: Currency = "USD"
    note: str = ""


class Overrides(Model):
    """`overrides.toml`, beside `finops.toml`: decisions in disputes."""

    overrides: tuple[Override, ...] = ()


class Config(Model):
    """The whole of `finops.toml`."""

    lab: LabInfo
    dimensions: Dimensions = Dimensions()
    accounts: tuple[Account, ...] = ()
    telemetry: Telemetry = Telemetry()
    columns: tuple[Columns, ...] = ()
    sources: tuple[Source, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    budgets: tuple[Budget, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    credits: tuple[Credit, ...] = ()
    events: tuple[Event, ...] = ()
    slos: tuple[Slo, ...] = ()
    kpis: tuple[KpiTarget, ...] = ()
    practice: tuple[Practice, ...] = ()
    activities: tuple[Activity, ...] = ()
    ai_spend: tuple[AiSpendRule, ...] = ()
    adoption: AdoptionRule = AdoptionRule()
    rates: tuple[Rate, ...] = ()
    prices: tuple[Price, ...] = ()
    pools: tuple[Pool, ...] = ()
    splits: tuple[Split, ...] = ()
    shared: tuple[Shared, ...] = ()
    overrides: tuple[Override, ...] = ()
    anomalies: Anomalies = Anomalies()
    alerts: tuple[AlertRule, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    sinks: tuple[Sink, ...] = ()

    @model_validator(mode="after")
    def _names_once(self) -> Config:
        for what, names in (
            ("sources", [source.name for source in self.sources]),
            ("coverage", [plan.name for plan in self.coverage]),
            ("pools", [pool.id for pool in self.pools]),
            ("commitments", [one.name for one in self.commitments]),
            ("credits", [one.name for one in self.credits]),
            ("activities", [rule.name for rule in self.activities]),
            ("ai_spend", [rule.name for rule in self.ai_spend]),
            ("alerts", [rule.name for rule in self.alerts]),
            ("quiet", [window.name for window in self.quiet]),
            ("sinks", [sink.name for sink in self.sinks]),
            ("splits and shared", [*(s.name for s in self.splits), *(tier.name for tier in self.shared)]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: the name {twice!r} stands there twice")
        for rule in self.alerts:
            if absent := sorted(set(rule.sinks) - {sink.name for sink in self.sinks}):
                raise ValueError(f"alerts: {rule.name!r} goes to {absent[0]!r}, and no sink has that name")
        check_accounts(self.dimensions, self.accounts)
        if circle := loop(self.shared):
            raise ValueError(f"shared: costs go round in a circle, {' > '.join(circle)}")
        return self

    def tag_keys(self) -> tuple[str, ...]:
        """Return every tag key the rules name, normalised, in order of first use."""
        rules = [
            rule for name in type(self.dimensions).model_fields for rule in getattr(self.dimensions, name)
        ]
        keys: list[str] = []
        for rule in rules:
            looked_at = [rule.column or "", rule.extract.column if rule.extract else "", *rule.where]
            keys += rule.tag
            keys += [name.removeprefix("x_tag_") for name in looked_at if name.startswith("x_tag_")]
        picked = [name for split in self.splits for name in (*split.where, *split.match)]
        picked += [name for rule in self.ai_spend for name in (*rule.where, *rule.look_in)]
        keys += [name.removeprefix("x_tag_") for name in picked if name.startswith("x_tag_")]
        return tuple(dict.fromkeys(normalise_tag_key(key) for key in keys))


def load(lab: Path) -> Config:
    """Read the `finops.toml` of a lab folder, and its `overrides.toml` where there is one.

    Parameters
    ----------
    lab : pathlib.Path
        The lab's folder.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        When the file is missing, is not TOML, or holds an unknown or malformed key.
    """
    if not lab.is_file() and not (lab / CONFIG_FILE).exists():
        raise ConfigError(
            f"{CONFIG_FILE} is missing",
            file=lab,
            hint="it needs at least [lab] name and currency; `finops-lab sample --out DIR` writes an example",
        )
    whole = read(lab / CONFIG_FILE, Config)
    if not (lab / OVERRIDES_FILE).is_file():
        return whole
    decided = read(lab / OVERRIDES_FILE, Overrides)
    return whole.model_copy(update={"overrides": (*whole.overrides, *decided.overrides)})
