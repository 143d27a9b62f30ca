"""Many relays as one, on Ray: which of them has which room, what they tell each other, and engines that all may use."""
