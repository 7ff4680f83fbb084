"""What an error must say."""

import re

import pytest


def assert_raises(error, words, call):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert not [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}", message)], message
    assert "\n" not in message, "one sentence is wanted"
