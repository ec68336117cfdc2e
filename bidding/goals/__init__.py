"""What drivers want, as one plan: goals in columns, who gives way when a limit is short, and what each driver is told.

A wish is a goal with its numbers (guaranteed, cheapest, greenest, steps under price caps, boost, a minimum first). `plan_goals`
turns the wishes behind one connection point into a schedule in four lexicographic stages: who gets how much, boosts as early
as can be, minimums as early as can be, then the least cost of everything at every driver's own price. `tell_drivers` reads
from that plan when a car is ready, what it costs and why it waits. Nothing here knows a driver, a charger or a clock.
"""
