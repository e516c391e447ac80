"""What a plan has to say before anything is created: a table of all findings, and the checks."""
