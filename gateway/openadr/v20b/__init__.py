"""OpenADR 2.0b: the XML guard, the wire types with their codec, the state machine and the report engine.

The guard and the reader turn bytes into wire types, `translate` turns those into `gateway.domain.signals`, and `ven` registers,
polls, answers events and delivers reports. Nothing here knows the 3.x dialects. Of openleadr only the schema files are used.
"""
