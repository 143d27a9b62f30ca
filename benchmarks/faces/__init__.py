"""Which faces are enhanced, and what they gain."""
