"""The trainer of full-size assistants: stage 1 (abstractor) and stage 2 (LoRA) on data files of the field.

settings    every option, its default and its meaning; presets and YAML files
bases       encoder and language model of a run, taken from what the user has
rows        one row of data as tokens and labels
clips       frames of clips for the encoder; features: the cache of what the encoder makes of them
order       which rows make which step, on which process
module      the loss and the optimiser, on Lightning
checkpoint  safetensors that a killed run goes on from
run         a stage from its settings to its result
estimate    memory and time of a run before it starts

`g4v.shapes.recipe.tiny` is another thing: the recipe of the embedded default, from nothing to a text-to-video model.
"""
