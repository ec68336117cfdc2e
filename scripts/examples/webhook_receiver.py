"""A platform behind a signed webhook. Usage: python -m scripts.examples.webhook_receiver PORT KEY_FILE."""

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

port, key_file = sys.argv[1:]
keys = {"k1": Path(key_file).read_text().strip().encode()}
newest: dict[str, int] = {}  # sequence by charger: what is not newer is ignored


class Receiver(BaseHTTPRequestHandler):
    """Takes limits, and acknowledges them in the answer."""

    def do_POST(self) -> None:
        """Take one message."""
        body, stamp = self.rfile.read(int(self.headers["Content-Length"])), self.headers["Voltbridge-Timestamp"]
        key = keys.get(self.headers["Voltbridge-Key"], b"")
        wanted = "v1=" + hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        is_signed = bool(key) and hmac.compare_digest(wanted, self.headers["Voltbridge-Signature"])
        if not is_signed or abs(time.time() - int(stamp)) > 300:
            self.send_error(401)
            return
        limits = json.loads(body)
        columns = zip(limits["charger_ids"], limits["limit_kw"], limits["fallback_kw"], strict=True)
        for charger, limit_kw, fallback_kw in columns:  # to a charger: its fallback first, then the limit for the lease
            if limits["sequence"] > newest.get(charger, 0):
                newest[charger] = limits["sequence"]
                print(charger, f"{limit_kw:g} kW until {limits['lease_until']}, then {fallback_kw:g} kW", flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"sequence": limits["sequence"], "rejected": []}).encode())


HTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()
