"""Writes the shop's static pages: one with all products, and one for each."""

import csv
import html
import pathlib
import shutil
import string
import sys


def price(cents):
    return f"{cents // 100}.{cents % 100:02d}"


def main(products, template, style, site):
    page = string.Template(pathlib.Path(template).read_text(encoding="utf-8"))
    site = pathlib.Path(site)
    site.mkdir()
    shutil.copyfile(style, site / "style.css")
    with open(products, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    items = []
    for row in rows:
        name, file = html.escape(row["name"]), f"{row['number']}.html"
        items.append(f'<li><a href="{file}">{name}</a> <b>{price(int(row["price_cents"]))}</b></li>')
        body = f"<p>Number {row['number']}, {price(int(row['price_cents']))}</p><p><a href=\"index.html\">all products</a></p>"
        (site / file).write_text(page.substitute(title=name, body=body), encoding="utf-8")
    listing = "<ul>\n" + "\n".join(items) + "\n</ul>"
    (site / "index.html").write_text(page.substitute(title="Ship chandlery", body=listing), encoding="utf-8")
    print(f"{len(rows) + 1} pages")


main(*sys.argv[1:])
