"""Turns the catalogue as people edit it (CSV) into the form the service reads (JSON), and refuses mistakes."""

import csv
import json
import sys


def products(lines):
    seen = set()
    for row in csv.DictReader(lines):
        number = int(row["number"])
        if number in seen:
            raise SystemExit(f"product {number} is in the catalogue twice")
        seen.add(number)
        yield {
            "number": number,
            "name": row["name"],
            "price_cents": int(row["price_cents"]),
            "stock": int(row["stock"]),
        }


def main(source, target):
    with open(source, encoding="utf-8", newline="") as lines:
        found = sorted(products(lines), key=lambda product: product["number"])
    with open(target, "w", encoding="utf-8") as out:
        json.dump(found, out, indent=1, ensure_ascii=False)
        out.write("\n")
    print(f"{len(found)} products")


main(*sys.argv[1:])
