"""Whose face it is: the people of a stream, and which of them each face belongs to."""
