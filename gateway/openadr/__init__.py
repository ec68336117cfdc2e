"""The virtual end node: how utilities talk to us over OpenADR 2.0b (`v20b`) and 3.x (`v3`).

Each dialect has a room of its own with its guard, wire types, state machine and translation into `gateway.domain.signals`; the
rooms share only what is beside them here: `contact` (is the partner there), and `profiles` (programs' rules as data). What an
event means for the fleet is decided elsewhere: translated events go to the `SignalDesk` port, measured power comes from the
`UsageDesk` port. Nothing here knows SQL, limits, chargers or another protocol. Of openleadr only the schema files are used; its
client never runs in the service.
"""
