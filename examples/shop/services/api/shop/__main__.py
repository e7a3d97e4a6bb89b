"""Serves the shop over HTTP: GET /health, /products, /products/NUMBER; POST /orders."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop.catalogue import Catalogue, OutOfStock

MAX_BODY_BYTES = 10_000


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the catalogue hangs on the server."""

    server_version = "shop"
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if parts == ["health"]:
            self.answer(200, {"status": "ok", "stage": os.environ.get("SHOP_STAGE", "")})
        elif parts == ["products"]:
            self.answer(200, self.server.catalogue.all())
        elif len(parts) == 2 and parts[0] == "products" and parts[1].isdecimal():
            product = self.server.catalogue.get(int(parts[1]))
            self.answer(200 if product else 404, product or {"error": "no such product"})
        else:
            self.answer(404, {"error": "no such page"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/orders" or length > MAX_BODY_BYTES:
            self.close_connection = True
            return self.answer(404, {"error": "no such page"})
        try:
            order = json.loads(self.rfile.read(length))
            number, count = int(order["product"]), int(order["count"])
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": "an order is {\"product\": NUMBER, \"count\": COUNT}"})
        self.order(number, count)

    def order(self, number, count):
        if count < 1 or self.server.catalogue.get(number) is None:
            return self.answer(404, {"error": "no such product"})
        try:
            self.answer(201, {"total_cents": self.server.catalogue.take(number, count)})
        except OutOfStock as error:
            self.answer(409, {"error": str(error)})

    def answer(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    port = int(os.environ.get("SHOP_PORT", "8000"))
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    server.daemon_threads = True
    server.catalogue = Catalogue.load()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"shop on port {port}, {len(server.catalogue.all())} products")
    server.serve_forever()


main()
