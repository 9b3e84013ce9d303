"""The sandbox the workflows run in: on, and strict about imports. Used by the worker and by every test."""

from __future__ import annotations

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

# Free of state, so they need not be loaded again for each workflow; anything else that a workflow imports fails start.
_SHARED = (
    "workflows.interface",
    "workflows.decoding",
    "workflows.deliveries",
    "workflows.batch_board",
    "workflows.batch_controls",
    "workflows.batch_steps",
    "workflows.burial",
    "workflows.defects",
    "workflows.slice_steps",
    "workflows.work_list",
)
_POLICY = (
    SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
)


def sandboxed() -> SandboxedWorkflowRunner:
    """The runner for `Worker(workflow_runner=…)`."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*_SHARED)
    return SandboxedWorkflowRunner(restrictions=restrictions.with_import_notification_policy(_POLICY))
