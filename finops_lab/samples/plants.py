"""What is planted in the raw exports for the tests to find. Amounts come out in `truth.json`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

__all__ = [
    "ANOMALIES",
    "CORRECTION",
    "CREDITS_END",
    "INCIDENT",
    "MISTAG",
    "OVER_PROVISIONED",
    "RESTATED",
    "RUNAWAY",
    "THRASHING",
    "Anomaly",
    "Incident",
    "Plants",
]


@dataclass(frozen=True)
class Anomaly:
    """Extra spend of a few days, both ends included."""

    id: str
    first: date
    last: date
    team: str | None
    what: str

    def days(self) -> list[date]:
        """Return its days."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


ANOMALIES = {
    anomaly.id: anomaly
    for anomaly in (
        Anomaly("storage-requests", date(2025, 3, 11), date(2025, 3, 13), "platform",
                "A job lists a bucket in a loop: storage requests at many times their usual cost"),
        Anomaly("egress", date(2026, 6, 9), date(2026, 6, 11), None,
                "Data transfer out of us-east-1 at ten times its usual volume"),
        Anomaly("retry-storm", date(2026, 8, 18), date(2026, 8, 20), "support",
                "ticket-triage retries every call to quill-small mini; calls and tokens rise together"),
        Anomaly("dev-nodes-left-on", date(2026, 9, 19), date(2026, 9, 23), "growth",
                "A load test's 40 GPU nodes stay on in the dev account"),
    )
}  # fmt: skip
RUNAWAY = Anomaly(
    "runaway-retrain", date(2026, 10, 12), date(2026, 10, 16), "research",
    "A larch-70b retrain restarts again and again on eight instances and completes nothing",
)  # fmt: skip
# One pool of assistants carries the tag of another team from this day.
MISTAG = (date(2026, 8, 12), "chat-assistant", "larch-70b", "int8", "research")
CREDITS_END = date(2026, 7, 1)
CREDIT_CENTS = 1_200_000
# Charges of these days and region were not in the first delivery of the month.
RESTATED = (date(2026, 9, 1), date(2026, 9, 29), "europe-west4", date(2026, 10, 3), date(2026, 10, 12))
# A refund in the bill of the second month for usage in the first.
CORRECTION = (date(2026, 8, 14), date(2026, 10, 1), "support", 384_617)


@dataclass(frozen=True)
class Incident:
    """A bad deploy of a service: calls fail until it is rolled back.

    One call in ``2**bits`` of those that fail is kept: collectors that sample at the tail keep
    more of the failed traces than of the others.
    """

    service: str
    model: str
    deployed: datetime
    rolled_back: datetime
    failed_share: float
    error: str
    bits: int


INCIDENT = Incident(
    "reply-drafts", "alder-34b", datetime(2026, 10, 21, 9, tzinfo=UTC), datetime(2026, 10, 21, 15, tzinfo=UTC),
    1 / 3, "template_error", 7,
)  # fmt: skip
# A pool of feature, model and variant whose autoscaler flaps on these days, both included.
THRASHING = (("search-answers", "larch-7b", "int8"), date(2026, 10, 5), date(2026, 10, 11))
# A pool that is never smaller than this, whatever its load.
OVER_PROVISIONED = (("doc-summaries", "alder-34b", "int8"), 8)


@dataclass(frozen=True)
class Plants:
    """Which truths to plant: all, or none for tests that must find nothing."""

    on: bool = True
