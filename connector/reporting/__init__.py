"""What people take out of a project: exports and the report."""
