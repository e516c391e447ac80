"""batchspec: one YAML file says a whole Azure Batch run."""

__version__ = "0.1.0"
