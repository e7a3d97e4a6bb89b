#!/usr/bin/env python3
"""Checks that the pages of `web` and the products of `api`, two images of one run, agree."""

import json
import os
import urllib.request


def get(service, path):
    address = os.environ[f"PLIMSOLL_ADDR_{service}"]
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


products = json.loads(get("API", "/products"))
index = get("WEB", "/index.html")
for product in products:
    name = product["name"].replace("'", "&#x27;")
    assert name in index, f"{name} is not on the front page"
    page = get("WEB", f"/{product['number']}.html")
    price = f"{product['price_cents'] // 100}.{product['price_cents'] % 100:02d}"
    assert price in page, f"the page of {name} does not say {price}"

digests = {os.environ[f"PLIMSOLL_IMAGE_{service}"].split("@")[1] for service in ("API", "WEB", "WORKER")}
assert len(digests) == 3, "three services are three images"
print(f"{len(products)} products agree between {' and '.join(sorted(digests)[:2])}")
