"""How VTNs of OpenADR 3.x notify us, made from settings: callbacks with subscriptions, and MQTT."""

from collections.abc import Sequence

from gateway.domain.errors import InvalidInput
from gateway.grid_settings import VtnSettings
from gateway.openadr.v3.mqtt_listener import MqttListener, MqttSettings
from gateway.openadr.v3.subscriptions import SubscriptionKeeper
from gateway.openadr.v3.ven import Ven
from gateway.openadr.v3.webhook import WebhookReceiver, WebhookSettings
from gateway.ports import Clock, Ids
from gateway.settings import Settings, private_key


def receiver_of(settings: Settings, clock: Clock) -> WebhookReceiver | None:
    """Return the listener for notifications; None when no VTN is to notify us over it.

    Raises:
        InvalidInput: A VTN is, and there is no `[webhook]`; or an address or certificate in it cannot be used.
    """
    wanted = [vtn.authority for vtn in settings.vtn if vtn.dialect != "2.0b" and vtn.v3.webhook]
    if not wanted:
        return None
    section = settings.webhook
    if section is None:
        raise InvalidInput("webhook", f"is required where a VTN notifies us ({wanted[0]})")
    told = WebhookSettings(
        host=section.host,
        port=section.port,
        public_url=section.public_url,
        cert_file=section.certificate,
        key_file=private_key("webhook.key", section.key),
        allow_plain_http=section.allow_plain_on_loopback,
    )
    return WebhookReceiver(told, clock)


def subscriptions_of(ven: Ven, receiver: WebhookReceiver, clock: Clock, ids: Ids) -> SubscriptionKeeper:
    """Return what keeps a VEN's subscriptions to notifications over a listener."""
    told = ven.around.settings
    callback = receiver.add(told.authority, ven.interest, ven.wake)
    return SubscriptionKeeper(ven, told, callback, clock, ids)


def mqtt_listener_of(settings: VtnSettings, ven: Ven, clock: Clock, ids: Ids) -> MqttListener:
    """Return what listens to the broker that a VTN names."""
    told = MqttSettings(
        authority=settings.authority,
        client_id=settings.v3.client_id or "",
        ca_file=settings.v3.mqtt_ca or settings.ca,
        allow_plain_mqtt=settings.allow_plain_on_loopback,
    )

    def own() -> tuple[str, Sequence[str]]:
        return ven.ven_id, () if ven.survey is None else sorted(ven.survey.programs)

    return MqttListener(told, ven.client, own, ven.interest, ven.wake, clock, ids)
