"""Evaluation: image metrics, statistical comparisons, and sweeps over priors and seeds."""
