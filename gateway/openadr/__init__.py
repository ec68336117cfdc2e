"""The virtual end node: how utilities talk to us over OpenADR 2.0b.

Here live the XML guard, the wire types with their codec, the translation into `gateway.domain.signals`, and the state machine
that registers, polls, answers events and delivers reports. What an event means for the fleet is decided elsewhere: this room
hands translated events to the `SignalDesk` port and asks the `UsageDesk` port for measured power. Nothing here knows SQL,
limits, chargers or another protocol. Of openleadr only the schema files are used; its client never runs in the service.
"""
