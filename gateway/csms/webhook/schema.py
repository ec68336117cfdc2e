"""The JSON schemas of the webhook, for those who write the other side."""

import json

from gateway.csms.webhook.messages import Ack, Limits


def schema_text() -> str:
    """Return one JSON document with the schema of what is sent (`Limits`) and of what is answered (`Ack`)."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Voltbridge webhook",
        "$defs": {"Limits": Limits.model_json_schema(mode="serialization"), "Ack": Ack.model_json_schema()},
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
