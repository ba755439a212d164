"""From labelled frames to a posterior: two passes over the data, noises and amplitudes, updates."""
