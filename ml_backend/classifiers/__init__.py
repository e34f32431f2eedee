"""Classifiers on features, one per file, behind one protocol."""

from ml_backend.classifiers.protocol import Classifier, Weights

__all__ = ["Classifier", "Weights"]
