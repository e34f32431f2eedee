"""A labelling config, a task's data and an annotation, read as Label Studio's form reads them.

The connector and the ML backend each have a copy of this folder, because they share no code. A test keeps the copies
equal.
"""
