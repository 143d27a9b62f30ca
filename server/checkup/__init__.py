"""Whether media find their way: what `hime doctor` asks of the network, here and from another machine."""
