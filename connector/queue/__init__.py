"""What Label Studio serves to annotators: how a project is set up for it, a window published, and all of it undone."""

from connector.queue.init import initialize

__all__ = ["initialize"]
