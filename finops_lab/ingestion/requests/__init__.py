"""Readers of model calls: each turns one format into rows of the `inference_requests` contract."""
