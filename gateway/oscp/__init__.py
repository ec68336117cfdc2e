"""The flexibility provider: how capacity providers and capacity optimisers talk to us over OSCP 2.0, and we to them.

`wire` has the messages and is the source of the published OpenAPI, `reading` is the guard in front of every byte, `site` the door,
`peer` what a partner's messages do, `link` where a link stands, `forecasts` how capacity becomes limits, `segments` how parts become
one message, `outbox` how ours leave, `pulse` heartbeats both ways, `reports` what partners are told of their limits and of energy, and
`optimiser` both ends of the optimiser's role. Limits go to the `LimitDesk` port and are resolved elsewhere; what is acknowledged is on
disk, and what we have to say in return leaves afterwards.

Nothing here knows SQL, chargers or another protocol.
"""
