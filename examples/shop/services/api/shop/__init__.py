"""The shop: what it sells, and orders for it."""
