"""The names of the strategies, for command lines and settings that must not load NumPy."""

# One row of `connector.active_learning.strategies.STRATEGIES` each, in its order.
STRATEGY_NAMES = (
    "random",
    "random-new",
    "least-confidence",
    "margin",
    "entropy",
    "disagreement",
    "activelab",
    "activelab-weighted",
)
DEFAULT_STRATEGY = "activelab-weighted"
