"""The synthetic bundle with a transformer in place of its UNet and a VAE that takes a latent frame at a time.

A chunk's two frames are sums that tell what was before: of the latents themselves, doubled in height and
width, and of the two frames that the cache has. So that a test can count chunks, each may take a while.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from . import synthetic_bundle as toy

MEAN, STD = [0.5, -0.25, 0.0, 0.0], [2.0, 1.0, 0.5, 1.0]
SCALING = 2.0

# Predicts no flow, so that the steps leave the latents as they are; its text and time are not read.
_TRANSFORMER = """
<ir_version: 8, opset_import: ["" : 17]>
transformer (float[B,4,F,h,w] sample, float[1] timestep, float[B,L,4] encoder_hidden_states)
    => (float[B,4,F,h,w] prediction)
{
  nothing = Constant <value = float {0.0}> ()
  prediction = Mul (sample, nothing)
}
"""

# The fourth channel of the latents, which no colour is, says how long a chunk takes.
_VAE = """
<ir_version: 8, opset_import: ["" : 17]>
vae (float[1,4,h,w] latents, int64[1] first, float[2,3,H,W] c) => (float[2,3,H,W] images, float[2,3,H,W] n)
{
  zero_i = Constant <value = int64[1] {0}> ()
  three = Constant <value = int64[1] {3}> ()
  four = Constant <value = int64[1] {4}> ()
  one_i = Constant <value = int64[1] {1}> ()
  last = Slice (latents, three, four, one_i)
  slow_sum = ReduceMax <keepdims = 0> (last)
  trips = Cast <to = 7> (slow_sum)
  SLEEP
  colours = Slice (latents, zero_i, three, one_i)
  scales = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
  large = Resize <mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric">
          (colours, , scales)
  padded = Concat <axis = 0> (c, large)
  two_i = Constant <value = int64[1] {2}> ()
  n = Slice (padded, one_i, three, zero_i)
  newest = Slice (padded, one_i, two_i, zero_i)
  oldest = Slice (padded, zero_i, one_i, zero_i)
  quarter = Constant <value = float {0.25}> ()
  before = Mul (newest, quarter)
  long_before = Mul (oldest, quarter)
  a = Add (large, before)
  b = Add (a, long_before)
  waited = Add (a, spent)
  images = Concat <axis = 0> (waited, b)
}
"""


def write_bundle(folder: Path) -> None:
    """Writes the bundle: two frames for a latent, patches of 1 x 2, positions for 40."""
    toy.write_bundle(folder, without=("encoder", "abstractor", "decoder"))
    path = folder / "g4v.json"
    about = json.loads(path.read_text("utf-8"))
    components, video = about["components"], about["generation"]["video"]
    unet = components.pop("unet")
    components["transformer"] = unet | {"patch_size": [1, 1, 2], "positions": 40}
    components["vae_decoder"] |= {
        "scaling_factor": SCALING,
        "latents_mean": MEAN,
        "latents_std": STD,
        "causal": {"frames_per_latent": 2, "caches": [{"channels": 3, "scale": 2}]},
    }
    video |= {"pipeline": "WanPipeline", "frames": 5}
    flow = {"num_train_timesteps": 1000, "prediction_type": "flow_prediction"}
    video["scheduler"] = {"type": "flow_match_euler", **flow}
    del about["generation"]["text"], about["prompt"], about["tokenizers"]["decoder"], about["frame_sampling"]
    graphs = {
        "vae_decoder.onnx": _renamed(toy._graph(_VAE), {"c": "cache.0", "n": "next_cache.0"}),
        "unet.onnx": toy._graph(_TRANSFORMER),
    }
    for name, data in graphs.items():
        (folder / name).write_bytes(data)
        about["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(about), "utf-8")


def _renamed(model: bytes, names: dict[str, str]) -> bytes:
    """The graph with other names of values: the text format has none with a dot."""
    import onnx

    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for names_of in (node.input, node.output):
            names_of[:] = [names.get(name, name) for name in names_of]
    return bytes(loaded.SerializeToString())
