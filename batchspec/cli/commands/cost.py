"""``batchspec cost``: what a run will cost, and what it has cost."""

from __future__ import annotations

from batchspec.cli.console import ConsoleNotices, out, use_color, width
from batchspec.cli.options import (
    AnyFormat,
    Format,
    MaxCost,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.exit_codes import Exit
from batchspec.plan import NO_OPTIONS


async def cost(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    max_cost: MaxCost = "",
    output_format: AnyFormat = Format.TEXT,
) -> int:
    """Estimate what the run costs: at least, expected, at most. Changes nothing in the account."""
    from batchspec.api import prepare_plan
    from batchspec.render import cost_json, cost_markdown, cost_text

    options = run_options(spec, variables, variable_files, target, max_cost=max_cost, estimate=True)
    async with prepare_plan(options, NO_OPTIONS, ConsoleNotices(options)) as prepared:
        plan = prepared.plan
    match output_format:
        case Format.JSON:
            out(cost_json(plan))
        case Format.MARKDOWN:
            out(cost_markdown(plan))
        case Format.TEXT:
            out(cost_text(plan, color=use_color(), width=width()))
    return Exit.DONE
