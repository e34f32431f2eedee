"""Label Studio's JSON as records: labelling configs, tasks, annotations and their labels. Pure: no I/O."""

from connector.annotations.controls import Control
from connector.annotations.label_config import find_control

__all__ = ["Control", "find_control"]
