"""Training: folds, calibration, the models of the folds and the final one."""
