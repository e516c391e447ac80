"""The commands, a module each: the options and help text of a command, and what it does.

``--help`` imports all of them. A module imports at its top only what its options need, and the
rest inside its functions.
"""
