"""Readers, quarantine and the lake: from delivered files to checked tables."""
