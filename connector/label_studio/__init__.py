"""The client of Label Studio's REST API."""

from connector.label_studio.client import LabelStudio

__all__ = ["LabelStudio"]
