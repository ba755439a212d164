"""Error bars of anything: joint posterior, samples, committees, extrapolation."""
