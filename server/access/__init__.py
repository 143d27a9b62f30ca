"""Who may do what: API keys, room tokens, and what each route needs of its caller."""
