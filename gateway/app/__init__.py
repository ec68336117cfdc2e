"""The composition root: reads settings, wires rooms, owns and supervises the tasks, starts and stops them in order.

Nothing is decided here; whatever knows a rule lives in a service or in the domain.
"""
