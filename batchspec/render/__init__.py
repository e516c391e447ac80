"""Words and colour: the only room that forms sentences, and the only one that imports rich.

Everything here takes values and gives text, or writes text to a file object that it was handed.
Nothing is decided, read from the disk or sent. Whatever goes out passes :mod:`~.sink`, so that
neither a signature nor a control character of a task's output reaches a screen. rich is imported
where it is drawn with, never on the way to ``--help``.
"""
