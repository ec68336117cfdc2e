"""The charger passport: a test of about twenty minutes with one charger and one car that says what its limits are worth.

It measures; what it could not measure it says and counts as not proven. `subject` is the charger as the test sees it, `trials` are
what is tried, `findings` what was seen and what follows from it, `report` how it is written down, `run` brings them together.
"""
