"""`python -m g4v.data replies`: ordinary conversations for stage 2, mostly in the model's own words."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from g4v._command import Parser, at_least, exit_code, writable_file
from g4v._console import ProgressBar
from g4v._files import write_json
from g4v.errors import ArgumentError

_SYSTEM = "You are a helpful assistant. Answer in one or two short sentences."
_EPILOG = """example:
  python -m g4v.data replies --llm chat-model.gguf --out replies.json --count 800
  python -m g4v.train --preset small --llm chat-model.gguf --data shapes:8000 --data replies.json

Everyday conversations written by hand and declined requests of many kinds stand beside the model's own
replies. The file has GPT4Video's layout and no videos. Decoding is greedy: the same model and seed give the
same file on the same machine.
exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = Parser(
        prog="python -m g4v.data replies",
        description="Lets a chat model answer ordinary prompts in its own template. Trained on beside other\n"
        "data, its own replies keep its ability to talk about anything else.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--llm", required=True, metavar="X", help="LlamaForCausalLM: folder, GGUF file or hub name")
    add(
        "--out",
        type=writable_file,
        required=True,
        metavar="FILE",
        help="the file that is written, whole or not at all",
    )
    add("--count", type=at_least(1), default=800, metavar="N", help="conversations to ask for (default: 800)")
    add(
        "--written",
        type=at_least(0),
        default=300,
        metavar="N",
        help="everyday conversations, written by hand, added to them (default: 300)",
    )
    add(
        "--declined",
        type=at_least(0),
        default=400,
        metavar="N",
        help="harmful requests with a refusal, added to them (default: 400)",
    )
    add("--system", default=_SYSTEM, metavar="TEXT", help="system text of the prompts (default: be brief)")
    add("--max-new-tokens", type=at_least(8), default=72, metavar="N", help="of a reply (default: 72)")
    add("--batch-size", type=at_least(1), default=64, metavar="N", help="conversations at once (default: 64)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of the prompts (default: 0)")
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from g4v.data.replies.declined import declined_conversations
    from g4v.data.replies.prompts import ordinary_conversations
    from g4v.data.replies.written import written_conversations

    try:
        conversations = ordinary_conversations(options.count, options.seed)
    except ValueError as error:
        raise ArgumentError(f"--count {options.count}: {error}") from None
    try:
        declined = declined_conversations(options.declined, options.seed)
    except ValueError as error:
        raise ArgumentError(f"--declined {options.declined}: {error}") from None
    try:
        import torch

        from g4v.data.replies.write import as_document, own_replies
        from g4v.model.bases import load_llm, load_tokenizer
    except ImportError as error:
        raise ArgumentError(f'{error}; install the extra: pip install "g4v[train]"') from None
    logging.getLogger("transformers").setLevel(logging.ERROR)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_llm(options.llm, torch.bfloat16).to(device)
    tokenizer = load_tokenizer(options.llm)
    with ProgressBar("replies", len(conversations), lines=True) as progress:
        said = own_replies(
            model,
            tokenizer,
            conversations,
            options.system,
            options.max_new_tokens,
            options.batch_size,
            progress.update,
        )
    kept = sum(map(bool, said))
    if not kept:
        raise ArgumentError(f"{options.llm}: not one reply can be used")
    document = as_document([*said, *written_conversations(options.written, options.seed), *declined])
    write_json(options.out, document, indent=1)
    print(
        f"{options.out}: {len(document['train'])} conversations, {kept} in the model's own words; "
        f"{len(conversations) - kept} prompts had no reply that can be used"
    )
