"""A lab watched: its anomalies, kept in the lake, with what people said of them and why they happened."""

from finops_lab.watching.incident import Incident, incident
from finops_lab.watching.spend import DAYS, spend
from finops_lab.watching.spenders import spenders
from finops_lab.watching.watched import Watched, anomalies, anomaly_counts

__all__ = ["DAYS", "Incident", "Watched", "anomalies", "anomaly_counts", "incident", "spend", "spenders"]
