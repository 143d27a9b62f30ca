"""One stream: which of its faces are enhanced, when, and what becomes of each frame."""
