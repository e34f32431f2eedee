"""The state database: what the connector records about a project, and how it is brought up to date."""

from connector.state.project_state import ProjectState, State

__all__ = ["ProjectState", "State"]
