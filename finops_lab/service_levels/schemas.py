"""The frames of the service levels: counted events, budgets, burn rates and alerts.

Counts are of real calls: a sampled row stands for ``n_requests`` x ``sample_weight`` of them,
rounded by itself to thousandths. Decimals never depend on the order of adding, so events of several
days, files or machines may be added in any order.
"""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY

__all__ = [
    "ALERTS",
    "BUDGETS",
    "BURNS",
    "CALENDAR",
    "COINCIDENCES",
    "COUNTED",
    "DAY_S",
    "EVENTS",
    "PROMISE",
    "SLOT_S",
    "SPENT",
    "Schema",
]

Schema = dict[str, pl.DataType | type[pl.DataType]]
COUNTED = pl.Decimal(38, 3)
SLOT_S, DAY_S = 300, 86_400
_MOMENT = pl.Datetime("us", "UTC")

# What tells a promise: its name, what it is about, what is promised.
PROMISE: Schema = dict.fromkeys(("slo", "dimension", "service", "objective"), pl.String)

# Events of one promise in one slot of time; slots without events have no row.
EVENTS: Schema = {
    **PROMISE,
    "slot": _MOMENT,  # begin of the slot
    "slot_s": pl.Int64,  # its length: 300, or 86,400 for what is judged by day
    "good": COUNTED,
    "bad": COUNTED,
    "total": COUNTED,  # good and bad
    "unknown": COUNTED,  # events that could not be judged, such as calls without a latency
    "rows": pl.Int64,  # calls (of days: rows) behind `total` that were really seen, before sample weights
    "bad_rows": pl.Int64,  # those of them that are bad
    "squares": COUNTED,  # calls seen x the square of what each stands for: `total` where every call is seen
    "bad_squares": COUNTED,  # those of `bad`; they tell how much rows of different weights prove
    "bad_usd": MONEY,  # what bad events cost, of those whose cost is known
    "bad_unpriced": COUNTED,  # bad events whose cost is not known
}

# The error budget of one promise in one period.
BUDGETS: Schema = {
    **PROMISE,
    "period": pl.String,  # `28 days` or `2026-10`
    "begin": _MOMENT,
    "end": _MOMENT,  # exclusive
    "until": _MOMENT,  # events count up to here; before `end` while the month runs
    "target": pl.Float64,
    "total": COUNTED,
    "bad": COUNTED,
    "unknown": COUNTED,
    "rows": pl.Int64,
    "allowed_bad": MONEY,  # bad events that the target leaves room for in the whole period
    "estimated": pl.Boolean,  # the period was not seen whole: its total is scaled from what was
    "remaining_bad": MONEY,  # negative where overspent
    "spent_events": MONEY,  # bad / allowed_bad
    "bad_usd": MONEY,  # what bad events cost; null where none of them has a known cost
    "bad_unpriced": COUNTED,
    "budget_usd": MONEY,
    "spent_money": MONEY,  # bad_usd / budget_usd
    "spent": MONEY,  # the larger of the two shares; 1 is all of the budget
    "spent_by": pl.String,  # `events` or `money`
    "exhausted": _MOMENT,  # when the budget was spent, or will be at the present rate
    "exhaustion": pl.String,  # `spent`, `projected` or `not in this period`
    "severity": pl.String,  # `ticket` from 40 %, `page` from 80 % spent, by more than chance; else null
    "reason": pl.String,  # why a value is null, or why nothing is said
}

# Spending of a month's budget by day.
CALENDAR: Schema = {
    **PROMISE,
    "day": pl.Date,
    "total": COUNTED,
    "bad": COUNTED,
    "rows": pl.Int64,
    "bad_usd": MONEY,
    "spent": MONEY,  # share of the month's budget that the day spent; null without events
    "cumulated": MONEY,  # share spent from the first day to this one; null after the last event
}

# Burn rates of one promise in one pair of windows that end at a moment.
BURNS: Schema = {
    **PROMISE,
    "at": _MOMENT,
    "window": pl.String,  # `1 h / 5 m`
    "severity": pl.String,  # what it calls for when it burns
    "threshold": pl.Float64,
    "long_rate": pl.Float64,  # 1 spends the budget exactly by the end of its period
    "short_rate": pl.Float64,
    "long_bad": COUNTED,
    "long_total": COUNTED,
    "long_rows": pl.Int64,
    "long_bad_rows": pl.Int64,
    "short_rows": pl.Int64,
    "exceeds": pl.Boolean,  # both rates are above the threshold
    "chance": pl.Float64,  # of so many bad rows in the long window; null where nothing exceeds
    "status": pl.String,  # `burning`, `calm`, `within chance`, `too few rows` or `no events`
    "reason": pl.String,
}

ALERTS: Schema = {
    **PROMISE,
    "begin": _MOMENT,
    "end": _MOMENT,  # null where it still lasts
    "severity": pl.String,
    "kind": pl.String,  # `burn rate` or `budget spent`
    "window": pl.String,  # pairs of windows that burned, or the level of the budget
    "threshold": pl.Float64,
    "long_rate": pl.Float64,  # peak of the burn rate over the long window
    "short_rate": pl.Float64,  # at that peak
    "rows": pl.Int64,  # calls seen in the long window at that peak
    "spent_before": pl.Float64,  # share of the rolling budget spent when it began
    "spent_after": pl.Float64,  # and when it ended
    "status": pl.String,  # `proved`; or `within chance`, `too few rows`: nobody should be woken for it
    "reason": pl.String,
}

# What happened shortly before an alert: no more than a coincidence.
COINCIDENCES: Schema = {
    **PROMISE,
    "begin": _MOMENT,  # of the alert
    "severity": pl.String,
    "rank": pl.Int64,  # 1 for the nearest: of the same service first
    "what": pl.String,  # `deploy`, `rollback`, `config`, `retrain`, `training`, `scale`
    "ts": _MOMENT,
    "before_s": pl.Int64,
    "match": pl.String,  # `service`, `pool`, `model`, or null: elsewhere
    "about": pl.String,
    "words": pl.String,
}

# Share of a month's budget spent by a moment.
SPENT: Schema = {
    "slo": pl.String,
    "at": _MOMENT,
    "rows": pl.Int64,  # of the month so far
    "spent": pl.Float64,
    "severity": pl.String,  # `ticket` from 40 %, `page` from 80 %, by more than chance
    "unproved": pl.String,  # the same of a level above, reached by no more than chance
    "reason": pl.String,  # figures of that
}
