"""Records of capacity providers, steering boxes, charging platforms without a stream, and market data."""

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what the rooms of limits, fleet and market data keep."""
