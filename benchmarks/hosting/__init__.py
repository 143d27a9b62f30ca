"""Whether what docs/self-hosting.md says works: `python -m benchmarks.hosting`."""
