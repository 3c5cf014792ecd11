"""Data that lies elsewhere: copied into the lab as it is, then read like any delivered file."""
