"""Records of capacity providers, steering boxes, charging platforms without a stream, and market data."""

import sqlalchemy as sa
from alembic import op

from gateway.storage.migrations.record_tables import record_table

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what the rooms of limits, fleet and market data keep."""
    record_table("command_roster_record", "csms", compact=True)
    record_table("compliance_shortfall_record", "authority", "node", "is_open bool")
    record_table("authority_standing_record")
    record_table("oscp_link_record", "state")
    record_table("oscp_request_record", "authority", expires=True)
    record_table("oscp_segment_record", "authority", "chain", "is_open bool", compact=True, expires=True)
    record_table("oscp_message_record", "authority", "is_open bool", expires=True)
    record_table("oscp_register_record", "authority")
    record_table("delay_seed_record")
    record_table("limitation_record", "box")
    record_table("steering_order_record", "box", "is_open bool")
    record_table("execution_proof_record", "box", "is_complete bool", compact=True)
    record_table("csms_command_record", "csms", "charger", "outcome")
    record_table("ocpi_registration_record")
    record_table("system_series_record", "zone", "kind")
    record_table("market_poll_record")
    record_table("source_ban_record")
    # Limits of before have no entry: they are read once more and left out by what they say themselves.
    op.add_column("limit_record", sa.Column("over_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_limit_record_over_at", "limit_record", ["tenant", "over_at", "at_us"])
