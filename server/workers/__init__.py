"""Several processes that are one relay: a front that answers HTTP, and workers that carry media."""
