"""The state database: what the connector records about a project, and how it is brought up to date."""
