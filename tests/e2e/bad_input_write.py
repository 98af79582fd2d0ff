"""`python -m tests.e2e.bad_input_write`: start a caseflow, ask all anew, write docs/bad-input.md."""

from __future__ import annotations

from tests.e2e.bad_input import HEAD, PAGE, cli_part, http_part
from tests.e2e.bad_input_nats import nats_part
from tests.support.stack import stack_in

if __name__ == "__main__":
    with stack_in("bad-input") as stack:
        stack.start()
        PAGE.write_text("\n".join((HEAD, *http_part(stack), *nats_part(stack), *cli_part(stack), "")), "utf-8")
