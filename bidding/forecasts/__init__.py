"""What is not known yet, from earlier days only: sessions, prices, and how good such forecasts were.

A forecast takes the instant of its knowledge and refuses a past that knows more.
"""
