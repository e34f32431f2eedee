"""Exports and the report: what a team takes out of a project. Label Studio and the state are only read."""
