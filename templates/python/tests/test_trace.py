import unittest

from service.trace import Trace

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"


class TraceTest(unittest.TestCase):
    def test_a_valid_parent_is_followed(self):
        self.assertEqual(Trace.of(PARENT).id, ID)
        self.assertEqual(Trace.of(PARENT.replace("00-", "01-", 1) + "-later").id, ID, "a later version")

    def test_anything_else_begins_a_new_trace(self):
        for parent in (
            None,
            "",
            "00",
            PARENT.upper(),
            PARENT.replace("00-", "ff-", 1),
            PARENT.replace(ID, "0" * 32),
            f"{PARENT}-more",
            PARENT[:-1],
        ):
            trace = Trace.of(parent)
            self.assertNotEqual(trace.id, ID, parent)
            self.assertEqual(len(trace.header()), 55)
