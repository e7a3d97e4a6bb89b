"""Says what has to be ordered from the suppliers: everything of which fewer than five pieces are left."""

import json
import os
import sys
import urllib.request

from shop.catalogue import Catalogue

REORDER_BELOW = 5


def shortages(products):
    return [product for product in products if product["stock"] < REORDER_BELOW]


def from_api(address):
    with urllib.request.urlopen(f"http://{address}/products", timeout=10) as answer:
        return json.load(answer)


def self_check():
    """Works on the catalogue that came with the base image, without a service."""
    found = shortages(Catalogue.load().all())
    if not found or any(product["stock"] >= REORDER_BELOW for product in found):
        sys.exit("the catalogue of the base image gives no sensible list")
    print(f"{len(found)} products to order")


def main(arguments):
    if arguments == ["--self-check"]:
        return self_check()
    for product in shortages(from_api(os.environ["SHOP_API"])):
        print(f"order: {product['name']} ({product['stock']} left)")


main(sys.argv[1:])
