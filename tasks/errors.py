"""What can go wrong, and the exit code that says so.

A message names what was found, what was expected and what to do; the command line prints it alone, without a traceback.
"""


class ValuescapeError(Exception):
    """Base of every error that a user is meant to read. Exit code 1."""

    exit_code = 1


class InputError(ValuescapeError):
    """The user's input is wrong: a file, a key, an option. Exit code 2."""

    exit_code = 2


class InterruptedRunError(ValuescapeError):
    """The user pressed Ctrl-C. Exit code 130, as shells have it."""

    exit_code = 130


class StepError(ValuescapeError):
    """A step could not be done: a worker died, a disk is full. Exit code 1."""


class GateError(StepError):
    """A quality gate found rows that break a rule. Exit code 1."""


class BudgetError(StepError):
    """A budget is spent; what was done is kept. Exit code 1."""
