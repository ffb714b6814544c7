"""Instructions for captions: a caption alone is the answer to one of them."""

DESCRIBE = (
    "Describe the video in one sentence.",
    "What does this video show?",
    "Give a short caption for the video.",
    "Summarise this clip briefly.",
    "What is happening in the video?",
    "Write one sentence about what you see in this video.",
    "In a few words, what is this video about?",
    "Tell me briefly what can be seen in the clip.",
    "Provide a short description of the video.",
    "Please describe this clip concisely.",
)
