"""Camera pipelines on the board: capture, decode, preprocess, inference, postprocess, sink.

Every stage is a thread of its own; frames are handed on by reference, never copied or pickled.
What went on is taken down frame by frame (``ledger``), and every frame has one end.
"""
