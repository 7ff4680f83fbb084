"""What an error must say, and how much memory a call may take."""

import re
import tracemalloc

import pytest


def assert_raises(error, words, call):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert not [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}", message)], message
    assert "\n" not in message, "one sentence is wanted"


def peak_bytes(call):
    """The most memory that a call takes: the least of three calls, since other threads allocate as well."""
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)
