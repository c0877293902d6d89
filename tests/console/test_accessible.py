"""For everyone: each page in light and dark, at 360 pixels, by its names, and with the keyboard alone."""

import test_three_ways
from browser import BrowserTest, expect, field
from walks import FOCUS, every_page, wrong_with


class Accessible(BrowserTest):
    def test_every_page_has_names_contrast_and_no_scrolling_sideways(self):
        self.ground.key("a-rather-long-name-of-an-alias-which-has-no-place-to-break-at-all", "--description", "long " * 60)
        pages = []
        for address in every_page(self.page, self.ground.console.base):
            pages.append(address)
            self.assertEqual(wrong_with(self.page), [], address)
        self.assertGreater(len(pages), 10, pages)

    def test_refusals_and_messages_have_them_too(self):
        self.visit("keys/create")
        field(self.page, "Alias (optional)").fill("default")
        self.choose("Create key", self.page.get_by_role("main"))
        expect(self.page.get_by_role("alert")).to_be_visible()
        self.assertRegex(self.page.title(), "^Refused: Create key")
        self.assertEqual(wrong_with(self.page), [])
        field(self.page, "Alias (optional)").fill("with-a-message")
        self.choose("Create key", self.page.get_by_role("main"))
        expect(self.page.get_by_role("status")).to_be_visible()
        self.assertEqual(wrong_with(self.page), [])
        stranger = self.open(signed_in=False)
        stranger.goto(self.ground.console.base + "keys")
        self.assertEqual(wrong_with(stranger), [])

    def test_pages_say_where_they_are(self):
        titles = set()
        for address in every_page(self.page, self.ground.console.base):
            titles.add(self.page.title())
            expect(self.page.get_by_role("navigation", name="Main")).to_be_visible()
            self.assertIn(self.ground.vault.path.name, self.page.title(), address)
        self.assertGreater(len(titles), 5)


class ByKeyboard(test_three_ways.ThreeWays):
    """Both documents with Tab, Enter and Space alone."""

    def go_to(self, found):
        """Goes there with Tab from where the focus is."""
        wanted = found.element_handle()
        for _ in range(150):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("wanted => document.activeElement === wanted", wanted):
                break
        else:
            self.fail(f"Tab doesn't come to {found}")
        self.assertTrue(self.page.evaluate(FOCUS), f"nobody sees that the focus is at {found}")

    def press(self, found):
        self.go_to(found)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def fill(self, found, text):
        self.go_to(found)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def select(self, found, value):
        self.go_to(found)
        self.page.keyboard.press("Home")
        for _ in range(found.locator("option").count()):
            if found.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        self.fail(f"no option {value}")

    def check(self, found, on):
        self.go_to(found)
        if found.is_checked() != on:
            self.page.keyboard.press("Space")
        self.assertEqual(found.is_checked(), on)

    def test_the_skip_link_is_first(self):
        self.page.keyboard.press("Tab")
        first = self.page.evaluate("document.activeElement.getAttribute('href')")
        self.assertTrue(first.startswith("#"), first)
        self.assertTrue(self.page.evaluate(FOCUS))
        self.page.keyboard.press("Enter")
        self.assertEqual(self.page.evaluate("document.querySelector(location.hash).tagName"), "MAIN")
