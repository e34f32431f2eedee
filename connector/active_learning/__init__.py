"""Consensus labels, ActiveLab scores and the choice of the next window. Pure: arrays in, arrays out."""
