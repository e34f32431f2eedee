"""Texts as numbers, with PyTorch and scikit-learn."""
