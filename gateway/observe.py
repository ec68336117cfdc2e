"""Logs and metrics: structured lines without secrets, counters without tenants or ids in their labels."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

_SECRET_KEYS = re.compile(r"(token|secret|password|passphrase|authorization|cookie|registration_id)", re.IGNORECASE)
_SECRET_VALUES = re.compile(r"(securityToken=|Bearer\s+|Token\s+)[^&\s\"']+", re.IGNORECASE)

TASK_RESTARTS = Counter(
    "gateway_task_restarts", "Supervised tasks that ended unexpectedly and were restarted.", ["task"]
)
RPC_CALLS = Counter("gateway_rpc_calls", "gRPC calls by method and status code.", ["method", "code"])
RPC_UNEXPECTED = Counter(
    "gateway_rpc_unexpected_errors", "gRPC calls that failed for a reason nobody planned for.", ["method"]
)
DISPATCH_SECONDS = Histogram("gateway_dispatch_seconds", "Real seconds from a wake-up to the first command that left.")
WATCHDOG_AGE_SECONDS = Gauge("gateway_watchdog_age_seconds", "Real seconds since the control loop last turned.")
SETPOINT_CHANGES = Counter(
    "gateway_setpoint_changes", "Set points that were changed, renewals left out.", ["direction"]
)
SETPOINT_CHANGES_PER_HOUR = Gauge(
    "gateway_setpoint_changes_per_charger_hour", "Changes of set points per commanded charger over the last hour."
)
NOT_FOLLOWING = Gauge("gateway_chargers_not_following", "Chargers that draw more than their limit.")
OUTCOMES_WAITING = Gauge(
    "gateway_dispatch_outcomes_waiting", "Batches of what became of commands that wait for the store."
)
COMMANDS_UNWRITTEN = Counter(
    "gateway_dispatch_commands_unwritten",
    "Commands that went out while the store was away, for so long that they were never written.",
)
EXCHANGE_CLOCK_SKEW_SECONDS = Gauge(
    "gateway_exchange_clock_skew_seconds",
    "Certain part of this machine's clock minus the exchange's; above 2 or below -2 somebody has to set a clock.",
)
STEERING_BOXES_SILENT = Gauge(
    "gateway_steering_boxes_silent", "Steering boxes that are lost or have not said their limit since the start."
)
OPENADR_REJECTED = Counter("gateway_openadr_rejected_messages", "Messages of VTNs that were thrown away.", ["reason"])
OSCP_REQUESTS = Counter(
    "gateway_oscp_requests", "Requests of OSCP partners by message and status.", ["message", "status"]
)
OSCP_MESSAGES = Counter("gateway_oscp_messages", "Messages to OSCP partners by result of a try.", ["message", "result"])
LOOP_LAG_SECONDS = Histogram(
    "gateway_loop_lag_seconds", "How late the event loop is.", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
)
LOOP_LAG_WORST_SECONDS = Gauge(
    "gateway_loop_lag_worst_seconds", "How late the event loop was at worst within the last five to ten seconds."
)


def redact(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what looks like a secret, by key and by value; a processor for structlog."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redacted(value)
    return event


def redacted(text: str) -> str:
    """Return a text with what looks like a secret blanked."""
    return _SECRET_VALUES.sub(r"\1***", text)


def configure_logs(level: str = "INFO", *, as_json: bool = True) -> None:
    """Send structured log lines to stderr, one per line whatever is in the values.

    Args:
        level: Lowest level that is written.
        as_json: JSON lines; otherwise key=value for people.
    """
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def logger(room: str) -> Any:  # noqa: ANN401  # structlog's loggers take any keyword
    """Return a logger that stamps its room on every line."""
    # Initial values keep the proxy lazy: a bind here would freeze the configuration at import.
    return structlog.get_logger(room=room)
