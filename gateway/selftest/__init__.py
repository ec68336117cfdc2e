"""The conformance runner: scripted grid partners play acceptance cases against a real gateway, from outside.

The partners and the gateway are processes of their own; verdicts rest on what the partners saw on the wire and on what the gateway
says over gRPC, never on anything inside it.
"""
