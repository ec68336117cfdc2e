"""Doors to charging platforms that do not open our gRPC stream: OCPI as a smart charging provider, CitrineOS, a signed webhook.

Each door is, inside the process, one client of the dispatcher, as the gRPC stream is: it takes batches of limits from its link, newest
wins, sends them outward in the words of the platform, and says what was accepted, refused or is unknown. What a platform tells
about cars goes to the fleet service. Here live wire types, exchanges and the bookkeeping of commands under way; what a charger may
draw, and when, is decided elsewhere and must not be decided here.
"""
