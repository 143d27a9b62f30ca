"""Sharp pictures of people: the bank, photos, and how they become the network's references."""
