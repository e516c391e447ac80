"""A plan as text for a terminal, as the published JSON, and as markdown for a pull request."""

from batchspec.render.plan.data import plan_json
from batchspec.render.plan.markdown import plan_markdown
from batchspec.render.plan.text import plan_summary, plan_text

__all__ = ["plan_json", "plan_markdown", "plan_summary", "plan_text"]
