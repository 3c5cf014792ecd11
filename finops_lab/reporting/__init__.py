"""Reports: the monthly review, run by papermill and frozen to the same bytes for the same inputs."""

from finops_lab.reporting.dashboards import dashboard
from finops_lab.reporting.monthly import METRICS, Review, check_parameters, review

__all__ = ["METRICS", "Review", "check_parameters", "dashboard", "review"]
