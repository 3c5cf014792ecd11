"""`finops.toml` as frozen models: what a lab is called, who owns what, what was planned.

An error names the file, the key and the line. Amounts are written as strings (``"1200.50"``) so
that they stay exact.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from finops_lab.config._base import Currency, Model
from finops_lab.config.activities import Activity
from finops_lab.config.ai_spend import AdoptionRule, AiSpendRule
from finops_lab.config.allocation import Measure, Override, Shared, Split, TokenWeights, loop
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
from finops_lab.config.ingestion import Columns, Coverage, Sampling, Source, Telemetry
from finops_lab.config.planning import Budget, KpiTarget, Pool, Price, Rate, Slo
from finops_lab.config.practice import Practice
from finops_lab.errors import ConfigError

__all__ = [
    "Account",
    "Activity",
    "AdoptionRule",
    "AiSpendRule",
    "Budget",
    "Columns",
    "Commitment",
    "Config",
    "Coverage",
    "Credit",
    "Dimensions",
    "Extract",
    "KpiTarget",
    "LabInfo",
    "Measure",
    "Override",
    "Pool",
    "Practice",
    "Price",
    "Rate",
    "Rule",
    "Sampling",
    "Shared",
    "Slo",
    "Source",
    "Split",
    "Telemetry",
    "TokenWeights",
    "holds",
    "load",
    "normalise_tag_key",
]

CONFIG_FILE = "finops.toml"
# Decisions in disputes may stand in a file of their own, kept by other people than the rules.
OVERRIDES_FILE = "overrides.toml"
_Whole = TypeVar("_Whole", bound=Model)


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
            ("splits and shared", [*(s.name for s in self.splits), *(tier.name for tier in self.shared)]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: the name {twice!r} stands there twice")
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
    whole = _read(lab / CONFIG_FILE, lab, Config)
    if not (lab / OVERRIDES_FILE).is_file():
        return whole
    decided = _read(lab / OVERRIDES_FILE, lab, Overrides)
    return whole.model_copy(update={"overrides": (*whole.overrides, *decided.overrides)})


def _read(path: Path, lab: Path, model: type[_Whole]) -> _Whole:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{CONFIG_FILE} is missing",
            file=lab,
            hint="it needs at least [lab] name and currency; `finops-lab sample --out DIR` writes an example",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=path) from None
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", file=path) from None
    except ValidationError as error:
        raise _explain(error, path, text) from None


def _explain(error: ValidationError, path: Path, text: str) -> ConfigError:
    # A misspelled key is told before the required key that it leaves missing.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = first["loc"]
    key = ".".join(f"[{part + 1}]" if isinstance(part, int) else str(part) for part in location)
    key = key.replace(".[", "[")
    line = _line_of(text, location)
    hint = None
    if first["type"] == "extra_forbidden":
        message = f"unknown key {key!r}"
        close = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "remove it"
    elif first["type"] == "missing":
        message = f"key {key!r} is missing"
    else:
        message = f"key {key!r}: {first['msg'].removeprefix('Value error, ')}"
    more = error.error_count() - 1
    message += f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    return ConfigError(message, file=f"{path}, line {line}" if line else path, hint=hint)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Config
    for part in location:
        if isinstance(part, int):
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        field = model.model_fields.get(part) or next(
            (f for f in model.model_fields.values() if f.alias == part), None
        )
        annotation = field.annotation if field else None
        model = next((a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)), annotation)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or name for name, f in model.model_fields.items()]
    return []


def _line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """Find the line of a key: tomllib keeps no positions, so walk headers and keys."""
    names = [part for part in location if isinstance(part, str)]
    index = next((part for part in location if isinstance(part, int)), 0)
    best: int | None = None
    section: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line)
        if header:
            section = [part.strip().strip("\"'") for part in header[2].split(".")]
            seen[header[2]] = seen.get(header[2], -1) + 1
            if names[: len(section)] == section and seen[header[2]] == index:
                best = number
            continue
        found = re.match(r"\s*[\"']?([\w.-]+?)[\"']?\s*=", line)
        here = not section or seen.get(".".join(section), 0) == index
        if found and here and names[: len(section) + 1] == [*section, found[1]]:
            return number
    return best
