"""The language of autoscale formulas: source text in; problems or node targets out.

The language is the one of the article "Create a formula to automatically scale compute nodes in a
Batch pool". Everything here is pure: the time, the samples and the random numbers are arguments.
Out of scope: a store, a clock and the records of a pool.
"""

from batchspec.autoscale.check import FormulaCheck, FormulaProblem, check
from batchspec.autoscale.evaluate import (
    MAX_CHARACTERS,
    METRICS,
    Evaluation,
    FormulaInputs,
    Sample,
    evaluate,
    run_formula,
)
from batchspec.autoscale.syntax import Formula, FormulaError, FormulaSyntaxError, parse
from batchspec.autoscale.values import Series, Timestamp
