"""How short the machine is, what streams do without then, and for how many it has room."""
