"""FOCUS's category of an AWS service, by its product code."""

from __future__ import annotations

import polars as pl

from finops_lab.ingestion._lookup import looked_up

__all__ = ["category_of"]

_CATEGORIES = {
    "AI and Machine Learning": (
        "AmazonSageMaker", "AmazonComprehend", "AmazonRekognition", "AmazonTextract", "AmazonTranscribe",
        "AmazonPolly", "AmazonLex", "AmazonKendra", "AmazonPersonalize", "AmazonForecast", "AmazonQ",
        "AmazonQBusiness", "translate", "comprehend", "MachineLearningSavingsPlans",
    ),
    "Analytics": (
        "AmazonAthena", "AmazonRedshift", "AWSGlue", "ElasticMapReduce", "AmazonKinesis",
        "AmazonKinesisFirehose", "AmazonQuickSight", "AmazonES", "AWSLakeFormation", "AmazonMSK",
    ),
    "Compute": (
        "AmazonEC2", "AWSLambda", "AmazonECS", "AmazonEKS", "AmazonLightsail", "AWSBatch",
        "AWSAppRunner", "ComputeSavingsPlans", "AmazonECR",
    ),
    "Databases": (
        "AmazonRDS", "AmazonDynamoDB", "AmazonElastiCache", "AmazonDocDB", "AmazonNeptune",
        "AmazonMemoryDB", "AmazonTimestream",
    ),
    "Developer Tools": ("AWSCodePipeline", "CodeBuild", "AWSCodeArtifact", "AWSXRay", "AWSCloudShell"),
    "Identity": ("AmazonCognito", "AWSDirectoryService"),
    "Integration": (
        "AWSQueueService", "AmazonSNS", "AWSEvents", "AmazonStates", "AmazonMQ", "AmazonApiGateway",
    ),
    "Internet of Things": ("AWSIoT", "AWSIoTAnalytics"),
    "Management and Governance": (
        "AmazonCloudWatch", "AWSCloudTrail", "AWSConfig", "AWSSystemsManager", "AWSServiceCatalog",
        "AmazonGrafana", "AmazonPrometheus", "AWSCloudFormation", "AWSCostExplorer",
    ),
    "Migration": ("AWSMigrationHubRefactorSpaces", "AWSDatabaseMigrationSvc", "AWSDataSync"),
    "Networking": (
        "AWSDataTransfer", "AmazonVPC", "AmazonRoute53", "AmazonCloudFront", "AWSELB",
        "AWSDirectConnect", "AWSGlobalAccelerator",
    ),
    "Security": (
        "awskms", "AWSSecretsManager", "awswaf", "AmazonGuardDuty", "AmazonInspector", "AWSSecurityHub",
        "AmazonMacie", "AmazonDetective", "AWSShield", "AWSCertificateManager", "AWSNetworkFirewall",
    ),
    "Storage": (
        "AmazonS3", "AmazonEFS", "AmazonFSx", "AmazonGlacier", "AWSBackup", "AWSStorageGateway",
        "AmazonS3GlacierDeepArchive",
    ),
}  # fmt: skip
_OF = {code: category for category, codes in _CATEGORIES.items() for code in codes}
# Disks and traffic are billed under EC2's product code.
_EC2_FAMILIES = {
    "Storage": "Storage",
    "Storage Snapshot": "Storage",
    "System Operation": "Storage",
    "Provisioned Throughput": "Storage",
    "Data Transfer": "Networking",
    "NAT Gateway": "Networking",
    "IP Address": "Networking",
    "Load Balancer": "Networking",
}


def category_of(code: pl.Expr, family: pl.Expr) -> pl.Expr:
    """Return FOCUS's ``ServiceCategory``; null for a service not listed here.

    A GPU machine stays Compute, as FOCUS has it.
    """
    of_code = looked_up(code, _OF, pl.String())
    of_family = looked_up(family, _EC2_FAMILIES, pl.String())
    return pl.when(code == "AmazonEC2").then(pl.coalesce(of_family, of_code)).otherwise(of_code)
