"""How many bytes a device needs for a step: counted, not measured.

Weights, gradients and Adam's moments follow from the number of parameters. Activations are what autograd
keeps for the backward pass, tensor by tensor; the names in the code say which. Frozen linear layers keep
nothing, so the language model keeps the inputs of its norms, the operands of attention and of the gated
product, and what LoRA adds. The peak is where the backward pass starts: everything is kept, and the loss has
its logits.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Sizes:
    """The sizes of encoder, abstractor and language model: widths and counts as in their configurations.

    *_parameters: numbers in all tensors of a part.
    """

    hidden: int
    layers: int
    intermediate: int
    query_width: int  # heads times their size
    key_width: int
    vocabulary: int
    llm_parameters: int
    lora_parameters: int
    lora_targets: int  # per layer
    lora_rank: int
    abstractor_hidden: int = 0
    abstractor_layers: int = 0
    abstractor_intermediate: int = 0
    queries: int = 0  # spatial and temporal
    abstractor_parameters: int = 0
    encoder_parameters: int = 0
    encoder_intermediate: int = 0
    tokens_per_frame: int = 0
    image_size: int = 0
    # Of a published video language model, whose connector counts as the abstractor: abstractor_hidden is the
    # width of the features that it reads.
    encoder_width: int = 0  # 0: abstractor_hidden
    encoder_states: int = 0  # hidden states that the tower keeps until it is done
    frame_tokens: int = 0  # video tokens of a frame; 0: an abstractor, whose tokens are a clip's


@dataclass(frozen=True)
class Work:
    """One backward pass on one device, of the stage "stage1" or "stage2".

    rows: sequences of `length` tokens. labels: supervised positions of all rows. clips: of `frames` frames.
    """

    stage: str
    rows: int
    length: int
    labels: int
    clips: int
    frames: int
    half: bool  # products in 16 bits (mixed precision)
    checkpointing: bool
    cached: bool  # features come from the cache, and the encoder is not there
    gpu: bool
    dropout: bool = True  # before the LoRA factors
    averaged: bool = False  # moving averages of the trained weights are kept

    @property
    def number(self) -> int:
        """Bytes of a product's operand."""
        return 2 if self.half else FLOAT


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. optimizer: Adam's moments (Muon needs less) and moving averages of weights."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    buffers: int = 0  # of communication

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers


def trained_parameters(sizes: Sizes, stage: str) -> int:
    """How many numbers a stage trains."""
    return sizes.abstractor_parameters if stage == "stage1" else sizes.lora_parameters


