"""What all tests share."""

import os
import signal

from hypothesis import settings

# CI judges a change by the same examples each time; everywhere else every run looks at new ones.
settings.register_profile("ci", derandomize=True)
settings.register_profile("search", max_examples=20_000)  # see CONTRIBUTING
if os.environ.get("CI"):
    settings.load_profile("ci")

# A shell that runs tests in the background has SIGINT ignored, and so would everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
