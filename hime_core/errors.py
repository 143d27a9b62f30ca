"""Errors that are the user's to mend."""


class InputError(ValueError):
    """What was given is wrong. The message is one line: what is wrong, and what would be right.

    The command line prints it and exits with 2.
    """
