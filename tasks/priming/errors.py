"""The one kind of error that is the user's to mend."""


class UsageError(Exception):
    """What was given cannot be used; the message says what happened, what is allowed and what to do next.

    Commands print it without a traceback and exit with status 2.
    """
