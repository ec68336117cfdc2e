"""All tables of the first version."""

import sqlalchemy as sa
from alembic import op

from gateway.storage.migrations.record_tables import record_table

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

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
    record_table("account_record", "actor", "token_sha256?", "certificate_uri?", "csms?")
    record_table("node_record", "parent?", "kind")
    record_table("charger_record", "csms", "parent")
    record_table("connection_point_record", "site", "bidding_zone")
    record_table("portfolio_record", "bidding_zone")
    record_table("capacity_group_record", "authority", "name", "node")
    record_table("session_record", "charger", "state")
    record_table("metered_period_record", "connection_point")
    record_table("register_reading_record", compact=True)


def _create_grid() -> None:
    record_table("raw_signal_record", "authority", "protocol", "sha256", compact=True, expires=True)
    record_table("grid_event_record", "authority", "event_id", "cancelled bool", "opt?", "raw_signal")
    record_table("ven_registration_record", "ven_id", "active bool")
    record_table("report_request_record", "authority", "cancelled bool")
    record_table("seen_nonce_record", "authority", expires=True)
    record_table("limit_record", "authority", "node", "kind", "binding", "cause")
    record_table("dispatch_batch_record", "csms", "sequence int", "cause", compact=True, expires=True)
    record_table("dispatch_outcome_record", "batch", "csms", compact=True, expires=True)
    record_table("event_performance_record", "event", "node")


def _create_market() -> None:
    record_table("price_series_record", "zone", "product", "source")
    record_table("carbon_series_record", "zone", "kind", "source")
    record_table("market_day_status_record", "zone", "product", "day", "state")
    record_table("plan_run_record", "portfolio", "delivery_day", "outcome", compact=True)
    record_table("bid_record", "portfolio", "delivery_day", "auction", "plan", "state")
    record_table("order_record", "bid", "auction", "state")
    record_table("award_record", "order", "bid", "portfolio", "delivery_day")
    record_table("nomination_record", "award", "connection_point", "delivery_day", "state")
    record_table("schedule_record", "node", "connection_point", "delivery_day", "cause")
    record_table("residual_record", "node", "limit")
    record_table("settlement_record", "portfolio", "connection_point", "delivery_day")
