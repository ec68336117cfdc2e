"""CitrineOS's REST API for OCPP 1.6 and 2.0.1 smart charging."""
