"""The documents' commands are run, and their links followed."""
