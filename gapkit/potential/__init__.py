"""The fitted potential: estimator, predictions, presets, settings, model files."""
