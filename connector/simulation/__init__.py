"""The loop replayed offline, on labels that several people have already given."""
