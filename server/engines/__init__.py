"""Engine processes: one a graphics card, or one for all workers, asked over a Unix socket and shared memory."""
