"""The words of statements: what each way to an owner is called, and what it means.

One table for workbooks, CSV and documentation, so that no two of them explain an amount differently.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "WORDING", "Kind", "Wording"]


@dataclass(frozen=True)
class Kind:
    """A column of the summary: its `title`, and its `meaning` in one or two sentences."""

    title: str
    meaning: str


@dataclass(frozen=True)
class Wording:
    """How `x_AllocationMethod` reads: the `kind` it is summed under, a `label` and a `meaning`."""

    kind: str
    label: str
    meaning: str


# The columns of the summary, in order. Together they are the total.
KINDS: dict[str, Kind] = {
    "direct": Kind("Direct", "Charges that belong to the team as a whole: a tag or a rule names it."),
    "usage": Kind("Usage split", "The team's part of what several share, split by metered use."),
    "shared": Kind("Shared", "The team's part of costs of all, such as support, by a stated key."),
    "idle": Kind(
        "Idle",
        "Capacity that was paid for and not used. Negative where telemetry shows more than was paid for.",
    ),
    "dark": Kind(
        "Dark",
        "The part of a pool that no telemetry explains. Negative where telemetry shows more than was paid for.",
    ),
    "amortized": Kind(
        "Amortized", "The month's part of earlier work, such as training, spread over its use."
    ),
    "override": Kind("Override", "Amounts that a person moved, with author, reason and date."),
    "unallocated": Kind("Unallocated", "Charges that no rule gives to anybody. They are nobody's, not lost."),
}

# By `x_AllocationMethod` of the ledger.
WORDING: dict[str, Wording] = {
    "tag": Wording("direct", "Tag", "A tag on the bill row names the owner."),
    "rule": Wording("direct", "Rule", "A rule over account, service or resource names the owner."),
    "telemetry": Wording("usage", "Metered use", "Split by the use that telemetry measured."),
    "shared": Wording("shared", "Shared cost", "Spread by a key: evenly, by fixed shares, or by a metric."),
    "idle": Wording("idle", "Idle capacity", "Paid for and not used, given by the pool's policy."),
    "dark": Wording("dark", "Dark spend", "On the bill, in no telemetry."),
    "amortized": Wording("amortized", "Amortized", "Spread over the months that benefit."),
    "override": Wording("override", "Override", "Moved by hand; the override file says who, why and when."),
    "unallocated": Wording("unallocated", "No owner", "No rule found an owner."),
}
