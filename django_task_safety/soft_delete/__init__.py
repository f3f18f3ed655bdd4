"""Removing without deleting: models and managers, cascades, restoring, purging, uniqueness among live rows."""
