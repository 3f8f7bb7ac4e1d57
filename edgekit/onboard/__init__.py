"""What runs on the board beside an engine: NumPy only, Python 3.6 and newer.

The same modules run on the host, so that the float reference goes through the same pre- and
postprocessing as the device. Nothing here imports anything of edgekit but ``edgekit.onboard``.
"""
