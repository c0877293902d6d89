"""docs/keys.md, "Three ways": AWS's two documents in the browser, click by click, as the page has them."""

import three_ways
from browser import BrowserTest
from steps import Reader


class ThreeWays(BrowserTest):
    def document(self, document):
        procedure = document(self.ground.kms)
        self.addCleanup(self.forget, procedure)
        reader = Reader(self.page, procedure.keys, self)
        self.page.reload()
        self.assertEqual(len(procedure.steps), len(procedure.states))
        for step, expected in zip(procedure.steps, procedure.states):
            reader.do(step.console)
            self.assertEqual(procedure.state(self.ground.kms), expected, step)

    def forget(self, procedure):
        """The same ground serves the other ways of using the browser."""
        for alias in self.ground.kms("list-aliases")["Aliases"]:
            if alias["TargetKeyId"] in procedure.keys.values():
                self.ground.kms("delete-alias", "--alias-name", alias["AliasName"])

    def test_manual_rotation(self):
        self.document(three_ways.manual)

    def test_automatic_rotation(self):
        self.document(three_ways.automatic)


class WithoutScript(ThreeWays):
    """The same in a browser that runs no script."""

    script = False
