"""All tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

_TYPES = {"str": sa.String, "int": sa.BigInteger, "bool": sa.Boolean}

_SQLITE_GUARDS = (
    "CREATE TRIGGER audit_refuses_update BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    # Also stops INSERT OR REPLACE, which deletes without asking the trigger above.
    "CREATE TRIGGER audit_refuses_gap BEFORE INSERT ON audit "
    "WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit) "
    "BEGIN SELECT RAISE(ABORT, 'the audit has no gaps'); END",
)

_POSTGRES_GUARDS = (
    "CREATE FUNCTION audit_refuses_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$",
    "CREATE TRIGGER audit_refuses_change BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION audit_refuses_change()",
    "CREATE TRIGGER audit_refuses_truncate BEFORE TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses_change()",
    "CREATE FUNCTION audit_refuses_gap() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit) THEN "
    "RAISE EXCEPTION 'the audit has no gaps' USING ERRCODE = 'integrity_constraint_violation'; "
    "END IF; RETURN NEW; END $$",
    "CREATE TRIGGER audit_refuses_gap BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuses_gap()",
)


def upgrade() -> None:
    _create_audit()
    _create_outbox()
    _create_request()
    _create_fleet()
    _create_grid()
    _create_market()


def _create_audit() -> None:
    names = ("prev_hash", "hash", "tenant", "id", "actor", "action", "object_kind", "object_id", "request_id")
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in names),
    )
    op.create_index("ix_audit_object", "audit", ["tenant", "object_kind", "object_id", "seq"])
    for statement in _SQLITE_GUARDS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_GUARDS:
        op.execute(statement)


def _create_outbox() -> None:
    unsettled = sa.text("settled_at_us IS NULL")
    op.create_table(
        "outbox",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger()),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("settled_at_us", sa.BigInteger()),
        sa.Column("note", sa.String(), nullable=False),
    )
    op.create_index(
        "ix_outbox_due", "outbox", ["topic", "due_at_us"], sqlite_where=unsettled, postgresql_where=unsettled
    )
    op.create_index("ix_outbox_settled", "outbox", ["settled_at_us"])


def _create_request() -> None:
    op.create_table(
        "request",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("request_id", sa.String(), primary_key=True),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("written_at_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_request_written_at_us", "request", ["written_at_us"])


def _create_fleet() -> None:
    _record_table("account_record", "actor", "token_sha256?", "certificate_uri?", "csms?")
    _record_table("node_record", "parent?", "kind")
    _record_table("charger_record", "csms", "parent")
    _record_table("connection_point_record", "site", "bidding_zone")
    _record_table("portfolio_record", "bidding_zone")
    _record_table("capacity_group_record", "authority", "name", "node")
    _record_table("session_record", "charger", "state")
    _record_table("metered_period_record", "connection_point")
    _record_table("register_reading_record", compact=True)


def _create_grid() -> None:
    _record_table("raw_signal_record", "authority", "protocol", "sha256", compact=True, expires=True)
    _record_table("grid_event_record", "authority", "event_id", "cancelled bool", "opt?", "raw_signal")
    _record_table("ven_registration_record", "ven_id", "active bool")
    _record_table("report_request_record", "authority", "cancelled bool")
    _record_table("seen_nonce_record", "authority", expires=True)
    _record_table("limit_record", "authority", "node", "kind", "binding", "cause")
    _record_table("dispatch_batch_record", "csms", "sequence int", "cause", compact=True, expires=True)
    _record_table("dispatch_outcome_record", "batch", "csms", compact=True, expires=True)
    _record_table("event_performance_record", "event", "node")


def _create_market() -> None:
    _record_table("price_series_record", "zone", "product", "source")
    _record_table("carbon_series_record", "zone", "kind", "source")
    _record_table("market_day_status_record", "zone", "product", "day", "state")
    _record_table("plan_run_record", "portfolio", "delivery_day", "outcome", compact=True)
    _record_table("bid_record", "portfolio", "delivery_day", "auction", "plan", "state")
    _record_table("order_record", "bid", "auction", "state")
    _record_table("award_record", "order", "bid", "portfolio", "delivery_day")
    _record_table("nomination_record", "award", "connection_point", "delivery_day", "state")
    _record_table("schedule_record", "node", "connection_point", "delivery_day", "cause")
    _record_table("residual_record", "node", "limit")
    _record_table("settlement_record", "portfolio", "connection_point", "delivery_day")


def _record_table(name: str, *fields: str, compact: bool = False, expires: bool = False) -> None:
    """Create a table of records; a field is `name`, `name type` or, when it may be null, `name?`."""
    columns = [_column(field) for field in fields]
    op.create_table(
        name,
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("written_at_us", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary() if compact else sa.Text(), nullable=False),
        *columns,
    )
    for column in columns:
        op.create_index(f"ix_{name}_{column.name}", name, ["tenant", column.name, "at_us"])
    op.create_index(f"ix_{name}_at", name, ["tenant", "at_us", "id"])
    if expires:
        op.create_index(f"ix_{name}_expiry", name, ["at_us"])


def _column(field: str) -> "sa.Column[str]":
    name, _, type_name = field.rstrip("?").partition(" ")
    return sa.Column(name, _TYPES[type_name or "str"](), nullable=field.endswith("?"))
