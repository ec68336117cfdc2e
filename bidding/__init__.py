"""The mathematics of market participation: what a fleet can do, what it should do, what that earned.

Pure and usable from a notebook: numpy arrays in, frozen dataclasses out, everything picklable, so that a worker process can
run it. The same input gives the same result. No I/O, no clock, no log and no global random state live here; a random
generator is always an argument. Limits as a grid partner states them, orders as an exchange wants them and anything that is
stored belong to the gateway's rooms.

Inside, energy is counted in kWh per slot of a `TimeGrid`, prices in EUR per kWh (EUR per MWh in the planning interface),
power is positive when drawn from the grid, volume positive when bought, cash positive when paid.
"""
