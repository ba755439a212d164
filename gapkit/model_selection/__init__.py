"""What to fit with: suggestions, parameter search, learning curves, species weights."""
