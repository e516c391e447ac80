"""The spec language: YAML text → :class:`Spec`.

In: a spec file, its parameters and files of rows. Out: a frozen :class:`Spec` with defaults and
source positions, or a ``SpecError`` with every problem of the file. Also here: the JSON Schema, the
evaluation of templates for each task, and the quoting of command lines.

Not here: the account and the files to upload (``observe``), decisions (``plan``), requests
(``cloud``), and formatted output (``render``). Only this package imports yaml, jinja2 and
jsonschema.

Functions are imported on first use: not every command reads a spec, and each import adds to the
start time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names
from batchspec.spec.model import (
    Cleanup,
    Command,
    Container,
    Cost,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    ImageAlias,
    Job,
    Matrix,
    Notify,
    NotifyWhen,
    NumberRange,
    Once,
    OtherRates,
    Package,
    Pool,
    PoolKind,
    Result,
    Rows,
    Shell,
    Spec,
    Stage,
    UploadGlob,
    Webhook,
    When,
)
from batchspec.spec.values import (
    BlobUrl,
    Kind,
    Piece,
    Quoted,
    Quoting,
    Record,
    Target,
    Template,
    Text,
    UnquotableError,
    Value,
    freeze,
    quote,
    thaw,
)

if TYPE_CHECKING:
    from batchspec.spec.client_sections import with_estimate, with_max
    from batchspec.spec.convert import command_line, duration, iso, slug, wrapped
    from batchspec.spec.formulas import (
        Scale,
        ScaleRange,
        Scenario,
        scale_bounds,
        scale_range,
        scaled_down,
    )
    from batchspec.spec.insertion import literal_name
    from batchspec.spec.node_scripts import without_clean
    from batchspec.spec.parameter_values import PREFIX, ValueSources, environment_variable
    from batchspec.spec.parameters import RESERVED
    from batchspec.spec.read import (
        FlawedSpecError,
        dump_document,
        expanded_document,
        read_data,
        read_spec,
    )
    from batchspec.spec.rows import RowFile, canonical_json, read_rows, text_digest
    from batchspec.spec.rules_properties import (
        place_of_property,
        task_findings,
        varying_members,
    )
    from batchspec.spec.rules_tasks import too_many_slots
    from batchspec.spec.shared_templates import (
        BoundCommand,
        BoundTemplate,
        FilledRecord,
        JsonTemplate,
        bind_command,
        bind_template,
        json_string,
        json_texts,
        record_id,
    )
    from batchspec.spec.short_forms import LOGS, LOGS_PATH
    from batchspec.spec.substitute import READ, WRITE, file_item, spec_scope
    from batchspec.spec.template import EXPRESSION, evaluate, position
    from batchspec.spec.validator import (
        definition,
        load_schema,
        resolved,
        schema_text,
        typed,
    )
    from batchspec.spec.validator_messages import advice_on
    from batchspec.spec.yaml_parser import Outline, read_outline

__getattr__ = lazy_names(
    __name__,
    {
        "client_sections": "with_estimate with_max",
        "convert": "command_line duration iso slug wrapped",
        "formulas": "Scale ScaleRange Scenario scale_bounds scale_range scaled_down",
        "insertion": "literal_name",
        "node_scripts": "without_clean",
        "parameter_values": "PREFIX ValueSources environment_variable",
        "parameters": "RESERVED",
        "read": "FlawedSpecError dump_document expanded_document read_data read_spec",
        "rows": "RowFile canonical_json read_rows text_digest",
        "rules_properties": "place_of_property task_findings varying_members",
        "rules_tasks": "too_many_slots",
        "shared_templates": (
            "BoundCommand BoundTemplate FilledRecord JsonTemplate bind_command bind_template "
            "json_string json_texts record_id"
        ),
        "short_forms": "LOGS LOGS_PATH",
        "substitute": "READ WRITE file_item spec_scope",
        "template": "EXPRESSION evaluate position",
        "validator": "definition load_schema resolved schema_text typed",
        "validator_messages": "advice_on",
        "yaml_parser": "Outline read_outline",
    },
)
