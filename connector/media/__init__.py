"""Makes small copies of the images that tasks name. Needs no torch."""
