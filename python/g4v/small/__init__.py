"""The assistant `small`, made without PyTorch, of the package and of SmolLM2-135M-Instruct's GGUF file.

source   the language model with small's adapter merged, read from the GGUF file
build    the bundle

Everything else of the bundle is ready: `bundles/small` has the abstractor and `recipe.json`, the manifest of
the bundle that the exporter makes of the same parts; encoder, text-to-video model and frame checker are those
of `bundles/tiny`. The bundle has the exporter's bytes.
"""
