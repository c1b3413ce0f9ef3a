"""The errors that are the user's to mend."""


class UsageError(Exception):
    """What was given cannot be used; the message says what happened, what is allowed and what to do next.

    Commands print it without a traceback and exit with status 2.
    """


class SetupError(UsageError):
    """Something the user's machine or settings lack; the message says what to do."""
