"""The pages: trader, operator and login, as plain HTML with htmx, server-sent events and uPlot.

A page shows what services say and sends what people decide to the same services that gRPC uses; it decides nothing itself. Scripts and
styles come from npm at install into `static/vendor`; nothing is loaded from elsewhere.
"""
