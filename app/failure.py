"""How a command ends when it cannot do its work: with one sentence, never a traceback."""


class CommandFailure(Exception):
    """The command cannot do its work. The message is one sentence that a person can act on."""

    exit_code = 1
