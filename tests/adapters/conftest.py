from collections.abc import Iterator

import pytest
from slack_process import SlackProcess, slack_process


@pytest.fixture
def slack() -> Iterator[SlackProcess]:
    with slack_process() as server:
        yield server
