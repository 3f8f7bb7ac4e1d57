"""Accuracy metrics, each as a tally: per-image records from which any weighting is scored."""
