"""Records of exchange rates."""

from gateway.storage.migrations.record_tables import record_table

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what currency conversion keeps."""
    record_table("exchange_rate_record", "base", "quote", "source")
