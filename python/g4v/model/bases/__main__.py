"""python -m g4v.model.bases convert: mPLUG-Owl checkpoints and GPT4Video delta files into a training run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from g4v import _start
from g4v._command import Utf8Parser, run_program
from g4v._console import report_error, report_warning


class _Parser(Utf8Parser):
    program = "g4v.model.bases"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 failed (one line says why), 2 wrong usage, 130
    after Ctrl-C.
    """
    parser = _Parser(prog="python -m g4v.model.bases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="write encoder/, abstractor/, llm/ and adapter/")
    convert.add_argument("source", metavar="SOURCE", help="a checkpoint folder, or a delta file (.pth)")
    convert.add_argument("--out", required=True, metavar="DIR", help="the run; must not exist or be empty")
    convert.add_argument(
        "--llm", metavar="DIR", help="a LlamaForCausalLM folder to take the language model from"
    )
    convert.add_argument("--base", metavar="RUN", help="a converted run that a delta file completes")
    options = parser.parse_args(arguments)

    from g4v.errors import Error

    try:
        with _start.importing():
            from g4v.model.bases.convert import convert_checkpoint

        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", UserWarning)
            run = convert_checkpoint(options.source, options.out, options.llm, options.base)
        for note in notes:
            if note.category is UserWarning:
                report_warning(str(note.message), "g4v.model.bases")
        print(run)
        return 0
    except (Error, OSError) as error:
        report_error(str(error), "g4v.model.bases")
    except ImportError as error:
        report_error(f'{error}; install the extra: pip install "g4v[train]"', "g4v.model.bases")
    except KeyboardInterrupt:
        report_error("interrupted", "g4v.model.bases")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(run_program(main))
