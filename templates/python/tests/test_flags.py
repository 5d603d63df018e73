import unittest

from service.flags import Flags


class FlagsTest(unittest.TestCase):
    def test_the_environment_wins_over_the_file(self):
        flags = Flags('{"warm_greeting": false, "other": true}', {"FLAG_WARM_GREETING": "true"})
        self.assertTrue(flags.on("warm_greeting"))
        self.assertTrue(flags.on("other"))
        self.assertFalse(flags.on("unknown"))

    def test_what_cannot_be_understood_is_an_error(self):
        for file, variables in (
            ("{", {}),
            ('{"warm_greeting": "yes"}', {}),
            (None, {"FLAG_WARM_GREETING": "yes"}),
        ):
            with self.assertRaises(ValueError):
                Flags(file, variables)
