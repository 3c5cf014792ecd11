"""The frames of alerts: what is told, what people said of it, what was sent, how tiring it was."""

from __future__ import annotations

import polars as pl

from finops_lab.money import MONEY

__all__ = ["ALERTS", "DELIVERIES", "FATIGUE", "FEEDBACK", "NEEDED", "STATES", "TUNED", "VERDICTS", "Schema"]

Schema = dict[str, pl.DataType | type[pl.DataType]]
_MOMENT = pl.Datetime("us", "UTC")
VERDICTS = ("confirmed", "false alarm", "expected")
# In the order of what is still to be done about them.
STATES = ("send", "quiet", "waiting", "short", "suppressed", "dropped", "closed")
_SCOPE: Schema = {f"x_{name}": pl.String for name in ("provider", "service", "team", "model", "feature")}

# Columns of events that alerts are made of; others pass by.
NEEDED: Schema = {
    "id": pl.String,
    "kind": pl.String,
    "failure_mode": pl.String,
    "detector": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "dimension": pl.String,
    "value": pl.String,
    **_SCOPE,
    "first": _MOMENT,
    "last": _MOMENT,
    "grain": pl.String,
    "direction": pl.String,
    "actual": pl.Float64,
    "expected": pl.Float64,
    "excess_amount": MONEY,
    "BillingCurrency": pl.String,
    "score": pl.Float64,
    "status": pl.String,
    "detected": _MOMENT,
    "note": pl.String,
    "cause_of": pl.String,
}

ALERTS: Schema = {
    "id": pl.String,  # id of its earliest event: it stays while the alert grows
    "severity": pl.String,  # `page`, `ticket`, or `none`
    "state": pl.String,  # of `STATES`: `send`, or why not (yet)
    "rule": pl.String,
    "why": pl.String,  # figures that the rule went by, or what holds it back
    "sentence": pl.String,
    "event": pl.String,  # id of the event that the columns below speak of: of the highest severity
    "kind": pl.String,
    "failure_mode": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "dimension": pl.String,
    "value": pl.String,
    **_SCOPE,
    "direction": pl.String,
    "actual": pl.Float64,
    "expected": pl.Float64,
    "score": pl.Float64,
    "begin": _MOMENT,
    "end": _MOMENT,  # exclusive, of all its events; null where one still goes on
    "amount": MONEY,  # most that one of its events has at stake: they may be the same money
    "BillingCurrency": pl.String,
    "budget_share": pl.Float64,  # of the month's budget, were it to go on until the month ends
    "events": pl.List(pl.String),
    "detected": _MOMENT,
    "quiet": pl.String,  # window or planned event that holds it back
    "send_at": _MOMENT,  # null where it is not to be sent
    "sinks": pl.List(pl.String),  # null: all
    "status": pl.String,  # what people said of it, else `open`
}

FEEDBACK: Schema = {
    "id": pl.String,  # of an event or an alert
    "verdict": pl.String,
    "by": pl.String,
    "on": pl.Date,
    "comment": pl.String,
}

DELIVERIES: Schema = {
    "sink": pl.String,
    "id": pl.String,  # the name under which the sink knows the alert
    "severity": pl.String,
    "outcome": pl.String,  # `sent`, `extended`, `resolved`, `sent before`
}

# What alerts ask of people, by rule; the last row is of all.
FATIGUE: Schema = {
    "rule": pl.String,  # null: all
    "weeks": pl.Float64,
    "alerts": pl.Int64,  # told in that time
    "pages": pl.Int64,
    "tickets": pl.Int64,
    "held_back": pl.Int64,  # suppressed, dropped, or too short
    "alerts_per_week": pl.Float64,
    "pages_per_week": pl.Float64,
    "confirmed": pl.Int64,
    "false_alarms": pl.Int64,
    "expected": pl.Int64,
    "open": pl.Int64,  # not judged
    "precision": pl.Float64,  # confirmed / judged; null where none is
    "low": pl.Float64,  # Wilson interval of 95 %
    "high": pl.Float64,
}

TUNED: Schema = {
    "detector": pl.String,
    "before": pl.Float64,  # budget of false alarms per series and month, as stated
    "false_alarms_per_month": pl.Float64,  # as feedback would have it
    "confirmed": pl.Int64,
    "false_alarms": pl.Int64,
    "precision": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "why": pl.String,
}
