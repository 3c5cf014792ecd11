"""One `finops.toml` out of several: what each lab says holds for its own files only."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from finops_lab.config import (
    Commitment,
    Config,
    Coverage,
    Credit,
    Dimensions,
    Extract,
    Rule,
    Split,
    Telemetry,
)
from finops_lab.config.dimensions import with_accounts
from finops_lab.errors import ConfigError

__all__ = ["Twins", "merged_config"]

# Per lab: the path of a file that is not brought in, and the pattern of what counts in its place.
Twins = Mapping[str, Mapping[str, str]]

_Promised = TypeVar("_Promised", Commitment, Credit)
_HINT = "make them agree, or write the portal's finops.toml and give it as config"
# What a value is said of: two labs that say different things of it contradict each other.
_KEYS: dict[str, Callable[[Any], Hashable]] = {
    "slos": lambda slo: (slo.name, slo.dimension, slo.service, slo.objective, slo.metric, slo.table),
    "kpis": lambda target: (target.kpi, target.measure, target.dimension, target.key),
    "rates": lambda rate: (rate.month, rate.source, rate.target),
    "pools": lambda pool: pool.id,
}
# Who is told of a lab's anomalies, and when, is settled there: a portal would tell them once more.
_OF_ITS_LAB = ("anomalies", "alerts", "quiet", "sinks")
_MERGED = {
    "lab",
    "dimensions",
    "accounts",
    "telemetry",
    "columns",
    "sources",
    "coverage",
    "budgets",
    "events",
    "prices",
    "splits",
    "practice",
    "commitments",
    "credits",
    *_OF_ITS_LAB,
}


def merged_config(
    configs: Mapping[str, Config], twins: Twins, requests: Collection[str]
) -> tuple[Config, tuple[str, ...]]:
    """Merge the configurations of labs whose files lie below folders of the labs' names.

    Parameters
    ----------
    configs : mapping
        Configurations by the labs' names, in the order in which the portal lists them.
    twins : mapping
        Files that are not brought in, since another lab's file counts in their place.
    requests : collection of str
        Labs that hold requests: they must agree on ``[telemetry]`` attributes.

    Returns
    -------
    (Config, tuple of str)
        The portal's configuration, and what of the labs' is not in it, or holds more widely there.

    Raises
    ------
    ConfigError
        When labs contradict each other: the message names both.
    """
    notes: list[str] = []
    values: dict[str, Any] = {
        "lab": _lab(configs),
        "dimensions": _dimensions(configs),
        "telemetry": _telemetry(configs, requests),
        "columns": [
            c.model_copy(update={"path": f"{lab}/{c.path}"}) for lab, x in configs.items() for c in x.columns
        ],
        "coverage": [_plan(p, lab, twins.get(lab, {})) for lab, x in configs.items() for p in x.coverage],
        "budgets": _budgets(configs, notes),
        "events": _events(configs, notes),
        "prices": _prices(configs, notes),
        "splits": [_split(s, lab) for lab, x in configs.items() for s in x.splits],
        "commitments": [_named(one, lab) for lab, x in configs.items() for one in x.commitments],
        "credits": [_named(one, lab) for lab, x in configs.items() for one in x.credits],
        # Work of two labs is twice the work, even where it is written alike.
        "practice": [entry for x in configs.values() for entry in x.practice],
    }
    for name in Config.model_fields:
        if name in _KEYS:
            values[name] = _spans(configs, name, _KEYS[name])
        elif name not in _MERGED:
            values[name] = _same(configs, name)
    for lab, config in configs.items():
        if config.sources:
            notes.append(f"{lab}: [[sources]] stay with the lab; what it copied last is brought in as files")
        if any(name in config.model_fields_set for name in _OF_ITS_LAB):
            notes.append(f"{lab}: [anomalies], [[alerts]], [[quiet]] and [[sinks]] stay with the lab")
    try:
        return Config.model_validate(values), tuple(notes)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"the labs' configurations do not fit together: {said}", hint=_HINT) from None


def _lab(configs: Mapping[str, Config]) -> dict[str, str]:
    (first, config), *others = configs.items()
    for lab, other in others:
        if other.lab.currency != config.lab.currency:
            raise ConfigError(
                f"[lab] currency is {config.lab.currency} in {first} and {other.lab.currency} in {lab}",
                hint=_HINT,
            )
    names = [config.lab.name for config in configs.values()]
    listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
    return {
        "name": f"Portal of {listed}",
        "currency": config.lab.currency,
        "note": "Made by merging labs: change the labs, not this file.",
    }


def _dimensions(configs: Mapping[str, Config]) -> dict[str, list[Rule]]:
    # Accounts become the rules that they stand for: those can be limited to the lab's files.
    owned = {lab: with_accounts(config.dimensions, config.accounts) for lab, config in configs.items()}
    return {name: _rules(owned, name) for name in Dimensions.model_fields}


def _rules(owned: Mapping[str, Dimensions], dimension: str) -> list[Rule]:
    """Put equal rules in once, each lab's in the order of the lab."""
    found: list[tuple[Rule, list[str]]] = []
    for lab, dimensions in owned.items():
        place = 0
        for rule in getattr(dimensions, dimension):
            mine = _inside(rule, lab)
            same = next((n for n in range(place, len(found)) if mine is rule and found[n][0] == rule), None)
            if same is None:
                found.insert(place, (mine, [lab]))
                same = place
            else:
                found[same][1].append(lab)
            place = same + 1
    return [_of_labs(rule, labs) if len(labs) < len(owned) else rule for rule, labs in found]


