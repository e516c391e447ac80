"""The table of findings, a family a file. Data alone; ``catalogue`` puts them together."""
