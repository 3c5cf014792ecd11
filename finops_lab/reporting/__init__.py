"""Reports: the monthly review, run by papermill and frozen to the same bytes for the same inputs."""

from finops_lab.reporting.dashboards import dashboard
from finops_lab.reporting.incidents import postmortem
from finops_lab.reporting.monthly import METRICS, Review, check_parameters, review
from finops_lab.reporting.weeks import weekly

__all__ = ["METRICS", "Review", "check_parameters", "dashboard", "postmortem", "review", "weekly"]