def _inside(rule: Rule, lab: str) -> Rule:
    """Spell a rule that looks at files' paths for paths below the lab's folder."""
    update: dict[str, Any] = {}
    if "x_SourceFile" in rule.where:
        update["where"] = _below(rule.where, "x_SourceFile", lab, f"rule {rule.name!r}")
    if rule.column == "x_SourceFile":
        update |= {"column": None, "extract": Extract(column="x_SourceFile", pattern=f"^{lab}/((?s:.*))$")}
    if rule.extract is not None and rule.extract.column == "x_SourceFile":
        pattern = _pattern(rule.extract.pattern, lab, f"rule {rule.name!r}")
        update["extract"] = Extract(column="x_SourceFile", pattern=pattern)
    return rule.model_copy(update=update) if update else rule


def _of_labs(rule: Rule, labs: Sequence[str]) -> Rule:
    return rule.model_copy(
        update={"name": f"{', '.join(labs)}: {rule.name}", "where": _only(rule.where, labs)}
    )


def _only(
    where: Mapping[str, tuple[str, ...]], labs: Sequence[str], column: str = "x_SourceFile"
) -> dict[str, tuple[str, ...]]:
    # A condition on the path is already spelled with the lab's folder in front.
    return {**{column: tuple(f"~^{lab}/" for lab in labs)}, **where}


def _below(
    where: Mapping[str, tuple[str, ...]], column: str, lab: str, whose: str
) -> dict[str, tuple[str, ...]]:
    spelled = [
        f"~{_pattern(value[1:], lab, whose)}" if value.startswith("~") else f"{lab}/{value}"
        for value in where[column]
    ]
    return {**where, column: tuple(spelled)}


def _pattern(pattern: str, lab: str, whose: str) -> str:
    """Spell a regular expression on a path for the path below the lab's folder."""
    rest = pattern.removeprefix("^")
    plain = re.sub(r"\\.|\[\^?", "", rest)
    if "^" in plain or (rest != pattern and "|" in plain) or r"\A" in rest:
        raise ConfigError(
            f"{lab}: {whose} looks for {pattern!r} in the files' paths, which have {lab}/ in front here",
            hint="write the pattern with one ^ at its begin, or without, or give the portal's own config",
        )
    return f"^{lab}/{rest}" if rest != pattern else f"^{lab}/(?s:.*)(?:{rest})"


def _plan(plan: Coverage, lab: str, twins: Mapping[str, str]) -> Coverage:
    """Spell a coverage plan for the portal; a lab's file that counts elsewhere is meant there too."""

    def spelled(patterns: Sequence[str]) -> tuple[str, ...]:
        elsewhere = (kept for path, kept in sorted(twins.items()) if any(_fits(path, p) for p in patterns))
        return tuple(dict.fromkeys([*(f"{lab}/{pattern}" for pattern in patterns), *elsewhere]))

    file = "x_SourceFile" if plan.table == "costs" else "source_file"
    update: dict[str, Any] = {
        "name": f"{lab}: {plan.name}",
        "authoritative": spelled(plan.authoritative),
        "overlap": spelled(plan.overlap),
    }
    if file in plan.where:
        update["where"] = _below(plan.where, file, lab, f"[[coverage]] {plan.name!r}")
    return plan.model_copy(update=update)


def _fits(path: str, pattern: str) -> bool:
    spelled = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(f"(?s:{spelled})", path) is not None


