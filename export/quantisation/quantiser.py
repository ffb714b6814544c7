"""What the decoder's graph builder asks for quantised weights."""

from __future__ import annotations

from typing import Protocol

from g4v.export.quantisation.codes import Quantised


class Quantiser(Protocol):
    """Quantises the decoder's matrices: `RoundToNearest`, `GPTQ` or `ReusedCodes`.

    made: how the codes of each matrix so far were made, by its name: such as "kept, Q4_1" (the file's own),
        "fitted, 8 bits" (GPTQ) or "nearest, 4 bits". The manifest counts them as provenance.codes.
    """

    made: dict[str, str]

    def __call__(self, *names: str) -> list[Quantised]:
        """Returns the codes of the matrices `names`, which are multiplied with one input.

        It must be called once for each product, in the order of the graph.
        """
