"""A steering box in the settings of `tests.fakes.wired`."""

from gateway.steering_settings import SteeringBoxSettings
from tests.services.market_scene import PORTFOLIO, TENANT

BOX = "box-7"
SPEAKER = "only-steering-box"
"""The account with the role of a steering box, in both tenants."""


def steering_box() -> SteeringBoxSettings:
    return SteeringBoxSettings(
        name=BOX,
        tenant=TENANT,
        node=PORTFOLIO,
        account=SPEAKER,
        limits=("consumption", "production"),
        failsafe_kw=30.0,
        dim_kw=10.0,
    )
