"""Consensus labels, ActiveLab scores and the choice of the next window. Pure: arrays in, arrays out."""

from connector.active_learning.strategy_names import DEFAULT_STRATEGY, STRATEGY_NAMES

__all__ = ["DEFAULT_AUDIT", "DEFAULT_MAX_ANNOTATIONS", "DEFAULT_STRATEGY", "STRATEGY_NAMES"]

DEFAULT_MAX_ANNOTATIONS = 5  # of a task, unless --max-annotations-per-task is given
DEFAULT_AUDIT = 0.0  # share of a window that is drawn at random