def count_memory(sizes: Sizes, work: Work, strategy: str = "single", devices: int = 1) -> Memory:
    """What a step needs on each of the devices.

    strategy: "single", "ddp", "fsdp" or "deepspeed" (ZeRO stage 3).
    """
    trained = trained_parameters(sizes, work.stage)
    frozen = sizes.llm_parameters + (0 if work.cached else sizes.encoder_parameters)
    if work.stage == "stage2":
        frozen += sizes.abstractor_parameters
    activations = activation_bytes(sizes, work)
    layer = sizes.llm_parameters // max(1, sizes.layers)
    if strategy == "fsdp":
        # Shards are float32 (one type per buffer); two layers are whole at a time, in the type of products.
        weights = FLOAT * (frozen + trained) // devices
        return Memory(
            weights,
            FLOAT * trained // devices,
            2 * FLOAT * trained // devices,
            activations,
            2 * layer * (work.number + FLOAT),
        )
    if strategy == "deepspeed":
        # 16-bit shards, and float32 masters of what is trained.
        weights = (2 * (frozen + trained) + FLOAT * trained) // devices
        return Memory(weights, 2 * trained // devices, 2 * FLOAT * trained // devices, activations, 4 * layer)
    weights = frozen * work.number + trained * FLOAT
    if work.stage == "stage2":
        weights += sizes.abstractor_parameters * (FLOAT - work.number)  # it stays as stage 1 left it
    buckets = FLOAT * trained if strategy == "ddp" and devices > 1 else 0
    kept = 3 if work.averaged else 2
    return Memory(weights, FLOAT * trained, kept * FLOAT * trained, activations, buckets)


def activation_bytes(sizes: Sizes, work: Work) -> int:
    """The most that is alive at once besides weights, gradients and moments."""
    layer = _llm_layer(sizes, work)
    tokens = work.rows * work.length
    edge = tokens * sizes.hidden * work.number  # the residual stream between two layers
    loss = _loss(sizes, work)
    if work.checkpointing:
        # One layer is computed again while the others' inputs wait.
        llm = sizes.layers * edge + max(loss, layer + _llm_layer_backward(sizes, work))
    else:
        llm = sizes.layers * layer + max(loss, _llm_layer_backward(sizes, work))
    # Embeddings, the final norm's input and output.
    llm += 3 * edge
    visual, passing = _abstractor(sizes, work), _encoder(sizes, work)
    inputs = _inputs(sizes, work)
    return inputs + max(visual + llm, passing)


def _llm_layer(sizes: Sizes, work: Work) -> int:
    """What one decoder layer keeps."""
    tokens = work.rows * work.length
    # Norms compute in float32: in half precision they keep a widened copy of their input.
    kept = 2 * tokens * sizes.hidden * FLOAT
    if work.half:
        kept += 2 * tokens * sizes.hidden * work.number  # and the normalised one before its scale
    # Attention: query, key, value, output. CPU kernels repeat grouped keys and values for every head.
    keys = sizes.key_width if work.gpu else sizes.query_width
    kept += tokens * (2 * sizes.query_width + 2 * keys) * work.number
    # Gated product: gate, silu(gate), up.
    kept += 3 * tokens * sizes.intermediate * work.number
    if work.stage == "stage2":
        kept += sizes.lora_targets * tokens * sizes.lora_rank * work.number
        if work.dropout:
            # The mask (a byte on GPUs, float32 numbers on CPUs) and the dropped input of each target.
            mask = 1 if work.gpu else FLOAT
            kept += sizes.lora_targets * tokens * sizes.hidden * (mask + work.number)
        else:
            kept += tokens * sizes.hidden * work.number
    return kept


def _llm_layer_backward(sizes: Sizes, work: Work) -> int:
    """Gradients that are alive while one layer is walked back."""
    tokens = work.rows * work.length
    return tokens * (2 * sizes.intermediate + 2 * sizes.hidden) * work.number


def _loss(sizes: Sizes, work: Work) -> int:
    """Log-probabilities, their gradient and that of the logits; in half precision the logits as well."""
    return work.labels * sizes.vocabulary * (3 * FLOAT + (2 * work.number if work.half else 0))


def _abstractor(sizes: Sizes, work: Work) -> int:
    """What the abstractor keeps; its output alone where it is frozen."""
    if not work.clips:
        return 0
    if sizes.frame_tokens:
        return work.clips * work.frames * sizes.frame_tokens * sizes.hidden * work.number
    memory = work.clips * work.frames * sizes.tokens_per_frame
    queries = work.clips * sizes.queries
    width = sizes.abstractor_hidden
    if work.stage != "stage1":
        return memory * width * work.number
    keys = memory + queries
    # Per layer: the joined input of keys and values, keys, values; and what belongs to the queries.
    layer = 3 * keys * width * work.number
    layer += queries * (6 * width + 5 * sizes.abstractor_intermediate) * work.number
    if work.half:
        layer += keys * width * FLOAT  # the norms' output before it is narrowed
    return memory * width * work.number + sizes.abstractor_layers * layer


def _encoder(sizes: Sizes, work: Work) -> int:
    """The widest moment of the frozen encoder: stream, normalised stream and the two halves of its MLP."""
    if work.cached or not work.clips:
        return 0
    tokens = work.clips * work.frames * sizes.tokens_per_frame
    width = sizes.encoder_width or sizes.abstractor_hidden
    kept = sizes.encoder_states * width
    return tokens * (kept + 3 * width + 3 * sizes.encoder_intermediate) * work.number


def _inputs(sizes: Sizes, work: Work) -> int:
    ids = 2 * work.rows * work.length * 8
    if not work.clips:
        return ids
    if work.cached:
        return ids + 2 * work.clips * work.frames * sizes.tokens_per_frame * sizes.abstractor_hidden
    return ids + work.clips * work.frames * 3 * sizes.image_size**2 * FLOAT


def count_flops(sizes: Sizes, work: Work) -> float:
    """Floating-point operations of one forward and backward pass.

    A frozen matrix costs 2 per parameter and token forward and 2 backward (towards its input), a trained one
    2 more; what checkpointing computes again costs another forward pass.
    """
    tokens = work.rows * work.length
    embedding = sizes.vocabulary * sizes.hidden
    dense = sizes.llm_parameters - embedding
    attention = 4 * sizes.layers * sizes.query_width * work.length  # per token
    passes = 3 if work.checkpointing else 2
    total = passes * tokens * (2.0 * dense + attention) + 6.0 * tokens * sizes.lora_parameters
    if work.clips:
        memory = work.clips * work.frames * sizes.tokens_per_frame
        if not work.cached:
            total += 2.0 * memory * sizes.encoder_parameters
        per_layer = 2 * sizes.abstractor_hidden**2 + 2 * sizes.queries * sizes.abstractor_hidden
        visual = 2.0 * memory * sizes.abstractor_layers * per_layer
        total += visual * (3 if work.stage == "stage1" else 1)
        if sizes.frame_tokens:
            total += 2.0 * work.clips * work.frames * sizes.frame_tokens * sizes.abstractor_parameters
    return total
