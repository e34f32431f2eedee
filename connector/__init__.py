"""The loop that keeps a Label Studio project's label stream in the best order.

One `connector sync` reads what the annotators have labelled, finds a consensus label for each labelled task and lets
the ML backend train on them. It scores all tasks with ActiveLab, which estimates the worth of one more annotation for
new and for labelled tasks alike. It publishes the most valuable tasks, the window, as the order of the label stream.
"""

__version__ = "0.1.0"
