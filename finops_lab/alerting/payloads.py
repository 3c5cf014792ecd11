"""What sinks are told: JSON, a message of a chat, an alert of Alertmanager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from finops_lab.alerting.wording import amount_words, moment_words
from finops_lab.errors import printable

__all__ = ["alertmanager_alert", "json_line", "record", "slack_message"]

# Limits of Slack's block kit, in characters.
_HEADER, _TEXT, _FIELD = 150, 3000, 2000
_LABELS = (
    "kind", "failure_mode", "metric", "dimension", "value",
    "x_provider", "x_service", "x_team", "x_model", "x_feature",
)  # fmt: skip


def record(alert: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return an alert as JSON holds it.

    Amounts are strings, so that they stay exact; moments are in UTC as of ISO 8601.

    Parameters
    ----------
    alert : mapping
        Row of `finops_lab.alerting.schemas.ALERTS`.
    name : str, optional
        Id under which the receiver knows it; its own by default.

    Examples
    --------
    >>> record({"id": "a", "amount": Decimal("1240.50"), "begin": datetime(2026, 10, 5, tzinfo=UTC)})
    {'id': 'a', 'amount': '1240.5', 'begin': '2026-10-05T00:00:00Z'}
    """
    found = {key: _plain(value) for key, value in alert.items()}
    return found | ({"id": name} if name is not None else {})


def json_line(values: Mapping[str, Any]) -> str:
    """Write values as one line of JSON, the same bytes for the same values."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def slack_message(alert: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return an alert as a message of a Slack incoming webhook, without links.

    All texts are plain: names of resources cannot mention people or hide links in them.

    Parameters
    ----------
    alert, name
        As of `record`.

    Returns
    -------
    dict
        ``text`` (for notifications) and ``blocks``.
    """
    severity = "Page" if alert["severity"] == "page" else "Ticket"
    whose = "everything" if alert["value"] is None else f"{alert['dimension']} {alert['value']}"
    title = f"{severity}: {alert['rule']}, {whose}"
    fields = {
        "At stake": amount_words(alert["amount"], alert["BillingCurrency"]),
        "Since": moment_words(alert["begin"]),
        "Why": alert["why"],
        "Events": str(len(alert["events"])),
    }
    context = f"Alert {name or alert['id']}"
    if alert["severity"] == "page":
        context += ", told at once"
    return {
        # The one text that Slack parses: a notification shows it.
        "text": _escaped(_cut(f"{title}. {alert['sentence']}", _TEXT)),
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": _text(title, _HEADER)},
            {"type": "section", "text": _text(alert["sentence"], _TEXT)},
            {"type": "section", "fields": [_text(f"{key}: {said}", _FIELD) for key, said in fields.items()]},
            {"type": "context", "elements": [_text(context, _TEXT)]},
        ],
    }


def alertmanager_alert(
    alert: Mapping[str, Any],
    now: datetime,
    hold: timedelta,
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    resolve: bool = False,
) -> dict[str, Any]:
    """Return an alert as Alertmanager's API v2 takes it.

    Source: Alertmanager, ``api/v2/openapi.yaml``, ``postableAlert``. Alerts of the same labels are one;
    one without an end in the past is firing until its end.

    Parameters
    ----------
    alert, name
        As of `record`.
    now : datetime.datetime
        When it is sent.
    hold : datetime.timedelta
        How long an alert that goes on is taken for firing.
    labels : mapping of str to str, optional
        Those it was sent with before.
    resolve : bool
        Whether an end in the past is told: one that nobody was told of yet fires first.

    Returns
    -------
    dict
        ``labels``, ``annotations``, ``startsAt`` and ``endsAt``.
    """
    found = {"alertname": "finops_lab", "alert_id": name or alert["id"], "severity": alert["severity"]}
    for key in _LABELS:
        if alert[key] is not None:
            found[key.removeprefix("x_")] = printable(str(alert[key]))
    ends = alert["end"] if alert["end"] is not None else now + hold
    annotations = {"summary": alert["sentence"], "description": f"{alert['rule']}: {alert['why']}"}
    if alert["amount"] is not None:
        annotations["amount"] = f"{alert['amount'].normalize():f}"
        annotations["currency"] = alert["BillingCurrency"]
    return {
        "labels": dict(labels) | {"severity": alert["severity"]} if labels else found,
        "annotations": annotations,
        "startsAt": _moment(alert["begin"]),
        "endsAt": _moment(ends if resolve or ends > now else now + hold),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value.isoformat() if isinstance(value, date) else value


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _cut(printable(text), most), "emoji": False}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
