"""Asking models to label: `connector label-with`.

`instructions` and `prompt` write what is sent and read what comes back, `cost` counts. They do no I/O. `client` is the
only place that knows the library `openai`. `choice` says which tasks are asked for, and `run` asks.
"""
