"""How many bits each matrix of the decoder gets, and which codes of the files are kept."""

from __future__ import annotations

import math

from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.quantisation.codes import BITS, Quantised


class BitAllocation:
    """Chooses the bits of every matrix of a decoder for a precision, "int8" or "int4".

    The output head has 8 bits in both: at 4 bits it alone costs SmolLM2-135M 8% of its perplexity.

    In int4 a matrix whose file has codes of 5 to 8 bits keeps them if the files hold most of the weights in
    4 bits: whoever made them found that this matrix needs more. Matrices that an adapter changes have 8 bits
    there, too: queries and values of SmolLM2-135M cost 1.4% of its perplexity when they are rounded to
    nearest in 4 bits, and .04% in 8 bits, for 5 MB of 114.
    """

    def __init__(self, weights: LlamaWeights, precision: str) -> None:
        self.weights, self._bits = weights, BITS[precision]
        sizes: dict[int | None, int] = {None: 0, 4: 0, 8: 0}
        for name in weights.products():
            sizes[weights.code_bits(name)] += math.prod(weights.shapes[f"{name}.weight"])
        self._mixed = 2 * sizes[4] > sum(sizes.values())

    def bits(self, name: str) -> int:
        """Returns the bits of a code of the matrix `name`: 4 or 8."""
        if self._bits == 8 or name == HEAD or self._mixed:
            return self.weights.code_bits(name) or 8
        return 4

    def keeps(self, name: str) -> bool:
        """Whether the graph takes the codes that the files hold of the matrix `name`."""
        bits = self.weights.code_bits(name)
        return bits is not None and bits <= self.bits(name)

    @property
    def keeps_all(self) -> bool:
        """Whether the graph takes the files' codes of every matrix, so that nothing has to be rounded."""
        return all(self.keeps(name) for name in (*self.weights.products(), HEAD))

    def stored_codes(self, name: str, made: dict[str, str]) -> Quantised | None:
        """Returns the files' codes of the matrix `name`, or None where they are not kept.

        made: gets an entry that says so, as `Quantiser.made` has it.
        """
        found = self.weights.codes(name) if self.keeps(name) else None
        if found is None:
            return None
        made[name] = f"kept, {found.kind}"
        return Quantised.of_codes(found)
