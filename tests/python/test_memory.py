"""Memory that is missing, whoever says so (g4v._memory)."""

from __future__ import annotations

import errno
import os

import pytest

from g4v._command import run_program
from g4v._memory import lacks_memory, memory_errors, require_memory_to_save
from g4v.errors import InternalError

SAYS_SO = [
    MemoryError(),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1]\nDefaultCPUAllocator: can't allocate memory: 9 bytes."),
    ImportError("libx.so: failed to map segment from shared object"),
    RuntimeError("can't start new thread"),
    InternalError("there is not enough memory"),
]


@pytest.mark.parametrize("error", SAYS_SO, ids=lambda error: type(error).__name__)
def test_one_line_whatever_library_found_it(error, capsys):
    with pytest.raises(MemoryError, match="^there is not enough memory for a work$"), memory_errors("a work"):
        raise error

    def fail() -> int:
        raise error

    assert run_program(fail, "g4v.x") == 1
    assert capsys.readouterr().err == "g4v.x: error: there is not enough memory for this\n"


@pytest.mark.parametrize("error", [ValueError("memory"), OSError(errno.ENOSPC, "full"), ImportError("torch")])
def test_others_stay_what_they_are(error):
    assert not lacks_memory(error)
    with pytest.raises(type(error)) as caught, memory_errors("a work"):
        raise error
    assert caught.value is error


def test_saving_where_there_is_memory():
    require_memory_to_save("a file")


@pytest.mark.parametrize("error", [MemoryError(), InternalError("there is not enough memory")])
def test_a_server_says_that_it_passes(error):
    from g4v.serve.base.errors import as_api_error

    answer = as_api_error(error)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "no_memory", "5")
