"""A portfolio's plan for one delivery day, from what was known at an instant to schedules and an order: one call for a worker."""
