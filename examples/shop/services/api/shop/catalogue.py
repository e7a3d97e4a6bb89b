"""What the shop sells, and how much of it is left."""

import json
import threading

PATH = "/app/catalogue/products.json"


class OutOfStock(Exception):
    """There is less left than was asked for."""


class Catalogue:
    """Products by number. Methods may be called from several threads."""

    def __init__(self, products):
        self._products = {product["number"]: dict(product) for product in products}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path=PATH):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def all(self):
        with self._lock:
            return [dict(product) for product in self._products.values()]

    def get(self, number):
        """Returns the product, or None where there is none of that number."""
        with self._lock:
            product = self._products.get(number)
            return dict(product) if product else None

    def take(self, number, count):
        """Takes `count` pieces from stock and returns their price in cents."""
        with self._lock:
            product = self._products[number]
            if product["stock"] < count:
                raise OutOfStock(f"{product['stock']} left of {product['name']}")
            product["stock"] -= count
            return product["price_cents"] * count
