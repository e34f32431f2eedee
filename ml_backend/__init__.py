"""The model side of the loop: texts and labels in, out-of-sample class probabilities and predictions out, over HTTP.

It knows texts, classes, models and Label Studio's ML-backend protocol, and no annotators.
"""
