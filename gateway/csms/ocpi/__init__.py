"""OCPI 2.2.1 and 2.3.0 as smart charging provider (SCSP): registration, sessions that we are told, charging profiles that we set."""
