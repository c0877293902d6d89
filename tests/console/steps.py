"""The console's column in docs/keys.md, "Three ways", read as a person does: each sentence is done in the browser as it stands
there. A sentence that isn't understood is an error.

    choose **NAME**, choose NAME                  a link or a button
    choose **NAME** of **ROW**                    the one in the row of a table
    enter `TEXT` in **FIELD**                     a field
    select KEY in **FIELD**                       an option
    tick **BOX**, clear **BOX**                   a checkbox
    copy the policy, paste the policy in **FIELD**
    the page is KEY's                             a key that was made
    see **NAME**, see no **NAME**                 what is there, and what isn't
    in **SECTION**, ...                           all this in a section of the page, until another page"""

import re

from browser import expect, field, named, row_of

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Reader:
    """Does what steps say, with the hands of a person."""

    def __init__(self, page, keys, hands):
        self.page, self.keys, self.hands = page, keys, hands
        self.within, self.copied = None, None

    def do(self, cell):
        self.within = self.page
        for sentence in cell.split("; "):
            self.sentence(sentence)

    def sentence(self, sentence):
        if found := re.fullmatch(r"[Ii]n \*\*([^*]+)\*\*, (.*)", sentence):
            self.within = self.page.get_by_role("region", name=found[1], exact=True)
            sentence = found[2]
        sentence = sentence[0].lower() + sentence[1:]
        for pattern, does in self.SENTENCES:
            if found := re.fullmatch(pattern, sentence):
                return does(self, *found.groups())
        raise AssertionError(f"not understood: {sentence}")

    def choose(self, name, row=None):
        within = row_of(self.within, row) if row else self.within
        self.hands.press(named(within, self.keys.get(name, name)))
        self.within = self.page

    def enter(self, text, name):
        self.hands.fill(field(self.within, name), text)

    def select(self, key, name):
        self.hands.select(self.within.get_by_role("combobox", name=name, exact=True), self.keys[key])

    def check(self, word, name):
        self.hands.check(self.within.get_by_role("checkbox", name=name, exact=True), word == "tick")

    def copy(self):
        self.copied = self.page.get_by_role("region", name="Key policy", exact=True).locator("pre").inner_text()

    def paste(self, name):
        self.hands.fill(field(self.within, name), self.copied)

    def made(self, key):
        self.page.wait_for_url(UUID)
        self.keys[key] = UUID.search(self.page.url)[0]

    def see(self, no, name):
        shown = self.within.get_by_text(name).or_(named(self.within, name))
        expect(shown).to_have_count(0) if no else expect(shown.first).to_be_visible()

    SENTENCES = [
        (r"choose (?:\*\*)?([^*]+?)(?:\*\*)?", choose),
        (r"choose \*\*([^*]+)\*\* of \*\*([^*]+)\*\*", choose),
        (r"enter `([^`]+)` in \*\*([^*]+)\*\*", enter),
        (r"select ([A-Z]+) in \*\*([^*]+)\*\*", select),
        (r"(tick|clear) \*\*([^*]+)\*\*", check),
        (r"copy the policy", copy),
        (r"paste the policy in \*\*([^*]+)\*\*", paste),
        (r"the page is ([A-Z]+)'s", made),
        (r"see (no )?\*\*([^*]+)\*\*", see),
    ]
