"""The rules that a plan is checked against: what they check, and their metadata."""
