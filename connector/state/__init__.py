"""What the connector remembers, and how it is brought up to date."""
