"""`finops.toml` as frozen models: what a lab is called, who owns what, what was planned.

An error names the file, the key and the line. Amounts are written as strings (``"1200.50"``) so
that they stay exact.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from finops_lab.calendar import parse_month
from finops_lab.errors import ConfigError, InputError

__all__ = [
    "Budget",
    "Config",
    "Dimensions",
    "LabInfo",
    "Rate",
    "Rule",
    "Sampling",
    "Slo",
    "Telemetry",
    "load",
]

CONFIG_FILE = "finops.toml"


def _month(value: object) -> date:
    try:
        return parse_month(value)
    except InputError as error:
        raise ValueError(str(error)) from None


def _exact(value: object) -> object:
    if isinstance(value, float):
        raise ValueError(f'write the amount as a string to keep it exact, such as "{value}"')
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Month = Annotated[date, BeforeValidator(_month)]
Exact = Annotated[Decimal, BeforeValidator(_exact)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LabInfo(_Model):
    """`[lab]`: the name shown on reports, the currency of totals, a note for readers."""

    name: str
    currency: Currency = "USD"
    note: str = ""


class Extract(_Model):
    """Take the value from a column: the first capture group of `pattern`."""

    column: str
    pattern: str

    @model_validator(mode="after")
    def _one_group(self) -> Extract:
        if _compiled(self.pattern).groups < 1:
            raise ValueError(f"pattern {self.pattern!r} needs one (group) to take the value from")
        return self


class Rule(_Model):
    """`[[dimensions.NAME]]`: one rule; the first rule that gives a value wins.

    The value comes from one of `tag` (keys tried in order, compared without case and blanks),
    `column`, `extract` or the literal `value`. `where` limits the rule to rows whose columns equal
    the given value, one of the given values, or match a regular expression written ``~pattern``.
    `map` renames values.
    """

    name: str
    tag: Names = ()
    column: str | None = None
    extract: Extract | None = None
    value: str | None = None
    where: dict[str, Names] = {}
    map: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_source(self) -> Rule:
        given = [bool(self.tag), self.column is not None, self.extract is not None, self.value is not None]
        if sum(given) != 1:
            raise ValueError("a rule takes its value from exactly one of: tag, column, extract, value")
        for values in self.where.values():
            for value in values:
                if value.startswith("~"):
                    _compiled(value[1:])
        return self


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        pl.Series([""]).str.contains(pattern)  # polars knows no look-around and no back-references
        return re.compile(pattern)
    except (re.error, pl.exceptions.ComputeError) as error:
        said = next((n for n in str(error).splitlines() if n.startswith("error:")), str(error))
        raise ValueError(f"regular expression {pattern!r}: {said.removeprefix('error: ')}") from None


class Dimensions(_Model):
    """`[[dimensions.*]]`: the ordered rules of each dimension of the ledger."""

    team: tuple[Rule, ...] = ()
    product: tuple[Rule, ...] = ()
    model: tuple[Rule, ...] = ()
    variant: tuple[Rule, ...] = ()
    feature: tuple[Rule, ...] = ()
    customer: tuple[Rule, ...] = ()
    environment: tuple[Rule, ...] = ()
    region: tuple[Rule, ...] = ()
    business_unit: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_once(self) -> Dimensions:
        for dimension in type(self).model_fields:
            names = [rule.name for rule in getattr(self, dimension)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(
                    f"two rules of {dimension} are named {twice!r}: the ledger could not tell them apart"
                )
        return self


class Sampling(_Model):
    """`[[telemetry.sampling]]`: files whose requests were sampled before export."""

    path: str
    rate: float = Field(gt=0, le=1)


class Telemetry(_Model):
    """`[telemetry]`: where requests carry their context, and how they were sampled.

    `attributes` adds names of span attributes or metadata keys per context column, tried before
    the built-in ``finops.*`` names.
    """

    attributes: dict[
        Literal["team", "feature", "customer", "environment", "variant", "region", "model"], Names
    ] = {}
    sampling: tuple[Sampling, ...] = ()


class Budget(_Model):
    """`[[budgets]]`: planned spend of each month from `first` to `last`; no team means all."""

    team: str | None = None
    first: Month = Field(alias="from")
    last: Month = Field(alias="to")
    amount: Exact
    currency: Currency | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Budget:
        if self.last < self.first:
            raise ValueError("the month in `to` is before the month in `from`")
        return self


class Slo(_Model):
    """`[[slos]]`: a service level objective."""

    service: str
    objective: Literal["availability", "latency"]
    target: float = Field(gt=0, lt=1)
    threshold_ms: float | None = Field(default=None, gt=0)
    window_days: int = Field(default=28, ge=1)


class Rate(_Model):
    """`[[rates]]`: one unit of `source` is `rate` units of `target` for charges of the month."""

    month: Month
    source: Currency = Field(alias="from")
    target: Currency = Field(alias="to")
    rate: Exact = Field(gt=0)


class Config(_Model):
    """The whole of `finops.toml`."""

    lab: LabInfo
    dimensions: Dimensions = Dimensions()
    telemetry: Telemetry = Telemetry()
    budgets: tuple[Budget, ...] = ()
    slos: tuple[Slo, ...] = ()
    rates: tuple[Rate, ...] = ()

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
        return tuple(dict.fromkeys(normalise_tag_key(key) for key in keys))


def normalise_tag_key(key: str) -> str:
    """Spell a tag key so that case, blanks and separators do not matter.

    Examples
    --------
    >>> normalise_tag_key(" Cost-Center ")
    'cost_center'
    """
    return re.sub(r"[\W_]+", "_", key.strip().lower()).strip("_")


def load(lab: Path) -> Config:
    """Read the `finops.toml` of a lab folder.

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
    path = lab / CONFIG_FILE
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
        return Config.model_validate(tomllib.loads(text))
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
