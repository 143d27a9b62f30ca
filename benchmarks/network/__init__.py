"""What the network and its references are worth, and what they cost."""
