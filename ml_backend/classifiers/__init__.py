"""Classifiers on features, one per file, behind one protocol."""
