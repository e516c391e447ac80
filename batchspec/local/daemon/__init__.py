"""The process that keeps the Batch service and Azurite running, and how others start and end it."""
