"""Where orders go and awards come from: one adapter per exchange, the balance responsible party's door, and a neutral file.

An adapter implements `ports.Exchange` or `ports.NominationDesk`: it checks an order completely before anything leaves
(`order_check`), writes the exchange's wire format (`nord_pool_wire`), sends once and says what is certain about the outcome
(`transport`). What does not live here: who may send an order and when, states and retries (`services.submit_orders`), and what
the order should be (`bidding`, `services.plan_bids`).
"""
