"""Checks the image from inside: what was built in, and who it runs as."""

import os
import sys
import unittest

sys.path.insert(0, "/app")

from shop.catalogue import Catalogue, OutOfStock  # noqa: E402


class Image(unittest.TestCase):
    def test_the_catalogue_was_compiled_into_the_image(self):
        products = Catalogue.load().all()
        self.assertGreater(len(products), 3)
        self.assertEqual(products, sorted(products, key=lambda product: product["number"]))

    def test_it_does_not_run_as_root(self):
        self.assertEqual(os.getuid(), 10001)

    def test_nothing_of_the_build_is_left(self):
        self.assertFalse(os.path.exists("/app/build"))

    def test_the_stage_came_through_the_build_argument(self):
        self.assertEqual(os.environ["SHOP_STAGE"], "production")


class Stock(unittest.TestCase):
    def setUp(self):
        self.catalogue = Catalogue([{"number": 1, "name": "Bell", "price_cents": 300, "stock": 2}])

    def test_taking_more_than_there_is(self):
        self.assertEqual(self.catalogue.take(1, 2), 600)
        with self.assertRaises(OutOfStock):
            self.catalogue.take(1, 1)


if __name__ == "__main__":
    unittest.main()
