"""Alerts: who is told of what was found, once, and what people said of it."""

from __future__ import annotations

from finops_lab.alerting._posting import NotDelivered
from finops_lab.alerting.fatigue import fatigue
from finops_lab.alerting.feedback import anomaly_rows, judged, read_feedback
from finops_lab.alerting.routing import alerts
from finops_lab.alerting.rules import Rules, rules_of
from finops_lab.alerting.schemas import ALERTS
from finops_lab.alerting.sending import STATE_FILE, write_alerts
from finops_lab.alerting.tuning import tuned

__all__ = [
    "ALERTS",
    "STATE_FILE",
    "NotDelivered",
    "Rules",
    "alerts",
    "anomaly_rows",
    "fatigue",
    "judged",
    "read_feedback",
    "rules_of",
    "tuned",
    "write_alerts",
]
