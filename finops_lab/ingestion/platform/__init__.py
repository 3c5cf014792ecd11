"""Readers of what platforms record: metrics, jobs, events, allocations."""
