"""Anomalies: days and hours that are not as expected, what explains them, and how they fail.

Daily spend is watched by `daily_panel`, `detect` and `events_of`; telemetry by `hourly`, `runaway`, `drifts` and
`failure_modes`; `explain` says which slice it is, and what coincides.
"""

from finops_lab.anomalies.daily import detect
from finops_lab.anomalies.event import EVENTS, as_events, event_id
from finops_lab.anomalies.grouping import events_of
from finops_lab.anomalies.panel import daily_panel

__all__ = ["EVENTS", "as_events", "daily_panel", "detect", "event_id", "events_of"]
