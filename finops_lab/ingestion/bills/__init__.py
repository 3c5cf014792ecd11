"""Readers of bills: each turns one format into rows of the `costs` contract."""
