"""Lines of the log: one object each, with ids and traces, and without secrets."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.testing import ActivityEnvironment

from telemetry.logs import Discreet, JsonLines

SECRETS = ("s3cret", "s3cret-and-longer", "abc")


def record(message: str, *arguments: object, **extra: Any) -> logging.LogRecord:
    """A line as a logger makes it."""
    made = logging.LogRecord("tests", logging.WARNING, __file__, 1, message, arguments, None)
    made.__dict__ |= extra
    return made


def test_a_json_line_is_one_object() -> None:
    """Quotes and line breaks of the message stay inside; level, logger and UTC time stand beside it."""
    line = JsonLines().format(record('first "%s"\nsecond', "quoted"))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["message"], told["level"], told["logger"]) == ('first "quoted"\nsecond', "WARNING", "tests")
    assert told["time"].endswith("+00:00")


def test_a_step_s_own_lines_have_its_ids() -> None:
    """Any logger's line that is written in a step tells its workflow, type and try."""
    environment = ActivityEnvironment()
    told = json.loads(environment.run(JsonLines().format, record("here")))
    info = environment.info
    assert (told["workflow_id"], told["run_id"]) == (info.workflow_id, info.workflow_run_id)
    assert (told["activity_type"], told["attempt"]) == (info.activity_type, info.attempt)


@pytest.mark.parametrize(("kind", "name"), [("batch", "batch_id"), ("transfer", "transfer_id")])
def test_batch_and_transfer_are_told_by_their_ids(kind: str, name: str) -> None:
    """The workflow's id says whose line it is; a lane's line has neither."""
    subject = str(uuid4())
    workflow = {"workflow_id": f"{kind}/{subject}", "run_id": "r", "workflow_type": "T"}
    told = json.loads(JsonLines().format(record("here", temporal_workflow=workflow)))
    assert (told[name], told["run_id"]) == (subject, "r")
    lane = {"workflow_id": "lane/1/0x00"}
    assert (
        not {"batch_id", "transfer_id"} & json.loads(JsonLines().format(record("here", temporal_workflow=lane))).keys()
    )


def test_a_traced_line_has_its_trace() -> None:
    """The ids are those of the span it's written in."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("tests").start_as_current_span("here") as span:
        told = json.loads(JsonLines().format(record("here")))
    assert int(told["trace_id"], 16) == span.get_span_context().trace_id
    assert int(told["span_id"], 16) == span.get_span_context().span_id


@pytest.mark.parametrize("formatter", [Discreet(SECRETS), JsonLines(SECRETS)])
def test_secrets_are_struck_out_wherever_they_stand(formatter: logging.Formatter) -> None:
    """In message, arguments and tracebacks; what is too short to be one is left alone."""
    error = ValueError("with s3cret-and-longer inside")
    fault = (type(error), error, None)
    line = formatter.format(record("s3cret and %s and abc", "s3cret", exc_info=fault))
    assert "s3cret" not in line
    assert "-and-longer" not in line
    assert "abc" in line


def test_a_secret_with_characters_that_json_escapes_is_struck_out() -> None:
    """Escaping would hide it from a search of the finished line."""
    line = JsonLines(['pass"word\\é']).format(record('it is pass"word\\é'))
    assert json.loads(line)["message"] == "it is ***"
