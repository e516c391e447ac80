"""One module for each command: its options, its help text and its body.

``--help`` imports all of them. A module imports the modules for its options at the top, and the
rest inside its functions.
"""
