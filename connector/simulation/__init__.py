"""The loop offline, replayed on labels that exist."""
