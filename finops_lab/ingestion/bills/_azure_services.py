"""Azure's service categories in FOCUS's words.

Source: FOCUS ServiceCategory; the services by resource provider as Microsoft's documentation groups
them. What is not listed stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from finops_lab.ingestion._lookup import looked_up

__all__ = ["PROVIDERS", "service_category"]

_AI, _DATA, _STORE = "AI and Machine Learning", "Databases", "Storage"
_ANALYTICS, _MANAGE, _JOIN = "Analytics", "Management and Governance", "Integration"

# The resource provider (ConsumedService without "microsoft.") is the export's own classification.
PROVIDERS: Mapping[str, str] = {
    "cognitiveservices": _AI,
    "machinelearningservices": _AI,
    "machinelearning": _AI,
    "botservice": _AI,
    "videoindexer": _AI,
    "healthbot": _AI,
    "search": _ANALYTICS,
    "databricks": _ANALYTICS,
    "synapse": _ANALYTICS,
    "fabric": _ANALYTICS,
    "kusto": _ANALYTICS,
    "hdinsight": _ANALYTICS,
    "streamanalytics": _ANALYTICS,
    "powerbidedicated": _ANALYTICS,
    "dashboard": _ANALYTICS,
    "compute": "Compute",
    "classiccompute": "Compute",
    "containerservice": "Compute",
    "containerinstance": "Compute",
    "containerregistry": "Compute",
    "app": "Compute",
    "batch": "Compute",
    "desktopvirtualization": "Compute",
    "avs": "Compute",
    "sql": _DATA,
    "documentdb": _DATA,
    "dbforpostgresql": _DATA,
    "dbformysql": _DATA,
    "cache": _DATA,
    "devcenter": "Developer Tools",
    "visualstudio": "Developer Tools",
    "loadtestservice": "Developer Tools",
    "azureactivedirectory": "Identity",
    "aad": "Identity",
    "eventhub": _JOIN,
    "servicebus": _JOIN,
    "logic": _JOIN,
    "apimanagement": _JOIN,
    "automation": _JOIN,
    "datafactory": _JOIN,
    "communication": _JOIN,
    "notificationhubs": _JOIN,
    "devices": "Internet of Things",
    "operationalinsights": _MANAGE,
    "insights": _MANAGE,
    "monitor": _MANAGE,
    "purview": _MANAGE,
    "recoveryservices": _MANAGE,
    "media": "Media",
    "migrate": "Migration",
    "hybridcompute": "Multicloud",
    "azurestackhci": "Multicloud",
    "network": "Networking",
    "cdn": "Networking",
    "servicenetworking": "Networking",
    "keyvault": "Security",
    "storage": _STORE,
    "netapp": _STORE,
    "dataprotection": _STORE,
    "elasticsan": _STORE,
    "web": "Web",
    "signalrservice": "Web",
    "maps": "Web",
    "saas": "Other",
}

# The meter category where the resource provider is absent, or too coarse for what is billed.
_METERS: Mapping[str, str] = {
    "azure openai": _AI,
    "azure openai service": _AI,
    "foundry models": _AI,
    "foundry tools": _AI,
    "azure machine learning": _AI,
    "cognitive services": _AI,
    "azure ai services": _AI,
    "azure applied ai services": _AI,
    "virtual machines": "Compute",
    "virtual machines licenses": "Compute",
    "azure kubernetes service": "Compute",
    "container instances": "Compute",
    "container registry": "Compute",
    "azure container apps": "Compute",
    "functions": "Compute",
    "storage": _STORE,
    "backup": _STORE,
    "bandwidth": "Networking",
    "virtual network": "Networking",
    "load balancer": "Networking",
    "application gateway": "Networking",
    "vpn gateway": "Networking",
    "nat gateway": "Networking",
    "expressroute": "Networking",
    "azure dns": "Networking",
    "azure front door service": "Networking",
    "azure firewall": "Networking",
    "sql database": _DATA,
    "azure cosmos db": _DATA,
    "azure database for postgresql": _DATA,
    "redis cache": _DATA,
    "event hubs": _JOIN,
    "service bus": _JOIN,
    "logic apps": _JOIN,
    "api management": _JOIN,
    "azure data factory v2": _JOIN,
    "azure databricks": _ANALYTICS,
    "azure synapse analytics": _ANALYTICS,
    "azure cognitive search": _ANALYTICS,
    "azure app service": "Web",
    "key vault": "Security",
    "microsoft defender for cloud": "Security",
    "log analytics": _MANAGE,
    "azure monitor": _MANAGE,
    "github": "Developer Tools",
    "azure devops": "Developer Tools",
    "saas": "Other",
}


def service_category(meter: pl.Expr, provider: pl.Expr) -> pl.Expr:
    """Return FOCUS's category of a service, from its meter category, else its resource provider."""
    namespace = provider.str.to_lowercase().str.strip_prefix("microsoft.").str.split("/").list.first()
    return pl.coalesce(
        looked_up(meter.str.to_lowercase(), _METERS, pl.String()),
        looked_up(namespace, PROVIDERS, pl.String()),
    )
