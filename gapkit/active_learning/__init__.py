"""Which data a model learned from, which it should see next, and when a simulation must stop."""
