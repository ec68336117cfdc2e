"""Where everything that must survive is: SQLModel tables, migrations, the one writer and the readers behind the `Store` port.

Nothing else in the product knows SQL. Nothing here knows what a bid or a limit means: records come in and go out as the frozen
dataclasses of `gateway.domain`, and a rule about them belongs there or in a service.
"""
