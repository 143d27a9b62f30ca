"""What several benchmarks and tests need: peers, paths that lose packets, scenes, relays in processes of their own."""