def _split(split: Split, lab: str) -> Split:
    where, usage = split.where, split.usage
    for column, whose in (("x_SourceFile", where), ("source_file", usage)):
        if column in whose:
            spelled = _below(whose, column, lab, f"[[splits]] {split.name!r}")
            where, usage = (spelled, usage) if whose is where else (where, spelled)
    update = {
        "name": f"{lab}: {split.name}",
        "where": _only(where, [lab]),
        "usage": _only(usage, [lab], "source_file"),
    }
    return split.model_copy(update=update)


def _named(one: _Promised, lab: str) -> _Promised:
    """Spell a commitment or a credit for the portal: it is of the lab's bills alone."""
    where = one.where
    if "x_SourceFile" in where:
        where = _below(where, "x_SourceFile", lab, f"{one.name!r}")
    return one.model_copy(update={"name": f"{lab}: {one.name}", "where": _only(where, [lab])})


def _telemetry(configs: Mapping[str, Config], requests: Collection[str]) -> Telemetry:
    sampling = [
        entry.model_copy(update={"path": f"{lab}/{entry.path}"})
        for lab, config in configs.items()
        for entry in config.telemetry.sampling
    ]
    asked = {lab: config.telemetry.attributes for lab, config in configs.items() if lab in requests}
    (first, attributes) = next(iter(asked.items()), ("", {}))
    for lab, other in asked.items():
        if other != attributes:
            # Attributes cannot be limited to files: one lab's would be looked for in the other's requests.
            raise ConfigError(
                f"[telemetry] attributes of {first} and {lab} differ, and both hold requests", hint=_HINT
            )
    return Telemetry(attributes=attributes, sampling=tuple(sampling))


def _told(entry: Any) -> str:
    said = entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return ", ".join(f"{key} {value}" for key, value in said.items())


def _spans(configs: Mapping[str, Config], name: str, key: Callable[[Any], Hashable]) -> list[Any]:
    """Put equal entries in once; refuse that two labs say different things of one key and time."""
    found: list[tuple[str, Any]] = []
    for lab, config in configs.items():
        for entry in getattr(config, name):
            if any(entry == other for _, other in found):
                continue
            for first, other in found:
                if first != lab and key(entry) == key(other) and not _apart(entry, other):
                    raise ConfigError(
                        f"[[{name}]] of {first} and {lab} contradict each other: {_told(other)}; {_told(entry)}",
                        hint=_HINT,
                    )
            found.append((lab, entry))
    return [entry for _, entry in found]


def _apart(one: Any, other: Any) -> bool:
    starts, ends = ([getattr(entry, name, None) for entry in (one, other)] for name in ("first", "last"))
    return any(start and end and start > end for start, end in zip(starts, reversed(ends), strict=True))


def _budgets(configs: Mapping[str, Config], notes: list[str]) -> list[Any]:
    for lab, config in configs.items():
        if any(budget.team is None for budget in config.budgets):
            notes.append(f"{lab}: [[budgets]] without a team plan that lab alone: not in the portal")
    # Only what is brought in can contradict each other.
    found = _spans(configs, "budgets", lambda b: (b.team, b.approved) if b.team is not None else id(b))
    return [budget for budget in found if budget.team is not None]


def _events(configs: Mapping[str, Config], notes: list[str]) -> list[Any]:
    """Put equal events in once: labs that share a team label the same event of it alike."""
    for lab, config in configs.items():
        if any(event.by is None for event in config.events):
            notes.append(f"{lab}: [[events]] of everything hold for that lab alone: not in the portal")
    named = [event for config in configs.values() for event in config.events if event.by is not None]
    return list(dict.fromkeys(named))


def _prices(configs: Mapping[str, Config], notes: list[str]) -> list[Any]:
    for lab, config in configs.items():
        if any(any(p not in other.prices for p in config.prices) for other in configs.values()):
            notes.append(f"{lab}: its [[prices]] hold for the requests of all labs in the portal")

    def key(price: Any) -> Hashable:
        return price.provider, price.model, price.unit, price.context, price.tier_above_tokens

    return _spans(configs, "prices", key)


def _same(configs: Mapping[str, Config], name: str) -> Any:
    """Take over what cannot be limited to a lab's files only where all labs say it alike."""
    (first, config), *others = configs.items()
    for lab, other in others:
        if getattr(other, name) != getattr(config, name):
            table = f"[{name}]" if name == "adoption" else f"[[{name}]]"
            raise ConfigError(
                f"{table} of {first} and {lab} differ, and cannot be limited to one lab's charges",
                hint=_HINT,
            )
    return getattr(config, name)
