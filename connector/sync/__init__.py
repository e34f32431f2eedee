"""The loop: one round of one project, several projects, and the schedule."""
