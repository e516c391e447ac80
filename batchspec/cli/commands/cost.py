"""``batchspec cost``: the expected cost of a run, and the cost of recorded runs."""

from __future__ import annotations

from batchspec.cli.console import ConsoleNotices, out, out_document, use_color, width
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
    """Show the expected cost of the run, and the cost of recorded runs. Changes nothing."""
    from batchspec.api import prepare_plan, read_costs
    from batchspec.render import actual_lines, cost_json, cost_markdown, cost_text

    options = run_options(spec, variables, variable_files, target, max_cost=max_cost, estimate=True)
    async with prepare_plan(options, NO_OPTIONS, ConsoleNotices(options)) as prepared:
        plan, session = prepared.plan, prepared.session
    cost, facts = session.spec.cost, session.observed.cost
    assert cost is not None and facts is not None
    prices, currency = facts.prices, cost.currency
    runs = read_costs(session.spec, plan.account.target)
    match output_format:
        case Format.JSON:
            out_document(cost_json(plan, runs, prices))
        case Format.MARKDOWN:
            lines = actual_lines(runs, prices, currency, plan.account.target)
            out_document(cost_markdown(plan, tuple(lines)))
        case Format.TEXT:
            out(cost_text(plan, runs, prices, currency, color=use_color(), width=width()))
    return Exit.DONE
