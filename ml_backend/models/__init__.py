"""Trained models: their versions on disk and their out-of-sample probabilities."""
