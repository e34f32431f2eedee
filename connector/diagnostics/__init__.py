"""Where a project stands, and what is wrong with it. Changes nothing."""
